"""How uncertain the position of a mesh is: standard deviations and 95 % intervals.

The error of a vertex has two parts. The position of the root is wrong mostly along the viewing
ray, because a colour image determines the distance only up to the size of the person; a depth
image determines it far better. The shape of the body around the root is wrong as well, more so
where the camera does not see it.

Both grow with doubt: the mesh does not cover what the IUV image shows of the person
(`covered_share`), as of people who are partly hidden or in an unusual pose. Without depth, the
part of the mesh outside the image adds to it. The constants were fitted to the errors of rendered
adults and checked with others (`benchmarks/proximity`, docs/uncertainty.md). The errors have
heavy tails: a standard deviation here is that of the middle 68 %, and an interval is wider than
that of a normal distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from decomr_core.base.structures import HumanMesh
from decomr_core.estimation.iuv_agreement import covered_share
from decomr_core.geometry.camera import weak_perspective_box

__all__ = ['PositionUncertainty', 'doubt_and_cut', 'position_uncertainty']

RAY_SHARE = 0.068
"""Standard deviation of the distance along the ray, as a share of it, without depth."""
DEPTH_STD_M, DEPTH_SHARE = 0.046, 0.004
"""The same with measured depth: a constant, metres, and a share of the distance."""
ACROSS_STD_M = 0.034
"""Standard deviation across the ray, metres. It hardly depends on the distance: it comes from
the position of the root within the body."""
VISIBLE_STD_M, HIDDEN_STD_M = 0.076, 0.084
"""Standard deviation of a vertex relative to the root along each axis, metres."""
ROOT_GROWTH, VERTEX_GROWTH = 2.9, 2.1
"""Growth of the logarithm of these deviations with doubt, which is 0 to 1."""
CUT_GROWTH = 1.3
"""Growth of the logarithm of `RAY_SHARE` with the share of the mesh outside the image."""
CHANGE_GROWTH = 2.3
"""Growth of the logarithm of the deviation with depth with the absolute value of
`HumanMesh.depth_change`: after a large change the depth is often that of another surface."""
NEAREST_SHARE = 0.55
"""Error of the nearest distance over that of one vertex: the error of a vertex along the surface
does not change the distance of the surface."""
RAY_INTERVAL, DEPTH_INTERVAL = (2.45, 2.0), (4.1, 2.65)
"""Distance of the lower and of the upper bound of a 95 % interval from the estimate, in standard
deviations, without and with measured depth; 1.96 for a normal distribution. The lower one is
larger because large errors are more often such that the person is nearer than estimated."""
EVERY_VERTEX = 4
"""The box of a mesh is that of every fourth vertex; neighbours are about a centimetre apart."""


@dataclass(frozen=True)
class PositionUncertainty:
    """Uncertainty of one mesh with a position.

    Attributes:
        covariance: (3, 3) of the root, m^2, in the camera optical frame; infinite if unknown.
        visible_std: standard deviation of a visible vertex relative to the root, metres, along
            each axis.
        hidden_std: the same of a vertex that the camera does not see.
        bounds: distance of the lower and of the upper bound of a 95 % interval from the estimate,
            in standard deviations.
    """

    covariance: np.ndarray
    visible_std: float
    hidden_std: float
    bounds: tuple[float, float] = RAY_INTERVAL

    def deviation(self, direction: np.ndarray, is_visible: bool) -> float:
        """Standard deviation of the position of a vertex along a direction, metres.

        Args:
            direction: (3,) unit vector, camera optical frame.
            is_visible: whether the camera sees the vertex.
        """
        own_std = self.visible_std if is_visible else self.hidden_std
        return math.sqrt(self._root_variance(direction) + own_std**2)

    def interval(
        self, distance_m: float, direction: np.ndarray, is_visible: bool
    ) -> tuple[float, float, float]:
        """Standard deviation and 95 % interval of the distance of a body from something.

        The lower bound follows from the error along the direction alone: an error across it does
        not bring a convex body nearer. The upper bound contains both, as the sides of a right
        triangle.

        Args:
            distance_m: the estimated distance of the nearest vertex, at least 0.
            direction: (3,) unit vector along which it is measured, of either sign, camera optical
                frame. Zeros where the two touch: then the direction is unknown.
            is_visible: whether the camera sees the vertex.

        Returns:
            Standard deviation, lower and upper bound, metres; the bounds are at least 0. Infinity,
            0 and infinity if anything is not finite.
        """
        std = self._nearest_std(direction, is_visible)
        along = self._root_variance(direction)
        across = math.sqrt(max(float(np.trace(self.covariance)) - along, 0.0))
        down, up = self.bounds
        high = math.hypot(distance_m + up * std, up * across)
        if not math.isfinite(high):
            return math.inf, 0.0, math.inf
        return std, max(distance_m - down * std, 0.0), high

    def reach(self, direction: np.ndarray, is_visible: bool) -> float:
        """How far the surface may be from an estimated vertex along a direction, metres.

        It is the larger of the two sides of the 95 % interval.

        Args:
            direction: (3,) unit vector, of either sign, camera optical frame.
            is_visible: whether the camera sees the vertex.
        """
        return max(self.bounds) * self._nearest_std(direction, is_visible)

    def _nearest_std(self, direction: np.ndarray, is_visible: bool) -> float:
        """Standard deviation of the distance of the surface along a direction, metres."""
        own_std = NEAREST_SHARE * (self.visible_std if is_visible else self.hidden_std)
        return math.sqrt(self._root_variance(direction) + own_std**2)

    def _root_variance(self, direction: np.ndarray) -> float:
        """Variance of the root along a direction (3,); the largest one for zeros."""
        direction = np.asarray(direction, np.float64)
        if not direction.any():
            return float(np.trace(self.covariance))
        variance = float(direction @ self.covariance @ direction)
        return variance if math.isfinite(variance) else math.inf


def position_uncertainty(mesh: HumanMesh, image_size: tuple[int, int]) -> PositionUncertainty:
    """The uncertainty of a mesh; infinite for a mesh that is not finite.

    Args:
        mesh: with a position (`is_metric`).
        image_size: width and height of the image, px.

    Raises:
        ValueError: the mesh has no position.
    """
    if not mesh.is_metric:
        raise ValueError('a mesh without a position has no uncertainty of it')
    position = np.asarray(mesh.translation, np.float64)
    distance = float(np.linalg.norm(position))
    bounds = DEPTH_INTERVAL if mesh.has_measured_depth else RAY_INTERVAL
    doubt, cut = doubt_and_cut(mesh, image_size)
    if not math.isfinite(distance + doubt + cut + mesh.depth_change):
        return PositionUncertainty(np.diag([math.inf] * 3), math.inf, math.inf, bounds)
    root, vertex = math.exp(ROOT_GROWTH * doubt), math.exp(VERTEX_GROWTH * doubt)
    if mesh.has_measured_depth:
        along_std = math.hypot(DEPTH_STD_M, DEPTH_SHARE * distance)
        along_std *= math.exp(CHANGE_GROWTH * abs(mesh.depth_change))
    else:
        along_std = RAY_SHARE * distance * math.exp(CUT_GROWTH * cut)
    ray = position / max(distance, 1e-6)
    along = np.outer(ray, ray)
    covariance = root**2 * (along_std**2 * along + ACROSS_STD_M**2 * (np.eye(3) - along))
    return PositionUncertainty(covariance, VISIBLE_STD_M * vertex, HIDDEN_STD_M * vertex, bounds)


def doubt_and_cut(mesh: HumanMesh, image_size: tuple[int, int]) -> tuple[float, float]:
    """What the uncertainty grows with.

    Args:
        mesh: the mesh.
        image_size: width and height of the image, px.

    Returns:
        Doubt, the square root of the share of the IUV image's foreground that the mesh does not
        cover, and the share of the mesh's bounding box outside the image; 0 to 1. NaN for a mesh
        that is not finite.
    """
    numbers = mesh.vertices, mesh.translation, mesh.weak_camera, mesh.crop_center
    if not math.isfinite(sum(float(array.sum()) for array in numbers) + mesh.crop_side):
        return math.nan, math.nan
    coordinates = np.array(mesh.vertices[::EVERY_VERTEX].T, order='C')
    coordinates -= mesh.translation[:, None]
    box = weak_perspective_box(coordinates, mesh.weak_camera, mesh.crop_center, mesh.crop_side)
    inside = 1.0
    for low, high, size in zip(box[:2], box[2:], image_size, strict=True):
        inside *= max(min(high, size) - max(low, 0), 0) / max(high - low, 1e-6)
    return math.sqrt(1 - covered_share(mesh)), 1 - min(inside, 1.0)
