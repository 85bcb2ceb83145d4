"""From the root frame to the image and to the camera optical frame; the only place that does it.

The network sees one square crop and says where the person is in it by weak perspective:
`crop_xy = s (root_xy + t)`. In image px, with a square of side b centred at c:

    p = c + (b / 2) s (root_xy + t)                                                        (1)

A calibrated pinhole camera sees a point of the root frame, moved by the translation T, at

    p = (fx (X + Tx) / (Z + Tz) + cx, fy (Y + Ty) / (Z + Tz) + cy)                          (2)

Setting (1) = (2) for a flat person (Z = 0) gives the closed form: Tz = 2 f / (b s),
Tx = tx + (c_x - cx) Tz / fx, Ty likewise. For people who are not flat and are near, each joint
gives two equations linear in T,

    fx Tx - (p_x - cx) Tz = (p_x - cx) Z - fx X,   and likewise for y,                      (3)

and their least squares solution makes the perspective picture of all joints fit best.
"""

from __future__ import annotations

import math

import numpy as np

from decomr_core.crop import image_from_crop_xy
from decomr_core.structures import check_shape

__all__ = ['box_weak', 'check_intrinsics', 'flat_translation', 'intrinsics_from_fov',
           'project_perspective', 'project_weak', 'root_translation']

NEAREST_DEPTH_M = 0.05
"""No body is nearer to a camera than this: a solution behind it is not a person seen by it."""

FOCAL_LENGTHS_PX = (1e-2, 1e6)
"""Shortest and longest of any camera, from pictures of one pixel to telescopes."""
MIDDLE_PX = 1e6
"""No principal point is further from the first pixel, even of a small part of an image."""


def check_intrinsics(intrinsics: np.ndarray | None) -> np.ndarray | None:
    """The camera matrix, or None for a camera that is not calibrated.

    Args:
        intrinsics: (3, 3) px, as `k` of a camera_info message; None, or a matrix whose first
            number is 0, which is how a driver says that it has no calibration.

    Returns:
        (3, 3) float64 px, or None.

    Raises:
        ValueError: the shape is another or the numbers are no camera's.
    """
    if intrinsics is None:
        return None
    matrix = np.asarray(intrinsics, np.float64)
    check_shape('intrinsics', matrix, (3, 3))
    if matrix[0, 0] == 0:
        return None
    # Plain numbers: this is asked for every image, and NumPy takes long for so few.
    numbers = matrix.ravel().tolist()
    (shortest, longest), focal, middle = FOCAL_LENGTHS_PX, numbers[0:5:4], numbers[2:6:3]
    if not (all(map(math.isfinite, numbers))
            and all(shortest <= length <= longest for length in focal)
            and all(abs(place) <= MIDDLE_PX for place in middle)):
        raise ValueError(f'intrinsics are {matrix.tolist()}, expected finite numbers with focal '
                         f'lengths fx = k[0] and fy = k[4] above 0 px, from {shortest:g} to '
                         f'{longest:g}, and a principal point within {MIDDLE_PX:g} px of the '
                         'first pixel; k[0] = 0 says that the camera is not calibrated')
    return matrix


def intrinsics_from_fov(width: int, height: int, fov_deg: float) -> np.ndarray:
    """The camera matrix of an ideal camera.

    Args:
        width: of the image, px.
        height: of the image, px.
        fov_deg: horizontal field of view, degrees.

    Returns:
        (3, 3) px.

    Raises:
        ValueError: the angle is not between 1 and 179 degrees.
    """
    if not 1 <= fov_deg <= 179:
        raise ValueError(f'horizontal field of view is {fov_deg} degrees, expected 1 to 179')
    focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def project_weak(points: np.ndarray, weak_camera: np.ndarray, center: np.ndarray,
                 side: float) -> np.ndarray:
    """Points of the root frame in the image, by weak perspective (equation 1).

    Args:
        points: (..., 3) metres, root frame.
        weak_camera: (3,) s, tx, ty.
        center: (2,) of the square crop, image px.
        side: of the square crop, image px.

    Returns:
        (..., 2) image px.
    """
    return image_from_crop_xy(weak_camera[0] * (points[..., :2] + weak_camera[1:]), center, side)


