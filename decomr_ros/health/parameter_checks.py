"""Detects parameters that have no effect because of another parameter."""

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

# Parameters, the condition under which they have an effect, and the setting that meets it.
_NEEDS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (('exit_on_failed_autostart',), lambda now: now.autostart, 'autostart:=true'),
    (('detector_tiles',), lambda now: now.detector == 'person', 'detector:=person'),
    (('undistort',), lambda now: not now.image_is_rectified, 'image_is_rectified:=false'),
    (('boxes_max_age_s', 'person_class_ids'), lambda now: now.use_boxes, 'use_boxes:=true'),
    (('iuv_encoding',), lambda now: now.publish_iuv, 'publish_iuv:=true'),
    (('marker_triangles',), lambda now: now.publish_markers, 'publish_markers:=true'),
    (
        ('smoothing_min_cutoff_hz', 'smoothing_beta', 'smoothing_body_beta', 'smoothing_frame'),
        lambda now: now.smoothing,
        'smoothing:=true',
    ),
    (('tf_joints',), lambda now: now.publish_tf, 'publish_tf:=true'),
)


def unused_parameters(parameters: NodeParameters) -> str:
    """A warning about parameters that differ from their default but have no effect.

    Args:
        parameters: the current values.

    Returns:
        One line; empty if there are none.
    """
    found = []
    for names, is_used, remedy in _NEEDS:
        if is_used(parameters):
            continue
        found += [
            f'{name} is {value!r} and has no effect without {remedy}'
            for name in names
            if (value := getattr(parameters, name)) != ENTRIES[name].default
        ]
    if 0 < parameters.marker_triangles < FEWEST_TRIANGLES:
        found.append(
            f'marker_triangles is {parameters.marker_triangles}, too few for a closed '
            f'surface: {FEWEST_TRIANGLES} are used'
        )
    return f'parameters without effect: {"; ".join(found)}' if found else ''
