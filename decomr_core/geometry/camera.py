"""Transforms from the root frame to the image and the camera optical frame, all in one place.

The network sees one square crop and predicts the person's position in it by weak perspective:
`crop_xy = s (root_xy + t)`. In image px, with a square of side b centred at c:

    p = c + (b / 2) s (root_xy + t)                                                        (1)

A calibrated pinhole camera projects a point of the root frame, translated by T, to

    p = (fx (X + Tx) / (Z + Tz) + cx, fy (Y + Ty) / (Z + Tz) + cy)                          (2)

Setting (1) = (2) for a flat person (Z = 0) gives the closed form Tz = 2 f / (b s),
Tx = tx + (c_x - cx) Tz / fx, and the same for Ty. For people who are near and not flat, each
point gives two equations that are linear in T,

    fx Tx - (p_x - cx) Tz = (p_x - cx) Z - fx X,   and the same for y.                      (3)

Their least squares solution fits the perspective projection of all points best. It does not
reproduce the weak projection exactly, because no T can if parts of the body differ in depth.
"""

from __future__ import annotations

import math

import numpy as np

from decomr_core.base.structures import check_shape
from decomr_core.geometry.crop import image_from_crop_xy

__all__ = [
    'body_translations',
    'check_intrinsics',
    'fitted_translation',
    'flat_translation',
    'intrinsics_from_fov',
    'project_perspective',
    'project_weak_perspective',
    'root_translation',
    'weak_perspective_box',
]

NUM_FIT_VERTICES = 120
"""About this many vertices locate a person as accurately as all of them."""

MIN_SPREAD = 1e-20
"""Smallest mean square spread of the rays above rounding errors: 0.0001 px at the longest focal
length."""

MIN_DEPTH_M = 0.05
"""Smallest depth of any point of a body; a solution with a smaller depth is rejected."""

FOCAL_LENGTHS_PX = (1e-2, 1e6)
"""Accepted focal lengths, from images of one pixel to telescopes."""
MAX_PRINCIPAL_POINT_PX = 1e6
"""Largest accepted magnitude of the principal point; it may be outside of a cropped image."""


def check_intrinsics(intrinsics: np.ndarray | None) -> np.ndarray | None:
    """The camera matrix, or None for a camera that is not calibrated.

    Args:
        intrinsics: (3, 3) px, `k` of a camera_info message; None, or a matrix with k[0] = 0, which
            means that the camera is not calibrated.

    Returns:
        (3, 3) float64 px, or None.

    Raises:
        ValueError: the shape is wrong, or the values are not those of a camera.
    """
    if intrinsics is None:
        return None
    matrix = np.asarray(intrinsics, np.float64)
    check_shape('intrinsics', matrix, (3, 3))
    if matrix[0, 0] == 0:
        return None
    # Runs for every image. Python floats are faster than NumPy for a few numbers.
    numbers = matrix.ravel().tolist()
    (shortest, longest), focal, middle = FOCAL_LENGTHS_PX, numbers[0:5:4], numbers[2:6:3]
    if not (
        all(map(math.isfinite, numbers))
        and all(shortest <= length <= longest for length in focal)
        and all(abs(coordinate) <= MAX_PRINCIPAL_POINT_PX for coordinate in middle)
    ):
        raise ValueError(
            f'intrinsics are {matrix.tolist()}, expected finite numbers with focal '
            f'lengths fx = k[0] and fy = k[4] from {shortest:g} to {longest:g} px '
            f'and a principal point within {MAX_PRINCIPAL_POINT_PX:g} px of the '
            'first pixel; k[0] = 0 means that the camera is not calibrated'
        )
    return matrix


def intrinsics_from_fov(width: int, height: int, fov_deg: float) -> np.ndarray:
    """The camera matrix of an ideal pinhole camera.

    Args:
        width: width of the image, px.
        height: height of the image, px.
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


def project_weak_perspective(
    points: np.ndarray, weak_camera: np.ndarray, center: np.ndarray, side: float
) -> np.ndarray:
    """Projects points of the root frame into the image by weak perspective (equation 1).

    Args:
        points: (..., 3) metres, root frame.
        weak_camera: (3,) s, tx, ty.
        center: (2,) centre of the square crop, image px.
        side: side of the square crop, image px.

    Returns:
        (..., 2) image px.
    """
    return image_from_crop_xy(weak_camera[0] * (points[..., :2] + weak_camera[1:]), center, side)


def weak_perspective_box(
    coordinates: np.ndarray, weak_camera: np.ndarray, center: np.ndarray, side: float
) -> list[float]:
    """The bounding box of points of the root frame in the image (equation 1).

    Weak perspective only translates and scales, so the box follows from the extrema in 3D.

    Args:
        coordinates: (3, N) x, y and z of the points, metres, root frame.
        weak_camera: (3,) s, tx, ty, with s > 0.
        center: (2,) centre of the square crop, image px.
        side: side of the square crop, image px.

    Returns:
        x_min, y_min, x_max, y_max, image px.
    """
    # Python floats are faster than NumPy for a few numbers.
    scale, *shift = weak_camera.tolist()
    half, middle = float(side) / 2, center.tolist()
    return [
        middle[axis] + half * scale * (float(edge[axis]) + shift[axis])
        for edge in (coordinates.min(1), coordinates.max(1))
        for axis in (0, 1)
    ]


def project_perspective(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Projects points of the camera frame into the image (equation 2 with T = 0).

    Args:
        points: (..., 3) metres, camera optical frame, in front of the camera.
        intrinsics: (3, 3) px.

    Returns:
        (..., 2) image px.
    """
    focal, middle = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    return points[..., :2] / points[..., 2:] * focal + middle


