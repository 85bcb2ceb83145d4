"""Places that people have left, and rays that show planners that they are free.

A planner's map keeps an obstacle until a ray of a sensor passes through it. The rays of this file
end behind places where a person was, and only where the camera sees no person now: neither in the
image nor in the region where a person may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from decomr_core.geometry.obstacles import BodyRegion
from decomr_core.geometry.seen_rays import SeenRays

__all__ = ['LeftPlaces']

BEHIND_M = 0.25
"""How far behind a place its ray ends, metres: maps of up to 10 cm stop two cells before the end
of a ray."""

BEFORE_M = 0.10
"""How far before a person, or before a measured surface, a ray ends, metres: two cells of 5 cm."""

CLEARED_S = 1.0
"""How long a place is shown as free before it is forgotten, s: maps are updated once a second or
more often, and read only the newest message each time."""

REMEMBERED_S = 30.0
"""How long a place is remembered while the camera does not see it, s."""

BESIDE_M = 0.05
"""How far beside a place rays pass as well, metres: a cell of the map."""

MOST_BESIDE = 10
"""The same, in cells of the image."""

THINNING = 3
"""Every third obstacle point is remembered. Consecutive points are on one parallel of the viewing
ray, so the rays stay equally dense."""

MOST_PLACES = 40_000
"""Largest number of places: of more, one in each cell of `THINNED_M` is kept, then the newest."""

THINNED_M = 0.1
"""Side of these cells, metres."""


class LeftPlaces:
    """Where people were and are no longer, in a fixed frame.

    `update` is called with each image. The fixed frame must not move, or the camera must not.
    """

    def __init__(self) -> None:
        """Starts without places."""
        self._random = np.random.default_rng(0)
        self._points = np.zeros((0, 3), np.float32)
        self._left_s = np.zeros(0)
        self._cleared_s = np.zeros(0)  # since when it has been shown as free; inf: it is not
        self._present = np.zeros((0, 3), np.float32)

    def __len__(self) -> int:
        """Number of places."""
        return len(self._points)

    def update(
        self,
        regions: Sequence[BodyRegion],
        obstacles: np.ndarray,
        rays: SeenRays,
        fixed_from_camera: np.ndarray,
        time_s: float,
        measured_m: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Finds the places that people have left, and the rays through those that are free.

        Args:
            regions: of the people in the image, in the camera optical frame.
            obstacles: (N, 3) points that fill the regions, metres, camera optical frame.
            rays: how far the camera sees in the image.
            fixed_from_camera: (4, 4) pose of the camera in the fixed frame, metres.
            time_s: time of the image, s.
            measured_m: gives the measured depths (N,), metres, at points (N, 2) of the image, px;
                NaN where nothing is measured. None: there is no depth image.

        Returns:
            (M, 3) float32 ends of the rays from the camera, metres, camera optical frame.
        """
        camera_from_fixed = np.linalg.inv(fixed_from_camera)
        self._add_left(regions, camera_from_fixed, time_s)
        points = _moved(self._points, camera_from_fixed)
        points = points[self._keep(~_in_any(points, regions))]
        ranges = np.sqrt(np.einsum('ij,ij->i', points, points))
        cells, image_xy = rays.cells_of(points)
        limits = np.where(cells >= 0, rays.limits_m.ravel()[cells] - BEFORE_M, -np.inf)
        if measured_m is not None:
            directions = points / np.maximum(ranges, 1e-6)[:, None]
            limits = np.minimum(limits, _measured_limits(directions, image_xy, measured_m))
        is_free = limits >= ranges
        self._cleared_s = np.where(is_free, np.minimum(self._cleared_s, time_s), np.inf)
        ends = self._rays_through(rays, cells[is_free], ranges[is_free], measured_m)
        self._keep((self._cleared_s > time_s - CLEARED_S) & (self._left_s > time_s - REMEMBERED_S))
        self._present = _moved(obstacles[::THINNING], fixed_from_camera)
        return ends

    def _add_left(
        self, regions: Sequence[BodyRegion], camera_from_fixed: np.ndarray, time_s: float
    ) -> None:
        """Adds the places that were occupied in the image before and are not any more."""
        is_left = ~_in_any(_moved(self._present, camera_from_fixed), regions)
        left = self._present[is_left]
        self._points = np.concatenate([left, self._points])
        self._left_s, self._cleared_s = (
            np.concatenate([np.full(len(left), value), values])
            for value, values in ((time_s, self._left_s), (np.inf, self._cleared_s))
        )
        if len(self._points) > MOST_PLACES:
            self._keep(_one_in_each_cell(self._points))
            self._keep(np.arange(len(self._points)) < MOST_PLACES)

    def _keep(self, is_kept: np.ndarray) -> np.ndarray:
        """Forgets the other places; returns the mask."""
        self._points = self._points[is_kept]
        self._left_s, self._cleared_s = self._left_s[is_kept], self._cleared_s[is_kept]
        return is_kept

    def _rays_through(
        self,
        rays: SeenRays,
        cells: np.ndarray,
        ranges: np.ndarray,
        measured_m: Callable[[np.ndarray], np.ndarray] | None,
    ) -> np.ndarray:
        """The ends of rays through and beside free places, one for each cell of the image.

        Args:
            rays: how far the camera sees.
            cells: (N,) the cell of each place.
            ranges: (N,) the distance of each place, metres.
            measured_m: gives the measured depths; None: there is no depth image.

        Returns:
            (M, 3) float32 metres, camera optical frame.
        """
        if len(cells) == 0:
            return np.zeros((0, 3), np.float32)
        near = np.full(rays.limits_m.size, np.inf, np.float32)
        far = np.zeros(rays.limits_m.size, np.float32)
        np.minimum.at(near, cells, ranges.astype(np.float32))
        np.maximum.at(far, cells, ranges.astype(np.float32) + np.float32(BEHIND_M))
        reach = math.ceil(BESIDE_M / max(float(ranges.min()), 1e-6) / rays.cell_angle)
        kernel = np.ones((2 * min(reach, MOST_BESIDE) + 1,) * 2, np.uint8)
        begins = np.asarray(cv2.erode(near.reshape(rays.limits_m.shape), kernel)).ravel()
        ends = np.asarray(cv2.dilate(far.reshape(rays.limits_m.shape), kernel)).ravel()
        chosen = np.flatnonzero(ends > 0)
        # With each image another place in the cell, so that the rays leave no gaps.
        image_xy = rays.places_in(chosen, self._random.random((len(chosen), 2)))
        directions = rays.directions_of(image_xy)
        limits = rays.limits_m.ravel()[chosen] - BEFORE_M
        if measured_m is not None:
            limits = np.minimum(limits, _measured_limits(directions, image_xy, measured_m))
        ends_m = np.minimum(ends[chosen], limits)
        is_useful = ends_m >= begins[chosen]
        return (directions * ends_m[:, None])[is_useful].astype(np.float32)


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (N, 3) transformed by a matrix (4, 4), float32."""
    turn, move = matrix[:3, :3].astype(np.float32), matrix[:3, 3].astype(np.float32)
    return points @ turn.T + move


def _one_in_each_cell(points: np.ndarray) -> np.ndarray:
    """Which of the points (N, 3) are the first ones in their cells: (N,) bool."""
    cells = np.floor(points / np.float32(THINNED_M)).astype(np.int64)
    # 21 bits for each axis: 100 km in both directions.
    numbers = (cells + (1 << 20)) @ np.array([1 << 42, 1 << 21, 1])
    is_first = np.zeros(len(points), bool)
    is_first[np.unique(numbers, return_index=True)[1]] = True
    return is_first


def _in_any(points: np.ndarray, regions: Sequence[BodyRegion]) -> np.ndarray:
    """Which of the points (N, 3) are in one of the regions: (N,) bool."""
    is_inside = np.zeros(len(points), bool)
    for region in regions:
        others = np.flatnonzero(~is_inside)
        is_inside[others] = region.contains(points[others])
    return is_inside


def _measured_limits(
    directions: np.ndarray, image_xy: np.ndarray, measured_m: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Distances (N,) from the camera at which the measured surfaces begin; inf if unknown.

    Args:
        directions: (N, 3) unit vectors from the camera.
        image_xy: (N, 2) their places in the image, px.
        measured_m: gives the measured depths.
    """
    depths = measured_m(image_xy)
    distances = depths / np.maximum(directions[:, 2], 1e-6)
    return np.where(np.isfinite(depths), distances - BEFORE_M, np.inf)
