"""Distances of people and robot parts, independent of ROS messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.geometry.nearest_points import NearestPoints, RoundedBoxes, SurfaceSearch

if TYPE_CHECKING:
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.robot.frame_motion import FrameMotions

__all__ = ['NearestPair', 'PlacedPart', 'nearest_pairs']

TOUCHING_M = 1e-6
"""A smaller distance has no direction."""


@dataclass(frozen=True)
class PlacedPart:
    """A part of the robot in the camera optical frame.

    Attributes:
        frame: its tf frame.
        boxes: metres, camera optical frame.
        camera_from_part: (4, 4) pose of the tf frame in the camera optical frame, metres.
        age_s: how much older than the image its pose is, s.
    """

    frame: str
    boxes: RoundedBoxes
    camera_from_part: np.ndarray
    age_s: float


@dataclass(frozen=True)
class NearestPair:
    """The nearest points of one person and one part of the robot.

    Attributes:
        track_id: of the person.
        frame: of the part.
        vertex: index of the nearest vertex.
        on_body: (3,) metres, camera optical frame.
        on_robot: (3,) metres, camera optical frame.
        distance_m: at least 0.
        std_m: standard deviation of the distance.
        low_m: lower bound of the 95 % interval, at least 0.
        high_m: upper bound.
        is_visible: whether the camera sees the vertex.
    """

    track_id: int
    frame: str
    vertex: int
    on_body: np.ndarray
    on_robot: np.ndarray
    distance_m: float
    std_m: float
    low_m: float
    high_m: float
    is_visible: bool


def nearest_pairs(
    result: FrameResult, parts: Sequence[PlacedPart], search: SurfaceSearch, motions: FrameMotions
) -> list[NearestPair]:
    """All pairs of people with a position and parts, the nearest first.

    Args:
        result: the people in an image.
        parts: the robot at its stamp.
        search: of the topology of the meshes.
        motions: velocities of the frames of the parts.
    """
    people = list(result.people.items())
    if not people or not parts:
        return []
    vertices = np.stack([mesh.vertices for _, mesh in people])
    boxes = RoundedBoxes.joined([part.boxes for part in parts])
    nearest = _of_parts(search.nearest(vertices, boxes), [len(part.boxes) for part in parts])
    pairs = [
        _pair(result, track_id, part, nearest, (row, column), motions)
        for row, (track_id, _) in enumerate(people)
        for column, part in enumerate(parts)
    ]
    return sorted(pairs, key=lambda pair: pair.distance_m)


def _of_parts(nearest: NearestPoints, counts: Sequence[int]) -> NearestPoints:
    """The nearest of the boxes of each part, which follow each other."""
    first = np.cumsum([0, *counts])
    rows = np.arange(len(nearest.distances))[:, None]
    columns = np.stack(
        [
            start + nearest.distances[:, start:end].argmin(axis=1)
            for start, end in zip(first, first[1:], strict=False)
        ],
        axis=1,
    )
    return NearestPoints(*(values[rows, columns] for values in nearest))


def _pair(
    result: FrameResult,
    track_id: int,
    part: PlacedPart,
    nearest: NearestPoints,
    place: tuple[int, int],
    motions: FrameMotions,
) -> NearestPair:
    """One pair; `place` is its row and column in `nearest`."""
    mesh = result.people[track_id]
    vertex = int(nearest.vertices[place])
    on_body, on_robot = nearest.on_bodies[place], nearest.on_robot[place]
    distance_m, is_visible = float(nearest.distances[place]), bool(mesh.visibility[vertex])
    # In contact the direction is unknown: zeros.
    direction = (on_body - on_robot) / max(distance_m, TOUCHING_M)
    std_m, low_m, high_m = result.uncertainties[track_id].interval(
        distance_m, direction, is_visible
    )
    if part.age_s > 0:
        # Since its pose was measured, the part has moved this far at most.
        velocity = motions.velocity(part.frame, on_robot)
        moved_m = np.inf
        if velocity is not None:
            moved_m = part.age_s * float(np.linalg.norm(velocity))
        std_m, low_m, high_m = std_m + moved_m, max(low_m - moved_m, 0.0), high_m + moved_m
    return NearestPair(
        track_id,
        part.frame,
        vertex,
        on_body,
        on_robot,
        distance_m,
        float(std_m),
        float(low_m),
        float(high_m),
        is_visible,
    )
