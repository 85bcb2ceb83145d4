"""Nearest points of people's bodies to the parts of a robot.

The parts are capsules: a segment and a radius. The nearest point of a body is searched among its
vertices, from coarse to fine; clusters of vertices that cannot contain it are skipped. They are
made once, on the template. Each stays within one body part, so that it keeps its size when the
body moves. All people and capsules are searched at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['Capsules', 'NearestPoints', 'VertexClusters', 'point_segment_distances']

VERTICES_PER_CLUSTER = (52, 7)
"""Mean number of vertices in a coarse and in a fine cluster."""

STRETCH = 1.5
"""Largest size of a cluster on a posed body over that on the template. People differ in size by
less, and the skin at a bent joint stretches by less."""

MIN_AXIS_M = 1e-9
"""A shorter segment is a point: the capsule is a sphere."""


@dataclass(frozen=True)
class Capsules:
    """The parts of a robot.

    Attributes:
        starts: (C, 3) one end of each segment, metres.
        ends: (C, 3) the other end; equal to the start for a sphere.
        radii: (C,) metres.
    """

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray

    def __post_init__(self) -> None:
        """Checks the arrays.

        Raises:
            ValueError: a shape is wrong, a number is not finite, or a radius is negative.
        """
        check_shape('starts', self.starts, (None, 3))
        check_shape('ends', self.ends, (len(self.starts), 3))
        check_shape('radii', self.radii, (len(self.starts),))
        for name in ('starts', 'ends', 'radii'):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f'{name} of the capsules contain a number that is not finite')
        if (self.radii < 0).any():
            raise ValueError(f'radius {self.radii.min():g} m of a capsule is negative')

    def __len__(self) -> int:
        """C, the number of capsules."""
        return len(self.radii)


class NearestPoints(NamedTuple):
    """The nearest points of P people and C capsules, in the frame of the vertices.

    Attributes:
        vertices: (P, C) index of the nearest vertex.
        on_bodies: (P, C, 3) its position, metres.
        on_robot: (P, C, 3) the point of the capsule's surface nearest to it, metres; the point on
            the body itself if that is inside the capsule.
        distances: (P, C) metres; 0 if the vertex is inside the capsule.
    """

    vertices: np.ndarray
    on_bodies: np.ndarray
    on_robot: np.ndarray
    distances: np.ndarray


class _Level(NamedTuple):
    """Clusters of one size.

    Attributes:
        centers: (K,) the vertex in the middle of each cluster.
        reach_m: (K,) largest distance of a member from the centre that is searched for.
        first: (K,) position of the first child in the next level's order.
        size: (K,) number of children.
    """

    centers: np.ndarray
    reach_m: np.ndarray
    first: np.ndarray
    size: np.ndarray


class VertexClusters:
    """Searches the vertices of bodies of one topology, coarse clusters first.

    A cluster that reaches farther than `STRETCH` times its size on the template may be skipped
    wrongly. The distance is then too large by at most the excess.
    """

    def __init__(self, template: np.ndarray, vertex_parts: np.ndarray) -> None:
        """Divides the vertices into clusters; this takes a fraction of a second.

        Args:
            template: (V, 3) metres.
            vertex_parts: (V,) body part of each vertex.

        Raises:
            ValueError: a shape is wrong, or there are no vertices.
        """
        check_shape('template', template, (None, 3))
        check_shape('vertex_parts', vertex_parts, (len(template),))
        if not len(template):
            raise ValueError('a body without vertices has no nearest point')
        points = np.asarray(template, np.float64)
        self._num_vertices = len(points)
        coarse_of, coarse = _clusters(points, vertex_parts, VERTICES_PER_CLUSTER[0])
        fine_of, fine = _clusters(points, coarse_of, VERTICES_PER_CLUSTER[1])
        # Children of a cluster are stored next to each other.
        by_coarse = np.argsort(coarse_of[fine], kind='stable')
        rank = np.empty(len(fine), np.int64)
        rank[by_coarse] = np.arange(len(fine))
        fine, fine_of = fine[by_coarse], rank[fine_of]
        self._order = np.argsort(fine_of, kind='stable')
        self._levels = (
            _level(points, coarse, coarse_of, coarse_of[fine]),
            _level(points, fine, fine_of, fine_of[self._order]),
        )

    def nearest(self, vertices: np.ndarray, capsules: Capsules) -> NearestPoints:
        """The nearest points of each person and each capsule.

        Args:
            vertices: (P, V, 3) metres, finite, in the frame of the capsules.
            capsules: the parts of the robot.

        Raises:
            ValueError: a shape is wrong.
        """
        check_shape('vertices', vertices, (None, self._num_vertices, 3))
        num_people, num_capsules = len(vertices), len(capsules)
        points = np.asarray(vertices, np.float32)
        if not num_people or not num_capsules:
            return _result(points, np.zeros((num_people, num_capsules), np.int64), capsules)
        segments, (coarse, fine) = _Segments.of(capsules), self._levels
        # (P, C, K) distances of the coarse clusters' centres.
        distance_m = segments.all_distances(points[:, coarse.centers])
        best_m = self._first_guess(points, segments, distance_m)
        person, capsule, node = np.nonzero(distance_m <= best_m[..., None] + coarse.reach_m)
        best_m = best_m.ravel()
        # The candidates of a pair of person and capsule follow each other.
        person, capsule, node = _children(person, capsule, node, coarse)
        distance_m = segments.distances(points[person, fine.centers[node]], capsule)
        is_kept = distance_m <= best_m[person * num_capsules + capsule] + fine.reach_m[node]
        person, capsule, node = _children(person[is_kept], capsule[is_kept], node[is_kept], fine)
        vertex, pair = self._order[node], person * num_capsules + capsule
        distance_m = segments.distances(points[person, vertex], capsule)
        is_nearest = distance_m == _smallest(distance_m, pair)[pair]
        nearest = np.empty(num_people * num_capsules, np.int64)
        nearest[pair[is_nearest]] = vertex[is_nearest]
        return _result(points, nearest.reshape(num_people, num_capsules), capsules)

    def _first_guess(
        self, points: np.ndarray, segments: _Segments, distance_m: np.ndarray
    ) -> np.ndarray:
        """The distance (P, C) of the best vertex in the best clusters; nothing is farther, metres.

        Args:
            points: (P, V, 3) metres.
            segments: C segments.
            distance_m: (P, C, K) distances of the coarse clusters' centres.
        """
        (coarse, fine), shape = self._levels, distance_m.shape[:2]
        person, capsule = (axis.ravel() for axis in np.indices(shape))
        node = distance_m.argmin(axis=2).ravel()
        for level in (coarse, fine):
            parts = _children(person, capsule, node, level)
            pair = parts[0] * shape[1] + parts[1]
            vertex = fine.centers[parts[2]] if level is coarse else self._order[parts[2]]
            distances = segments.distances(points[parts[0], vertex], parts[1])
            best_m = _smallest(distances, pair)
            # One of the nearest children for each pair.
            is_nearest = distances == best_m[pair]
            node = np.empty(shape[0] * shape[1], np.int64)
            node[pair[is_nearest]] = parts[2][is_nearest]
        return best_m.reshape(shape)


def point_segment_distances(
    points: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of points from segments, one segment per point.

    Args:
        points: (..., 3) metres.
        starts: (..., 3) one end of each segment.
        ends: (..., 3) the other end; it may be the same point.

    Returns:
        Distances (...) and the nearest points of the segments (..., 3), metres.
    """
    axes = ends - starts
    squares = np.maximum((axes * axes).sum(-1), MIN_AXIS_M**2)
    shares = np.clip(((points - starts) * axes).sum(-1) / squares, 0, 1)
    nearest = starts + shares[..., None] * axes
    return np.linalg.norm(points - nearest, axis=-1), nearest


