"""Recognises lens models with non-standard names or numbers of coefficients.

OpenCV's models contain each other: `rational_polynomial` with zeros is `plumb_bob`. Therefore a
wrong name can often be corrected; the correction is reported as a warning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decomr_core.geometry.distortion import MODELS

__all__ = ['lens_model']

# Names in lower case, letters and digits only.
_SYNONYMS = {
    **dict.fromkeys(
        ('plumbbob', 'radtan', 'radialtangential', 'brownconrady', 'modifiedbrownconrady'),
        'plumb_bob',
    ),
    **dict.fromkeys(
        ('rationalpolynomial', 'rational', 'radtan8', 'thinprism'), 'rational_polynomial'
    ),
    **dict.fromkeys(
        ('equidistant', 'equi', 'fisheye', 'kannalabrandt', 'kannalabrandt4'), 'equidistant'
    ),
}
_FISHEYE_COEFFICIENTS = 4


def lens_model(name: str, coefficients: Sequence[float]) -> tuple[str, list[float], str]:
    """The distortion model of a calibration by its name in sensor_msgs.

    Args:
        name: distortion_model of camera_info.
        coefficients: d of camera_info.

    Returns:
        Name and coefficients, unchanged if they are not recognised, and a warning, empty if they
        are unchanged.
    """
    values = np.asarray(coefficients, np.float64).tolist()
    if not any(values):  # no distortion with any model
        return name, values, ''
    plain = ''.join(filter(str.isalnum, name.lower()))
    model = name if name in MODELS else _SYNONYMS.get(plain, name)
    kept = values
    if model == 'equidistant' and not any(values[_FISHEYE_COEFFICIENTS:]):
        kept = values[:_FISHEYE_COEFFICIENTS]
    elif model in ('plumb_bob', 'rational_polynomial') or (not name and len(values) > 4):
        # Four coefficients without a name could also be those of a fisheye lens.
        fitting = [
            known for known in ('plumb_bob', 'rational_polynomial') if len(values) in MODELS[known]
        ]
        model = fitting[0] if fitting else model
    if (model, len(kept)) == (name, len(values)):
        return name, values, ''
    return (
        model,
        kept,
        (
            f'camera_info has the distortion_model {name!r} with {len(values)} coefficients: read '
            f'as {model} with {len(kept)}; configure the driver to publish these (sensor_msgs/'
            'CameraInfo)'
        ),
    )
