"""Lens distortion: maps points between the image of an ideal pinhole camera and a real lens.

The models are those of sensor_msgs. `plumb_bob` has k1, k2, p1, p2, k3, and `rational_polynomial`
has eight or more coefficients; both act on the tangent of the angle to the optical axis.
`equidistant` (fisheye lenses) has k1 to k4, which act on the angle itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ['MODELS', 'LensDistortion', 'lens_distortion']

MODELS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
"""The models and their possible numbers of coefficients."""

SAMPLES_PER_SIDE = 9
"""Points that sample each edge of an image or a box."""


def lens_distortion(model: str, coefficients: Sequence[float]) -> LensDistortion | None:
    """The distortion of a calibrated lens; None for a lens without any.

    Args:
        model: one of `MODELS`; may be empty without coefficients.
        coefficients: coefficients in the order of the model.

    Raises:
        ValueError: the model is unknown, or the number of coefficients does not fit it.
    """
    values = np.asarray(coefficients, np.float64)
    if not values.any():  # drivers of rectified cameras send no coefficients or zeros
        return None
    if model not in MODELS:
        raise ValueError(f'distortion model is {model!r}, expected one of: {", ".join(MODELS)}')
    if len(values) not in MODELS[model] or not np.isfinite(values).all():
        expected = ' or '.join(map(str, MODELS[model]))
        raise ValueError(
            f'distortion is {values.tolist()}, expected {expected} finite numbers for {model}'
        )
    return LensDistortion(model, tuple(values.tolist()))


@dataclass(frozen=True)
class LensDistortion:
    """The distortion of a lens.

    Attributes:
        model: one of `MODELS`.
        coefficients: coefficients in the order of the model.
    """

    model: str
    coefficients: tuple[float, ...]

    def distort(self, image_xy: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        """Maps points of the undistorted image to the distorted one.

        Args:
            image_xy: (N, 2) px of the undistorted image.
            intrinsics: (3, 3) px, of both images.

        Returns:
            (N, 2) px of the camera's original image.
        """
        rays = (np.asarray(image_xy, np.float64) - intrinsics[:2, 2]) / intrinsics[[0, 1], [0, 1]]
        if len(rays) == 0:
            return rays
        if self.model == 'equidistant':
            return cv2.fisheye.distortPoints(rays[:, None], _matrix(intrinsics), self._values)[
                :, 0
            ]
        points = np.append(rays, np.ones((len(rays), 1)), axis=1)
        return cv2.projectPoints(
            points, np.zeros(3), np.zeros(3), _matrix(intrinsics), self._values
        )[0][:, 0]

    def undistort(self, image_xy: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        """Maps points of the distorted image to the undistorted one; the inverse of `distort`."""
        points = np.asarray(image_xy, np.float64).reshape(-1, 1, 2)
        if len(points) == 0:
            return points[:, 0]
        matrix = _matrix(intrinsics)
        if self.model == 'equidistant':
            return cv2.fisheye.undistortPoints(points, matrix, self._values, P=matrix)[:, 0]
        return cv2.undistortPoints(points, matrix, self._values, P=matrix)[:, 0]

    def undistort_boxes(self, boxes: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        """The bounding boxes of undistorted boxes (B, 4) of the distorted image, px."""
        outlines = (
            np.stack([_outline(*box) for box in boxes]) if len(boxes) else np.zeros((0, 1, 2))
        )
        points = self.undistort(outlines.reshape(-1, 2), intrinsics).reshape(outlines.shape)
        return np.concatenate([points.min(1), points.max(1)], axis=1).astype(np.float32)

    def undistortion_maps(
        self, intrinsics: np.ndarray, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The two maps with which `cv2.remap` undistorts an image of this size."""
        matrix, size = _matrix(intrinsics), (width, height)
        if self.model == 'equidistant':
            return cv2.fisheye.initUndistortRectifyMap(
                matrix, self._values, np.eye(3), matrix, size, cv2.CV_16SC2
            )
        return cv2.initUndistortRectifyMap(matrix, self._values, None, matrix, size, cv2.CV_16SC2)

    def largest_shift_px(self, intrinsics: np.ndarray, width: int, height: int) -> float:
        """The largest displacement of points on the edge of an image, px."""
        edge = _outline(0, 0, width - 1, height - 1)
        return float(np.abs(np.linalg.norm(self.distort(edge, intrinsics) - edge, axis=1)).max())

    @property
    def _values(self) -> np.ndarray:
        return np.array(self.coefficients)


def _matrix(intrinsics: np.ndarray) -> np.ndarray:
    return np.asarray(intrinsics, np.float64)


def _outline(x_min: float, y_min: float, x_max: float, y_max: float) -> np.ndarray:
    """Points (N, 2) along the edges of a box."""
    x = np.linspace(x_min, x_max, SAMPLES_PER_SIDE)
    y = np.linspace(y_min, y_max, SAMPLES_PER_SIDE)
    return np.concatenate(
        [
            np.stack(np.broadcast_arrays(*side), axis=1)
            for side in ((x, y_min), (x, y_max), (x_min, y), (x_max, y))
        ]
    )
