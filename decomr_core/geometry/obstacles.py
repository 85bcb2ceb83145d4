"""The region in which the surface of a body may be, as a solid cloud of points for planners.

The position of a body is uncertain mostly along the viewing ray of its root (see
`decomr_core.estimation.uncertainty`). Each vertex therefore becomes a cylinder parallel to that
ray. The region consists of all cylinders and of everything between the nearest and the farthest of
them on a parallel of the ray, e.g. the inside of the body. It is stored as two maps over the plane
across the ray: where the region begins, and where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['BodyRegion', 'Padding', 'body_region', 'obstacle_points', 'ray_axes']

COLUMN_M = 0.025
"""Side of the square columns of a region, metres: about twice the distance of
neighbouring vertices."""

MOST_COLUMNS, MOST_COLUMNS_OF_RADIUS = 200, 20
"""Largest number of columns across the vertices of a body and in the radius of a cylinder. They
bound the time; a person is 70 wide, and a radius has 20 columns 12 m away."""

CELL_GROWTH = 1.04
"""Factor by which the cells grow until the points are few enough: a tenth fewer each time."""


class Padding(NamedTuple):
    """The cylinder around a vertex in which its true position is.

    Attributes:
        along_m: half its length, metres, along the ray.
        across_m: its radius, metres.
    """

    along_m: float
    across_m: float


@dataclass(frozen=True)
class BodyRegion:
    """A region of columns parallel to a ray.

    Attributes:
        axes: (3, 3) unit vectors as rows: two across the ray, then the ray.
        low: (2,) where the columns begin across the ray, metres.
        near: (rows, columns) float32 where each column begins along the ray, metres; inf for
            columns outside the region.
        far: (rows, columns) float32 where it ends; -inf for columns outside the region.
        column_m: side of the columns, metres.
    """

    axes: np.ndarray
    low: np.ndarray
    near: np.ndarray
    far: np.ndarray
    column_m: float = COLUMN_M

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the points (N, 3), metres, are inside: (N,) bool."""
        local = points @ self.axes.T.astype(points.dtype)
        near, far = self._ends(local[:, :2])
        return (local[:, 2] >= near) & (local[:, 2] <= far)

    def points(self, cell_m: float) -> np.ndarray:
        """Points that fill the region.

        They are on a body-centred cubic lattice, which needs fewest points: every ball whose
        diameter is `cell_m` contains one if it is inside the region, and so does every cube whose
        side is `cell_m`, however it is turned.

        Args:
            cell_m: metres.

        Returns:
            (N, 3) float32 metres, in the frame of the vertices.
        """
        step = 2 * cell_m / math.sqrt(5)
        size = np.array(self.near.shape[::-1]) * self.column_m
        layers = []
        for offset in (0.0, 0.5):
            first = np.ceil(self.low / step - offset)
            last = np.floor((self.low + size) / step - offset)
            x, y = (
                (np.arange(start, end + 1) + offset) * step
                for start, end in zip(first, last, strict=True)
            )
            across = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
            near, far = self._ends(across)
            is_inside = near <= far
            across, near, far = across[is_inside], near[is_inside], far[is_inside]
            begin = np.ceil(near / step - offset)
            counts = np.maximum(np.floor(far / step - offset) - begin + 1, 0).astype(np.intp)
            row = np.repeat(np.arange(len(counts)), counts)
            index = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            along = ((begin[row] + index + offset) * step).astype(np.float32)
            base = (across @ self.axes[:2]).astype(np.float32)
            layers.append(base.take(row, 0) + along[:, None] * self.axes[2].astype(np.float32))
        return np.concatenate(layers)

    def volume_m3(self) -> float:
        """Volume of the region, cubic metres."""
        depth = np.maximum(self.far - self.near, 0)
        return float(depth[np.isfinite(depth)].sum()) * self.column_m**2

    def _ends(self, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Beginning and end (N,) of the columns that contain points (N, 2) across the ray."""
        height, width = self.near.shape
        # Places beyond the maps get the number of the border, which is empty.
        column, row = (
            np.clip(np.floor((values - np.float32(low)) / np.float32(self.column_m)), -1, size) + 1
            for values, low, size in zip(across.T, self.low, (width, height), strict=True)
        )
        index = (row * (width + 2) + column).astype(np.intp)
        near, far = self._bordered
        return near.take(index), far.take(index)

    @cached_property
    def _bordered(self) -> tuple[np.ndarray, np.ndarray]:
        """Both maps with an empty border, flat."""
        near = np.pad(self.near, 1, constant_values=np.inf)
        far = np.pad(self.far, 1, constant_values=-np.inf)
        return near.ravel(), far.ravel()


def body_region(
    vertices: np.ndarray,
    is_visible: np.ndarray,
    ray: np.ndarray,
    visible: Padding,
    hidden: Padding,
) -> BodyRegion:
    """The region of one body.

    Args:
        vertices: (V, 3) metres, camera optical frame; finite.
        is_visible: (V,) bool, whether the camera sees each vertex.
        ray: (3,) unit vector from the camera to the root.
        visible: the cylinder around each visible vertex.
        hidden: the cylinder around each other vertex.

    Raises:
        ValueError: a shape is wrong, or there are no vertices.
    """
    check_shape('vertices', vertices, (None, 3))
    check_shape('is_visible', is_visible, (len(vertices),))
    if len(vertices) == 0:
        raise ValueError('a region needs at least one vertex')
    axes = ray_axes(np.asarray(ray, np.float64))
    # One row for each axis: NumPy reduces long rows much faster than short ones.
    x, y, along = axes @ np.asarray(vertices, np.float64).T
    column_m = _column_side(np.ptp(x), np.ptp(y), max(visible.across_m, hidden.across_m))
    # One column more than the padding on each side, because a vertex is anywhere in its column.
    border = math.ceil(max(visible.across_m, hidden.across_m) / column_m) + 1
    first = np.floor(np.array([x.min(), y.min()]) / column_m) - border
    columns, rows = (
        (np.floor(values / column_m) - start).astype(np.intp)
        for values, start in zip((x, y), first, strict=True)
    )
    shape = int(rows.max()) + border + 1, int(columns.max()) + border + 1
    near, far = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    for mask, padding in ((is_visible, visible), (~is_visible, hidden)):
        if not mask.any():
            continue
        starts, ends = _columns_of(
            rows[mask], columns[mask], along[mask], shape, padding, column_m
        )
        near, far = np.minimum(near, starts), np.maximum(far, ends)
    return BodyRegion(axes, first * column_m, near, far, column_m)


def obstacle_points(
    regions: Sequence[BodyRegion], cell_m: float, most: int
) -> tuple[list[np.ndarray], list[float]]:
    """Points that fill all regions; cells grow if the points would be too many.

    Each region has its own cells. The smallest regions come first, and each may use an equal share
    of the points that are left: somebody who is far away, and whose place is uncertain, does not
    thin out the points of somebody near.

    Args:
        regions: of the people.
        cell_m: the smallest side of a cell, see `BodyRegion.points`, metres.
        most: largest number of points.

    Returns:
        For each region (N, 3) float32 metres, and the side of its cells, metres.

    Raises:
        ValueError: `most` is not positive, or less than the number of regions.
    """
    if most < max(len(regions), 1):
        raise ValueError(f'most is {most}, expected at least 1, and one for each region')
    volumes = [region.volume_m3() for region in regions]
    points, cells_m = [np.zeros((0, 3), np.float32)] * len(regions), [cell_m] * len(regions)
    for rank, index in enumerate(np.argsort(volumes)):
        share = (most - sum(map(len, points))) // (len(regions) - rank)
        points[index], cells_m[index] = _points_of(regions[index], volumes[index], cell_m, share)
    return points, cells_m


def _points_of(
    region: BodyRegion, volume_m3: float, cell_m: float, most: int
) -> tuple[np.ndarray, float]:
    """At most so many points of one region, and the side of its cells, metres."""
    # Two points in each cube of the lattice.
    fewest_m = math.sqrt(5) / 2 * (2 * volume_m3 / most) ** (1 / 3) * 1.01
    cell_m = max(cell_m, region.column_m, fewest_m)
    while len(points := region.points(cell_m)) > most:
        cell_m *= CELL_GROWTH
    return points, cell_m


def ray_axes(ray: np.ndarray) -> np.ndarray:
    """An orthonormal basis (3, 3) as rows, whose last is the ray, a unit vector (3,)."""
    helper = np.eye(3)[np.abs(ray).argmin()]
    across = np.cross(helper, ray)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(ray, across), ray])


def _column_side(width_m: float, height_m: float, across_m: float) -> float:
    """Side of the columns of a region, metres; larger for one that is wide or very uncertain."""
    widest_m = max(float(width_m), float(height_m))
    return max(COLUMN_M, widest_m / MOST_COLUMNS, across_m / MOST_COLUMNS_OF_RADIUS)


def _columns_of(
    rows: np.ndarray,
    columns: np.ndarray,
    along: np.ndarray,
    shape: tuple[int, int],
    padding: Padding,
    column_m: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Beginning and end of all columns for vertices with the same cylinder: two of `shape`."""
    near, far = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    np.minimum.at(near, (rows, columns), along.astype(np.float32))
    np.maximum.at(far, (rows, columns), along.astype(np.float32))
    kernel = _disc(padding.across_m, column_m)
    # The rounding of float32 must not make the region smaller.
    along_m = padding.along_m * (1 + 1e-6) + 1e-5
    starts = cv2.erode(near, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=np.inf)
    ends = cv2.dilate(far, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=-np.inf)
    return starts - np.float32(along_m), ends + np.float32(along_m)


def _disc(radius_m: float, column_m: float) -> np.ndarray:
    """Kernel (k, k) uint8 of all columns that come within a radius of a column."""
    reach = math.ceil(radius_m / column_m) + 1
    gap = np.maximum(np.abs(np.arange(-reach, reach + 1)) - 1, 0) * column_m
    return (np.hypot(gap[:, None], gap) <= radius_m).astype(np.uint8)
