"""Rotations in NumPy: axis-angle (radians) and matrices for column vectors, any batch shape."""

from __future__ import annotations

import numpy as np

__all__ = ['MIRROR', 'axis_angle_from_matrix', 'matrix_from_axis_angle', 'rotation_about']

MIRROR = np.array([1.0, -1.0, -1.0])
"""Factor on an axis-angle vector that mirrors it from the left to the right side of the body."""


def matrix_from_axis_angle(axis_angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3), radians (Rodrigues)."""
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle / np.maximum(angle[..., 0], 1e-9), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def axis_angle_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Axis-angle vectors (..., 3), radians, of rotation matrices (..., 3, 3).

    Divides by the quaternion's largest component, which is stable at all angles.
    """
    m = matrix
    trace = np.trace(m, axis1=-2, axis2=-1)
    # Row k of `four` is the quaternion (w, x, y, z) times four times its k-th component.
    four = np.stack(
        [
            1 + trace,
            m[..., 2, 1] - m[..., 1, 2],
            m[..., 0, 2] - m[..., 2, 0],
            m[..., 1, 0] - m[..., 0, 1],
            m[..., 2, 1] - m[..., 1, 2],
            1 + 2 * m[..., 0, 0] - trace,
            m[..., 0, 1] + m[..., 1, 0],
            m[..., 0, 2] + m[..., 2, 0],
            m[..., 0, 2] - m[..., 2, 0],
            m[..., 0, 1] + m[..., 1, 0],
            1 + 2 * m[..., 1, 1] - trace,
            m[..., 1, 2] + m[..., 2, 1],
            m[..., 1, 0] - m[..., 0, 1],
            m[..., 0, 2] + m[..., 2, 0],
            m[..., 1, 2] + m[..., 2, 1],
            1 + 2 * m[..., 2, 2] - trace,
        ],
        axis=-1,
    ).reshape(*trace.shape, 4, 4)
    best = np.argmax(np.diagonal(four, axis1=-2, axis2=-1), axis=-1)[..., None, None]
    quaternion = np.take_along_axis(four, best, axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(sine > 1e-8, angle / np.maximum(sine, 1e-8), 2.0)


def rotation_about(axis: int, angle: np.ndarray | float) -> np.ndarray:
    """Rotation matrices (..., 3, 3) by `angle` (...), radians, about axis 0, 1 or 2."""
    vector = np.zeros((*np.shape(angle), 3))
    vector[..., axis] = angle
    return matrix_from_axis_angle(vector)
