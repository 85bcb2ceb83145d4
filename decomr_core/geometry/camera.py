"""From the root frame to the image and to the camera optical frame; the only place that does it.

The network sees one square crop and says where the person is in it by weak perspective:
`crop_xy = s (root_xy + t)`. In image px, with a square of side b centred at c:

    p = c + (b / 2) s (root_xy + t)                                                        (1)

A calibrated pinhole camera sees a point of the root frame, moved by the translation T, at

    p = (fx (X + Tx) / (Z + Tz) + cx, fy (Y + Ty) / (Z + Tz) + cy)                          (2)

Setting (1) = (2) for a flat person (Z = 0) gives the closed form: Tz = 2 f / (b s),
Tx = tx + (c_x - cx) Tz / fx, Ty likewise. For people who are not flat and are near, each point
gives two equations linear in T,

    fx Tx - (p_x - cx) Tz = (p_x - cx) Z - fx X,   and likewise for y,                      (3)

and their least squares solution makes the perspective picture of all points fit best. It is not
the weak one: where hands are nearer to the camera than the root, no T makes it so.
"""

from __future__ import annotations

import math

import numpy as np

from decomr_core.base.structures import check_shape
from decomr_core.geometry.crop import image_from_crop_xy

__all__ = ['body_translations', 'box_weak', 'check_intrinsics', 'fitted_translation',
           'flat_translation', 'intrinsics_from_fov', 'project_perspective', 'project_weak',
           'root_translation']

PLACING_VERTICES = 120
"""About so many vertices tell where a person is as well as all of them."""

LEAST_SPREAD = 1e-20
"""Mean square of the points' distance in the image, over the focal length, that is more than
rounding: a ten thousandth of a pixel of the longest lens."""

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


def flat_translation(weak_camera: np.ndarray, center: np.ndarray, side: np.ndarray | float,
                     intrinsics: np.ndarray) -> np.ndarray:
    """Where the root is if the person is flat: the closed form.

    Args:
        weak_camera: (..., 3) s, tx, ty, with s > 0.
        center: (..., 2) of the square crop, image px.
        side: (...) of the square crop, image px.
        intrinsics: (3, 3) px.

    Returns:
        (..., 3) metres, camera optical frame.

    Raises:
        ValueError: s is not positive, which no camera can see.
    """
    weak_camera, side = np.asarray(weak_camera, np.float64), np.asarray(side, np.float64)
    scale = weak_camera[..., 0]
    if not (scale > 0).all():
        raise ValueError(f'weak perspective scale is {scale.min()}, expected a number above 0')
    focal, middle = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    depth = (2 * focal.mean() / (side * scale))[..., None]
    sideways = weak_camera[..., 1:] + (np.asarray(center) - middle) * depth / focal
    return np.concatenate([sideways, depth], axis=-1)


def root_translation(points: np.ndarray, weak_camera: np.ndarray, center: np.ndarray,
                     side: np.ndarray | float, intrinsics: np.ndarray,
                     weights: np.ndarray | None = None) -> np.ndarray:
    """Where the root is so that points of the body appear where weak perspective puts them.

    Least squares over equations (3); the closed form where that has no solution with all points
    in front of the camera (they are in one point, or reach behind it).

    Args:
        points: (..., N, 3) metres, root frame.
        weak_camera: (..., 3) s, tx, ty, with s > 0.
        center: (..., 2) of the square crop, image px.
        side: (...) of the square crop, image px.
        intrinsics: (3, 3) px.
        weights: (N,) of the points; None: all 1.

    Returns:
        (..., 3) metres, camera optical frame.
    """
    points, weak = np.asarray(points, np.float64), np.asarray(weak_camera, np.float64)
    crop_xy = weak[..., None, :1] * (points[..., :2] + weak[..., None, 1:])
    image_xy = image_from_crop_xy(crop_xy, np.asarray(center, np.float64)[..., None, :],
                                  np.asarray(side, np.float64)[..., None, None])
    fitted = fitted_translation(points, image_xy, intrinsics, weights)
    is_before = fitted[..., 2] + points[..., 2].min(-1) > NEAREST_DEPTH_M
    if is_before.all():
        return fitted
    return np.where(is_before[..., None], fitted,
                    flat_translation(weak, center, side, intrinsics))


def fitted_translation(points: np.ndarray, image_xy: np.ndarray, intrinsics: np.ndarray,
                       weights: np.ndarray | None = None) -> np.ndarray:
    """Where the root is so that perspective shows points of the body at given places.

    Least squares over equations (3).

    Args:
        points: (..., N, 3) float64 metres, root frame.
        image_xy: (..., N, 2) where they are seen, image px.
        intrinsics: (3, 3) px.
        weights: (N,) of the points; None: all 1.

    Returns:
        (..., 3) metres, camera optical frame; a z of minus infinity where the points are seen in
        one place, which tells no distance.
    """
    shares = np.ones(points.shape[-2]) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    rays = (image_xy - intrinsics[:2, 2]) / intrinsics.diagonal()[:2]  # (..., N, 2)
    # Equations (3) divided by the focal length: T_xy - rays Tz = rays Z - point_xy. The mean over
    # the points gives T_xy for any Tz, which leaves one unknown.
    wanted = rays * points[..., 2:] - points[..., :2]
    rays_mean, wanted_mean = shares @ rays, shares @ wanted
    offsets = rays - rays_mean[..., None, :]
    spread = (shares @ offsets**2).sum(-1)
    slope = (shares @ (offsets * (wanted - wanted_mean[..., None, :]))).sum(-1)
    is_spread = spread > LEAST_SPREAD
    depth = np.where(is_spread, -slope / np.where(is_spread, spread, 1), -np.inf)[..., None]
    sideways = wanted_mean + rays_mean * np.where(is_spread[..., None], depth, 0)
    return np.concatenate([sideways, depth], axis=-1)


def body_translations(vertices: np.ndarray, joints: np.ndarray, weak_cameras: np.ndarray,
                      centers: np.ndarray, sides: np.ndarray, intrinsics: np.ndarray
                      ) -> np.ndarray:
    """Where the roots of people are: `root_translation` over their surface and their joints.

    Half of the weight is the surface's, of which some vertices tell as much as all, half the
    joints': vertices are dense on hands, face and feet, joints are not, and both are looked at.

    Args:
        vertices: (B, V, 3) metres, root frame.
        joints: (B, J, 3) metres, root frame.
        weak_cameras: (B, 3) s, tx, ty, with s > 0.
        centers: (B, 2) of the square crops, image px.
        sides: (B,) of the square crops, image px.
        intrinsics: (3, 3) px.

    Returns:
        (B, 3) metres, camera optical frame.
    """
    some = vertices[:, ::max(vertices.shape[1] // PLACING_VERTICES, 1)]
    num_vertices, num_joints = some.shape[1], joints.shape[1]
    weights = np.repeat([1 / num_vertices, 1 / num_joints], [num_vertices, num_joints])
    return root_translation(np.concatenate([some, joints], axis=1), weak_cameras, centers, sides,
                            intrinsics, weights)
