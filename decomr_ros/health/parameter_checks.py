"""Parameters that were set and change nothing, since another one switches off what they act on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from decomr_ros.outputs.outputs import FEWEST_TRIANGLES
from decomr_ros.settings.parameters import ENTRIES

if TYPE_CHECKING:
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['UNUSED', 'unused_parameters']

UNUSED = 'unused_parameters'
"""Name of the warning."""

# Which parameters act only together with another one, how to tell, and what to set.
_NEEDS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (('exit_on_failed_autostart',), lambda now: now.autostart, 'autostart:=true'),
    (('detector_tiles',), lambda now: now.detector == 'person', 'detector:=person'),
    (('undistort',), lambda now: not now.image_is_rectified, 'image_is_rectified:=false'),
    (('boxes_max_age_s', 'person_class_ids'), lambda now: now.use_boxes, 'use_boxes:=true'),
    (('iuv_encoding',), lambda now: now.publish_iuv, 'publish_iuv:=true'),
    (('marker_triangles',), lambda now: now.publish_markers, 'publish_markers:=true'),
    (('smoothing_min_cutoff_hz', 'smoothing_beta', 'smoothing_body_beta', 'smoothing_frame'),
     lambda now: now.smoothing, 'smoothing:=true'),
    (('tf_joints',), lambda now: now.publish_tf, 'publish_tf:=true'),
)


def unused_parameters(settings: NodeParameters) -> str:
    """Parameters with another value than their default that have no effect.

    Args:
        settings: the present values.

    Returns:
        One line, for a warning; empty where all are used.
    """
    found = []
    for names, is_used, remedy in _NEEDS:
        if is_used(settings):
            continue
        found += [f'{name} is {value!r} and has no effect without {remedy}'
                  for name in names
                  if (value := getattr(settings, name)) != ENTRIES[name].default]
    if 0 < settings.marker_triangles < FEWEST_TRIANGLES:
        found.append(f'marker_triangles is {settings.marker_triangles}, which no closed surface '
                     f'has: {FEWEST_TRIANGLES} are used')
    return f'parameters without effect: {"; ".join(found)}' if found else ''
