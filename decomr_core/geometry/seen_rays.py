"""How far the camera sees along its rays until it reaches a place where a person may be.

The image is divided into cells of a few pixels; each has one ray.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ['SeenRays', 'cell_shape', 'cell_side']

CELLS_PER_ROW = 160
"""Cells along the width of the image: 2 cm wide at 3 m, for a camera that sees 3 m there."""

NEAREST_Z_M = 0.05
"""Points with a smaller depth have no reliable place in the image, metres."""

LARGEST_GROWTH = 40
"""Most cells by which the image of a region grows; a nearer region hides the whole image."""


@dataclass(frozen=True)
class SeenRays:
    """The rays of one image.

    Attributes:
        intrinsics: (3, 3) px.
        width: of the image, px.
        height: of the image, px.
        limits_m: (rows, columns) float32 distance from the camera at which the nearest region of a
            person begins, metres; inf where there is none.
    """

    intrinsics: np.ndarray
    width: int
    height: int
    limits_m: np.ndarray

    @classmethod
    def of_people(
        cls,
        intrinsics: np.ndarray,
        width: int,
        height: int,
        obstacles: Sequence[np.ndarray],
        spacings_m: Sequence[float],
        masks: Sequence[np.ndarray],
    ) -> SeenRays:
        """The rays of an image with people.

        Args:
            intrinsics: (3, 3) px.
            width: of the image, px.
            height: of the image, px.
            obstacles: for each person (N, 3) points that fill the region where the person may be,
                metres, camera optical frame.
            spacings_m: for each person, metres: no point of the region is farther than this from
                one of the points that fill it.
            masks: for each person (rows, columns) bool, the cells that show the person.
        """
        shape = cell_shape(width, height)
        rays = cls(intrinsics, width, height, np.full(shape, np.inf, np.float32))
        for points, spacing_m, mask in zip(obstacles, spacings_m, masks, strict=True):
            if len(points) == 0:
                continue
            limits = rays._limits_of(points, spacing_m)
            nearest_m = math.sqrt(float(np.einsum('ij,ij->i', points, points).min()))
            limits[mask] = np.minimum(limits[mask], nearest_m)
            np.minimum(rays.limits_m, limits, out=rays.limits_m)
        return rays

    def cells_of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cells that show points (N, 3), metres, camera optical frame.

        Returns:
            Index (N,) into the flat cells, -1 for points outside the image; and the place in the
            image (N, 2), px, not meaningful outside.
        """
        image_xy = self._project(points)
        x, y = image_xy.T
        is_seen = points[:, 2] > NEAREST_Z_M
        is_seen &= (x > -0.5) & (x < self.width - 0.5) & (y > -0.5) & (y < self.height - 0.5)
        column, row = (
            (np.where(is_seen, values + 0.5, 0) / cell_side(self.width)).astype(np.intp)
            for values in (x, y)
        )
        return np.where(is_seen, row * self.limits_m.shape[1] + column, -1), image_xy

    def places_in(self, cells: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Places (N, 2) in cells (N,), at shares (N, 2) of their sides, image px."""
        row, column = np.divmod(cells, self.limits_m.shape[1])
        places = (np.stack([column, row], axis=1) + shares) * cell_side(self.width) - 0.5
        return np.minimum(places, (self.width - 1, self.height - 1))

    def directions_of(self, image_xy: np.ndarray) -> np.ndarray:
        """Unit vectors (N, 3) from the camera to places (N, 2) in the image, px."""
        slopes = (image_xy - self.intrinsics[:2, 2]) / self.intrinsics.diagonal()[:2]
        directions = np.append(slopes, np.ones((len(slopes), 1)), axis=1)
        return directions / np.sqrt(np.einsum('ij,ij->i', directions, directions))[:, None]

    @property
    def cell_angle(self) -> float:
        """Angle between the rays of neighbouring cells in the middle of the image, rad."""
        return cell_side(self.width) / float(self.intrinsics.diagonal()[:2].max())

    def _project(self, points: np.ndarray) -> np.ndarray:
        """Places (N, 2) of points (N, 3) in the image, px; not meaningful behind the camera."""
        matrix = self.intrinsics.astype(points.dtype)
        scale = 1 / np.maximum(points[:, 2], NEAREST_Z_M)
        xy = (points[:, axis] * scale * matrix[axis, axis] + matrix[axis, 2] for axis in (0, 1))
        return np.stack(tuple(xy), axis=1)

    def _limits_of(self, points: np.ndarray, spacing_m: float) -> np.ndarray:
        """The limits (rows, columns) of one person."""
        ranges = np.sqrt(np.einsum('ij,ij->i', points, points)).astype(np.float32)
        # A ray may pass between the points. It ends before those beside it.
        reach = spacing_m / max(float(ranges.min()), 1e-6) / self.cell_angle
        if points[:, 2].min() <= NEAREST_Z_M or reach > LARGEST_GROWTH:
            return np.zeros(self.limits_m.shape, np.float32)
        border = math.ceil(reach) + 1
        rows, columns = np.array(self.limits_m.shape) + 2 * border
        image_xy = self._project(points)
        cells = np.floor((image_xy + 0.5) / cell_side(self.width)) + border
        column, row = np.clip(cells, -1, (columns, rows)).astype(np.intp).T
        is_near = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        limits = np.full(rows * columns, np.inf, np.float32)
        np.minimum.at(limits, (row * columns + column)[is_near], ranges[is_near])
        kernel = np.ones((2 * border + 1, 2 * border + 1), np.uint8)
        eroded = cv2.erode(limits.reshape(rows, columns), kernel)
        return eroded[border:-border, border:-border]


def cell_side(width: int) -> int:
    """Side of the cells of an image, px."""
    return math.ceil(width / CELLS_PER_ROW)


def cell_shape(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the cells of an image."""
    side = cell_side(width)
    return math.ceil(height / side), math.ceil(width / side)
