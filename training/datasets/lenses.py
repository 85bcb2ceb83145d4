"""Wide-angle lenses: where they put what an ideal pinhole camera would put elsewhere.

A lens of strength w shows a point at the tangent r from the optical axis at atan(w r) / w. 0 is
the pinhole; 1 is a fisheye lens, which is linear in the angle; between them is the barrel
distortion of ordinary wide-angle lenses. The function is monotonic, so its inverse is exact.
(Devernay and Faugeras 2001, "Straight lines have to be straight", the FOV model.)

Image positions are normalised, as in `viewpoints.py`; arrays have the lenses on the first axis.
"""

from __future__ import annotations

import numpy as np

__all__ = ['bent', 'straightened']

WIDEST = 1.45
"""Radians: directions farther from the axis than that count as being there."""


def bent(image: np.ndarray, strength: np.ndarray | float) -> np.ndarray:
    """Where lenses show points.

    Args:
        image: (B, ..., 2) where a pinhole camera sees them.
        strength: (B,) or one number; above 0.
    """
    strength, radius = _along(image, strength)
    return image * (np.arctan(strength * radius) / np.maximum(strength * radius, 1e-9))


def straightened(image: np.ndarray, strength: np.ndarray | float) -> np.ndarray:
    """Where a pinhole camera would see points that lenses show: the inverse of `bent`."""
    strength, radius = _along(image, strength)
    angle = strength * radius
    return image * (np.tan(np.minimum(angle, WIDEST)) / np.maximum(angle, 1e-9))


def _along(image: np.ndarray, strength: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Strengths and distances from the axis that broadcast against the points."""
    strength = np.asarray(strength, image.dtype)
    strength = strength.reshape(strength.shape + (1,) * (image.ndim - strength.ndim))
    return strength, np.maximum(np.linalg.norm(image, axis=-1, keepdims=True), 1e-9)