class _Segments(NamedTuple):
    """Segments, prepared for many distances.

    Attributes:
        starts: (C, 3) metres.
        directions: (C, 3) unit vectors; zeros for a point.
        lengths_m: (C,).
    """

    starts: np.ndarray
    directions: np.ndarray
    lengths_m: np.ndarray

    @classmethod
    def of(cls, capsules: Capsules) -> _Segments:
        """The segments of capsules."""
        axes = np.asarray(capsules.ends, np.float64) - capsules.starts
        lengths = np.linalg.norm(axes, axis=1)
        directions = axes / np.maximum(lengths, MIN_AXIS_M)[:, None]
        return cls(*(np.asarray(x, np.float32) for x in (capsules.starts, directions, lengths)))

    def all_distances(self, points: np.ndarray) -> np.ndarray:
        """Distances (P, C, K) of points (P, K, 3) from all segments, metres."""
        flat = points.reshape(-1, 3)
        # |p - a|^2 and (p - a) u by matrix products; float32 is enough to choose clusters.
        along = flat @ self.directions.T - (self.starts * self.directions).sum(1)
        squares = (flat * flat).sum(1)[:, None] - 2 * flat @ self.starts.T
        squares += (self.starts * self.starts).sum(1)
        beyond = along - np.clip(along, 0, self.lengths_m)
        squares += beyond * beyond - along * along
        distances = np.sqrt(np.maximum(squares, 0))
        return distances.reshape(*points.shape[:2], -1).transpose(0, 2, 1)

    def distances(self, points: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Distances (N,) of points (N, 3) from the segments of an index (N,), metres."""
        offsets = points - self.starts[index]
        along = np.einsum('nc,nc->n', offsets, self.directions[index])
        beyond = along - np.clip(along, 0, self.lengths_m[index])
        across = np.einsum('nc,nc->n', offsets, offsets) - along * along
        return np.sqrt(np.maximum(across, 0) + beyond * beyond)


def _result(points: np.ndarray, nearest: np.ndarray, capsules: Capsules) -> NearestPoints:
    """The points (P, C, 3) and distances of the nearest vertices (P, C), in float64."""
    on_bodies = points[np.arange(len(points))[:, None], nearest].astype(np.float64)
    from_axis_m, on_axes = point_segment_distances(
        on_bodies, np.asarray(capsules.starts, np.float64), np.asarray(capsules.ends, np.float64)
    )
    radii = np.asarray(capsules.radii, np.float64)
    share = np.minimum(radii / np.maximum(from_axis_m, MIN_AXIS_M), 1)
    on_robot = on_axes + (on_bodies - on_axes) * share[..., None]
    return NearestPoints(nearest, on_bodies, on_robot, np.maximum(from_axis_m - radii, 0))


def _children(
    person: np.ndarray, capsule: np.ndarray, node: np.ndarray, level: _Level
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replaces each candidate cluster by its children."""
    count = level.size[node]
    return np.repeat(person, count), np.repeat(capsule, count), _ranges(level.first[node], count)


def _smallest(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The smallest value of each pair; `pairs` ascends and contains every pair."""
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    return np.minimum.reduceat(values, starts)


def _ranges(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The numbers first[0], ..., first[0] + count[0] - 1, first[1], ... in one array."""
    ends = np.cumsum(count)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + count, count)


def _clusters(
    points: np.ndarray, groups: np.ndarray, mean_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divides the points of each group among centres far from each other.

    Returns:
        (V,) cluster of each point, and (K,) the point in the middle of each cluster.
    """
    cluster_of = np.empty(len(points), np.int64)
    centers: list[int] = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        own = points[members]
        chosen = [int(np.linalg.norm(own - own.mean(0), axis=1).argmin())]
        distance = np.linalg.norm(own - own[chosen[0]], axis=1)
        nearest = np.zeros(len(members), np.int64)
        while len(chosen) < -(-len(members) // mean_size):
            chosen.append(int(distance.argmax()))
            other = np.linalg.norm(own - own[chosen[-1]], axis=1)
            nearest[other < distance] = len(chosen) - 1
            distance = np.minimum(distance, other)
        cluster_of[members] = nearest + len(centers)
        centers += members[chosen].tolist()
    return cluster_of, np.array(centers)


def _level(
    points: np.ndarray, centers: np.ndarray, cluster_of: np.ndarray, parents: np.ndarray
) -> _Level:
    """The level of some clusters; `parents` are the clusters of the children, ascending."""
    distance = np.linalg.norm(points - points[centers[cluster_of]], axis=1)
    reach = np.zeros(len(centers))
    np.maximum.at(reach, cluster_of, distance)
    count = np.bincount(parents, minlength=len(centers))
    first = np.cumsum(count) - count
    return _Level(centers, (STRETCH * reach).astype(np.float32), first, count)
