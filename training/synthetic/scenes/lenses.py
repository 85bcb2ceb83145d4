"""Barrel distortion of wide-angle lenses.

A lens of strength w maps the pinhole radius r to atan(w r) / w. 0 is the pinhole, 1 the
equidistant fisheye; ordinary wide-angle lenses are between these. The function is monotonic and
has an exact inverse. It is the FOV model of Devernay and Faugeras 2001, "Straight lines have to
be straight".

Image positions are normalised, as in `viewpoints.py`; the first axis of arrays is the lens.
"""

from __future__ import annotations

import numpy as np

__all__ = ['bent', 'straightened']

NEAREST = 1e-6
"""Radius below which lenses have no effect; avoids a division by zero on the axis."""
WIDEST = 1.45
"""Largest angle from the axis in results of `straightened`, radians."""


def bent(image: np.ndarray, strength: np.ndarray | float) -> np.ndarray:
    """Image positions behind lenses.

    Args:
        image: (B, ..., 2) positions in a pinhole camera.
        strength: (B,) or one number, above 0.
    """
    strength, radius = _along(image, strength)
    return image * (np.arctan(strength * radius) / (strength * radius))


def straightened(image: np.ndarray, strength: np.ndarray | float) -> np.ndarray:
    """Pinhole positions of image positions behind lenses: the inverse of `bent`."""
    strength, radius = _along(image, strength)
    angle = strength * radius
    return image * (np.tan(np.minimum(angle, WIDEST)) / angle)


def _along(image: np.ndarray, strength: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Strengths and distances from the axis, broadcastable to the points."""
    strength = np.asarray(strength, image.dtype)
    strength = strength.reshape(strength.shape + (1,) * (image.ndim - strength.ndim))
    return strength, np.maximum(np.linalg.norm(image, axis=-1, keepdims=True), NEAREST)