def box_weak(columns: np.ndarray, weak_camera: np.ndarray, center: np.ndarray, side: float
             ) -> list[float]:
    """The box around points of the root frame in the image, by weak perspective (equation 1).

    That only moves and scales: the corners of the body are the corners in the image.

    Args:
        columns: (3, N) metres, root frame, the coordinates apart.
        weak_camera: (3,) s, tx, ty, with s > 0.
        center: (2,) of the square crop, image px.
        side: of the square crop, image px.

    Returns:
        x_min, y_min, x_max, y_max, image px.
    """
    # Plain numbers: NumPy takes long for so few.
    scale, *shift = weak_camera.tolist()
    half, middle = float(side) / 2, center.tolist()
    return [middle[axis] + half * scale * (float(edge[axis]) + shift[axis])
            for edge in (columns.min(1), columns.max(1)) for axis in (0, 1)]


def project_perspective(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Points of the camera frame in the image, by perspective (equation 2 with T = 0).

    Args:
        points: (..., 3) metres, camera optical frame, in front of the camera.
        intrinsics: (3, 3) px.

    Returns:
        (..., 2) image px.
    """
    focal, middle = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    return points[..., :2] / points[..., 2:] * focal + middle


def flat_translation(weak_camera: np.ndarray, center: np.ndarray, side: float,
                     intrinsics: np.ndarray) -> np.ndarray:
    """Where the root is if the person is flat: the closed form.

    Args:
        weak_camera: (3,) s, tx, ty, with s > 0.
        center: (2,) of the square crop, image px.
        side: of the square crop, image px.
        intrinsics: (3, 3) px.

    Returns:
        (3,) metres, camera optical frame.

    Raises:
        ValueError: s is not positive, which no camera can see.
    """
    scale = float(weak_camera[0])
    if not scale > 0:
        raise ValueError(f'weak perspective scale is {scale}, expected a number above 0')
    focal, middle = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    depth = 2 * focal.mean() / (float(side) * scale)
    sideways = np.asarray(weak_camera[1:], np.float64) + (center - middle) * depth / focal
    return np.append(sideways, depth)


def root_translation(joints: np.ndarray, weak_camera: np.ndarray, center: np.ndarray,
                     side: float, intrinsics: np.ndarray) -> np.ndarray:
    """Where the root is so that the joints appear where weak perspective puts them.

    Least squares over equations (3); the closed form where that has no solution in front of the
    camera (all joints in one point).

    Args:
        joints: (J, 3) metres, root frame.
        weak_camera: (3,) s, tx, ty, with s > 0.
        center: (2,) of the square crop, image px.
        side: of the square crop, image px.
        intrinsics: (3, 3) px.

    Returns:
        (3,) metres, camera optical frame.
    """
    joints = np.asarray(joints, np.float64)
    focal, middle = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    rays = (project_weak(joints, weak_camera, center, side) - middle) / focal  # (J, 2)
    # Equations (3) divided by the focal length: T_xy - rays Tz = rays Z - joint_xy. The mean over
    # the joints gives T_xy for any Tz, which leaves one unknown.
    wanted = rays * joints[:, 2:] - joints[:, :2]
    rays_mean, wanted_mean = rays.mean(0), wanted.mean(0)
    rays_spread = rays - rays_mean
    spread = (rays_spread ** 2).sum()
    depth = -(rays_spread * (wanted - wanted_mean)).sum() / spread if spread else -math.inf
    if not depth + joints[:, 2].min() > NEAREST_DEPTH_M:
        return flat_translation(weak_camera, center, side, intrinsics)
    return np.append(wanted_mean + rays_mean * depth, depth)
