"""Lens models under other names than those of sensor_msgs, and with other numbers of coefficients.

OpenCV's models contain each other: `rational_polynomial` with zeros is `plumb_bob`. So a driver
that mixes their names up can be understood; what is understood is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decomr_core.geometry.distortion import MODELS

__all__ = ['lens_model']

# In lower case and without anything but letters and digits.
_SYNONYMS = {
    **dict.fromkeys(('plumbbob', 'radtan', 'radialtangential', 'brownconrady',
                     'modifiedbrownconrady'), 'plumb_bob'),
    **dict.fromkeys(('rationalpolynomial', 'rational', 'radtan8', 'thinprism'),
                    'rational_polynomial'),
    **dict.fromkeys(('equidistant', 'equi', 'fisheye', 'kannalabrandt', 'kannalabrandt4'),
                    'equidistant'),
}
_FISHEYE_COEFFICIENTS = 4


def lens_model(name: str, coefficients: Sequence[float]) -> tuple[str, list[float], str]:
    """The model of sensor_msgs that a calibration means.

    Args:
        name: as camera_info gives it.
        coefficients: likewise.

    Returns:
        Name and coefficients, unchanged where nothing is known of them, and a warning, empty
        where the name is the model's own.
    """
    values = np.asarray(coefficients, np.float64).tolist()
    if not any(values):  # no distortion, whatever the name
        return name, values, ''
    plain = ''.join(filter(str.isalnum, name.lower()))
    model = name if name in MODELS else _SYNONYMS.get(plain, name)
    kept = values
    if model == 'equidistant' and not any(values[_FISHEYE_COEFFICIENTS:]):
        kept = values[:_FISHEYE_COEFFICIENTS]
    elif model in ('plumb_bob', 'rational_polynomial') or (not name and len(values) > 4):
        # Four without a name may be those of a fisheye lens as well.
        fitting = [known for known in ('plumb_bob', 'rational_polynomial')
                   if len(values) in MODELS[known]]
        model = fitting[0] if fitting else model
    if (model, len(kept)) == (name, len(values)):
        return name, values, ''
    return model, kept, (
        f'camera_info has the distortion_model {name!r} with {len(values)} coefficients: taken '
        f'for {model} with {len(kept)}; let the driver publish that (sensor_msgs/CameraInfo)')