def flat_translation(
    weak_camera: np.ndarray, center: np.ndarray, side: np.ndarray | float, intrinsics: np.ndarray
) -> np.ndarray:
    """Position of the root of a flat person, in closed form.

    Args:
        weak_camera: (..., 3) s, tx, ty, with s > 0.
        center: (..., 2) centre of the square crop, image px.
        side: (...) side of the square crop, image px.
        intrinsics: (3, 3) px.

    Returns:
        (..., 3) metres, camera optical frame.

    Raises:
        ValueError: s is not positive.
    """
    weak_camera, side = np.asarray(weak_camera, np.float64), np.asarray(side, np.float64)
    scale = weak_camera[..., 0]
    if not (scale > 0).all():
        raise ValueError(f'weak perspective scale is {scale.min()}, expected a number above 0')
    focal, middle = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    depth = (2 * focal.mean() / (side * scale))[..., None]
    sideways = weak_camera[..., 1:] + (np.asarray(center) - middle) * depth / focal
    return np.concatenate([sideways, depth], axis=-1)


def root_translation(
    points: np.ndarray,
    weak_camera: np.ndarray,
    center: np.ndarray,
    side: np.ndarray | float,
    intrinsics: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Position of the root at which the points project as predicted by weak perspective.

    Least squares over equations (3). If its solution does not have all points in front of the
    camera (they coincide in the image, or reach behind the camera), the closed form is used.

    Args:
        points: (..., N, 3) metres, root frame.
        weak_camera: (..., 3) s, tx, ty, with s > 0.
        center: (..., 2) centre of the square crop, image px.
        side: (...) side of the square crop, image px.
        intrinsics: (3, 3) px.
        weights: (N,) weights of the points; None: all 1.

    Returns:
        (..., 3) metres, camera optical frame.
    """
    points, weak = np.asarray(points, np.float64), np.asarray(weak_camera, np.float64)
    crop_xy = weak[..., None, :1] * (points[..., :2] + weak[..., None, 1:])
    image_xy = image_from_crop_xy(
        crop_xy,
        np.asarray(center, np.float64)[..., None, :],
        np.asarray(side, np.float64)[..., None, None],
    )
    fitted = fitted_translation(points, image_xy, intrinsics, weights)
    is_in_front = fitted[..., 2] + points[..., 2].min(-1) > MIN_DEPTH_M
    if is_in_front.all():
        return fitted
    return np.where(
        is_in_front[..., None], fitted, flat_translation(weak, center, side, intrinsics)
    )


def fitted_translation(
    points: np.ndarray,
    image_xy: np.ndarray,
    intrinsics: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Position of the root at which the perspective projection of points fits observations.

    Least squares over equations (3).

    Args:
        points: (..., N, 3) float64 metres, root frame.
        image_xy: (..., N, 2) observed positions of the points, image px.
        intrinsics: (3, 3) px.
        weights: (N,) weights of the points; None: all 1.

    Returns:
        (..., 3) metres, camera optical frame. z is minus infinity if all points coincide in the
        image, because then the distance is undetermined.
    """
    shares = np.ones(points.shape[-2]) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    rays = (image_xy - intrinsics[:2, 2]) / intrinsics.diagonal()[:2]  # (..., N, 2)
    # Equations (3) divided by the focal length: T_xy - rays Tz = rays Z - point_xy. The mean over
    # the points gives T_xy for any Tz, which leaves one unknown.
    target = rays * points[..., 2:] - points[..., :2]
    rays_mean, target_mean = shares @ rays, shares @ target
    offsets = rays - rays_mean[..., None, :]
    spread = (shares @ offsets**2).sum(-1)
    slope = (shares @ (offsets * (target - target_mean[..., None, :]))).sum(-1)
    is_spread = spread > MIN_SPREAD
    depth = np.where(is_spread, -slope / np.where(is_spread, spread, 1), -np.inf)[..., None]
    sideways = target_mean + rays_mean * np.where(is_spread[..., None], depth, 0)
    return np.concatenate([sideways, depth], axis=-1)


def body_translations(
    vertices: np.ndarray,
    joints: np.ndarray,
    weak_cameras: np.ndarray,
    centers: np.ndarray,
    sides: np.ndarray,
    intrinsics: np.ndarray,
) -> np.ndarray:
    """Positions of people's roots: `root_translation` over vertices and joints.

    Sampled vertices and joints get half of the weight each, because vertices are dense on hands,
    face and feet while joints are spread over the body.

    Args:
        vertices: (B, V, 3) metres, root frame.
        joints: (B, J, 3) metres, root frame.
        weak_cameras: (B, 3) s, tx, ty, with s > 0.
        centers: (B, 2) centres of the square crops, image px.
        sides: (B,) sides of the square crops, image px.
        intrinsics: (3, 3) px.

    Returns:
        (B, 3) metres, camera optical frame.
    """
    sampled = vertices[:, :: max(vertices.shape[1] // NUM_FIT_VERTICES, 1)]
    num_vertices, num_joints = sampled.shape[1], joints.shape[1]
    weights = np.repeat([1 / num_vertices, 1 / num_joints], [num_vertices, num_joints])
    return root_translation(
        np.concatenate([sampled, joints], axis=1),
        weak_cameras,
        centers,
        sides,
        intrinsics,
        weights,
    )
