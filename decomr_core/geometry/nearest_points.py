"""Nearest points of people's bodies to the parts of a robot.

The parts are rounded boxes, of which spheres and capsules are special cases. The nearest vertex of
a body is searched from coarse to fine: first among some hundred sites spread over the body, then
among vertices near the best site, then among the neighbours of the best vertex. All people and
parts are searched at once. The result is approximate, because another limb at nearly the same
distance can hide the nearest vertex: `benchmarks/proximity/nearest_points.py` measures the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['NearestPoints', 'RoundedBoxes', 'SurfaceSearch']

NUM_SITES = 350
"""Number of sites; on an adult they are about 7 cm apart."""

MEMBER_M = 0.018
"""Side of the cells that contain one member each: the vertices among which the nearest is searched
first. The vertices of hands and faces are much denser."""

MEMBERS_PER_SITE = 32
"""Number of members that are searched around a site."""

INSIDE_M = 0.2
"""A point inside a body is at most this far from its surface, metres: half the depth of a large
torso. The normals of folds would otherwise place distant points inside."""

SMALLEST_M = 1e-9
"""A shorter vector has no direction."""


@dataclass(frozen=True)
class RoundedBoxes:
    """Boxes enlarged by a radius on all sides.

    A box without sizes is a sphere, and one with a single size is a capsule.

    Attributes:
        centers: (N, 3) metres.
        rotations: (N, 3, 3) the axes of each box, as columns.
        half_sizes: (N, 3) half of the size along each of its axes, metres.
        radii: (N,) metres.
    """

    centers: np.ndarray
    rotations: np.ndarray
    half_sizes: np.ndarray
    radii: np.ndarray

    def __post_init__(self) -> None:
        """Checks the arrays.

        Raises:
            ValueError: a shape is wrong, a number is not finite, or a size or radius is negative.
        """
        count = len(self.radii)
        check_shape('centers', self.centers, (count, 3))
        check_shape('rotations', self.rotations, (count, 3, 3))
        check_shape('half_sizes', self.half_sizes, (count, 3))
        check_shape('radii', self.radii, (count,))
        for name in ('centers', 'rotations', 'half_sizes', 'radii'):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f'{name} of the boxes contain a number that is not finite')
        for name in ('half_sizes', 'radii'):
            if (getattr(self, name) < 0).any():
                raise ValueError(f'{name} of the boxes contain a negative number')

    @classmethod
    def capsules(cls, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray) -> RoundedBoxes:
        """Capsules, and spheres where both ends are the same point.

        Args:
            starts: (N, 3) one end of each segment, metres.
            ends: (N, 3) the other end.
            radii: (N,) metres.

        Raises:
            ValueError: a shape is wrong, a number is not finite, or a radius is negative.
        """
        starts, ends = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
        check_shape('starts', starts, (None, 3))
        check_shape('ends', ends, starts.shape)
        axes = ends - starts
        lengths = np.linalg.norm(axes, axis=1)
        half_sizes = np.zeros(axes.shape)
        half_sizes[:, 0] = lengths / 2
        return cls((starts + ends) / 2, _rotations_to(axes, lengths), half_sizes, radii)

    @classmethod
    def joined(cls, several: list[RoundedBoxes]) -> RoundedBoxes:
        """All boxes of a list, in its order."""
        if not several:
            return cls(np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0))
        return cls(
            *(
                np.concatenate([getattr(boxes, name) for boxes in several])
                for name in ('centers', 'rotations', 'half_sizes', 'radii')
            )
        )

    def __len__(self) -> int:
        """N, the number of boxes."""
        return len(self.radii)

    def moved(self, transform: np.ndarray) -> RoundedBoxes:
        """The boxes after a rigid transform (4, 4)."""
        check_shape('transform', transform, (4, 4))
        rotation = transform[:3, :3]
        return RoundedBoxes(
            self.centers @ rotation.T + transform[:3, 3],
            rotation @ self.rotations,
            self.half_sizes,
            self.radii,
        )

    def core_points(self, points: np.ndarray) -> np.ndarray:
        """The nearest point of each box, without its radius, to a point of its own.

        Args:
            points: (..., N, 3) metres.

        Returns:
            (..., N, 3) metres.
        """
        local = np.einsum('...ni,nij->...nj', points - self.centers, self.rotations)
        local = np.clip(local, -self.half_sizes, self.half_sizes)
        return np.einsum('...nj,nij->...ni', local, self.rotations) + self.centers


class NearestPoints(NamedTuple):
    """The nearest points of P people and N boxes, in the frame of the vertices.

    Attributes:
        vertices: (P, N) index of the nearest vertex.
        on_bodies: (P, N, 3) its position, metres.
        on_robot: (P, N, 3) the point of the box's surface nearest to it, metres; the point on the
            body itself if the distance is 0.
        distances: (P, N) metres; 0 if the vertex is inside the box, or the box reaches into the
            body.
    """

    vertices: np.ndarray
    on_bodies: np.ndarray
    on_robot: np.ndarray
    distances: np.ndarray


class SurfaceSearch:
    """Searches the surfaces of bodies of one topology."""

    def __init__(self, template: np.ndarray, faces: np.ndarray) -> None:
        """Selects the sites and lists the neighbours; this takes a fraction of a second.

        Args:
            template: (V, 3) metres.
            faces: (F, 3) vertex indices, counter-clockwise seen from outside.

        Raises:
            ValueError: a shape is wrong, or there are no vertices.
        """
        check_shape('template', template, (None, 3))
        check_shape('faces', faces, (None, 3))
        if not len(template):
            raise ValueError('a body without vertices has no nearest point')
        points, self._faces = np.asarray(template, np.float64), np.asarray(faces, np.int64)
        self._num_vertices = len(points)
        _, members = np.unique(
            np.floor(points / MEMBER_M).astype(np.int64), axis=0, return_index=True
        )
        self._sites = members[_spread(points[members], min(NUM_SITES, len(members)))]
        near = min(MEMBERS_PER_SITE, len(members))
        from scipy.spatial import cKDTree  # 0.4 s to import, only used near robots

        _, rows = cKDTree(points[members]).query(points[self._sites], k=np.arange(1, near + 1))
        self._members = members[rows]
        self._neighbours = _neighbours(len(points), self._faces)
        self._vertex_faces = _padded(
            self._faces.ravel(), np.repeat(np.arange(len(self._faces)), 3), len(points)
        )

    def nearest(self, vertices: np.ndarray, boxes: RoundedBoxes) -> NearestPoints:
        """The nearest points of each person and each box.

        Args:
            vertices: (P, V, 3) metres, finite, in the frame of the boxes.
            boxes: the parts of the robot.

        Raises:
            ValueError: a shape is wrong.
        """
        check_shape('vertices', vertices, (None, self._num_vertices, 3))
        points = np.asarray(vertices, np.float32)
        shape = len(points), len(boxes)
        if not all(shape):
            nothing = np.zeros((*shape, 3))
            return NearestPoints(np.zeros(shape, np.int64), nothing, nothing, np.zeros(shape))
        nearest = self._nearest_vertices(points, boxes)
        on_bodies = points[np.arange(len(points))[:, None], nearest].astype(np.float64)
        cores = boxes.core_points(on_bodies)
        outward = on_bodies - cores
        from_cores_m = np.linalg.norm(outward, axis=2)
        distances = np.maximum(from_cores_m - boxes.radii, 0)
        distances[self._are_inside(points, nearest, cores, from_cores_m)] = 0
        share = boxes.radii / np.maximum(from_cores_m, SMALLEST_M)
        on_robot = np.where(
            (distances > 0)[..., None], cores + outward * share[..., None], on_bodies
        )
        return NearestPoints(nearest, on_bodies, on_robot, distances)

    def _nearest_vertices(self, points: np.ndarray, boxes: RoundedBoxes) -> np.ndarray:
        """The vertex (P, N) nearest to the core of each box."""
        sites = self._nearest_sites(points, boxes)
        person, box = (axis.ravel() for axis in np.indices(sites.shape))
        centers, rotations, half_sizes = (
            np.asarray(values, np.float32)[box]
            for values in (boxes.centers, boxes.rotations, boxes.half_sizes)
        )
        found = sites.ravel()
        # `take` along one axis is five times as fast as two index arrays.
        flat, first = points.reshape(-1, 3), (person * self._num_vertices)[:, None]
        for table in (self._members, self._neighbours):
            candidates = table[found]
            local = flat.take(candidates + first, axis=0)
            local -= centers[:, None]
            squares = _squares_outside(np.matmul(local, rotations), half_sizes[:, None])
            found = candidates[np.arange(len(found)), squares.argmin(axis=1)]
        return found.reshape(sites.shape)

    def _nearest_sites(self, points: np.ndarray, boxes: RoundedBoxes) -> np.ndarray:
        """The site (P, N) nearest to the core of each box, as its index."""
        num_people, num_boxes = len(points), len(boxes)
        # Homogeneous coordinates: the transforms to all boxes are one matrix product.
        sites = np.ones((4, num_people * len(self._sites)), np.float32)
        sites[:3] = points.take(self._sites, axis=1).reshape(-1, 3).T
        to_boxes = np.empty((3, num_boxes, 4), np.float32)
        to_boxes[:, :, :3] = boxes.rotations.transpose(2, 0, 1)
        to_boxes[:, :, 3] = -np.einsum('nij,ni->jn', boxes.rotations, boxes.centers)
        squares = np.zeros((num_boxes, sites.shape[1]), np.float32)
        for row, half_size in zip(to_boxes, boxes.half_sizes.T.astype(np.float32), strict=True):
            along = row @ sites
            if half_size.any():  # not the short axes of capsules
                np.abs(along, out=along)
                along -= half_size[:, None]
                np.maximum(along, 0, out=along)
            along *= along
            squares += along
        return squares.reshape(num_boxes, num_people, -1).argmin(axis=2).T

    def _are_inside(
        self, points: np.ndarray, nearest: np.ndarray, cores: np.ndarray, from_cores_m: np.ndarray
    ) -> np.ndarray:
        """Whether the core points (P, N, 3) lie inside the bodies; (P, N) bool.

        A point is inside if it is behind the nearest vertex, whose normal is that of its faces
        together.
        """
        are_inside = np.zeros(nearest.shape, bool)
        person, box = np.nonzero(from_cores_m < INSIDE_M)
        if not len(person):
            return are_inside
        vertex = nearest[person, box]
        # The padding repeats a face, whose weight is then too large: it does not change the side.
        corners = points[person[:, None, None], self._faces[self._vertex_faces[vertex]]]
        edges = corners[:, :, 1:].astype(np.float64) - corners[:, :, :1]
        normals = np.cross(edges[:, :, 0], edges[:, :, 1]).sum(axis=1)
        behind = cores[person, box] - points[person, vertex]
        are_inside[person, box] = np.einsum('ci,ci->c', behind, normals) < 0
        return are_inside


def _squares_outside(local: np.ndarray, half_sizes: np.ndarray) -> np.ndarray:
    """Squared distances (...) of points (..., 3) from boxes around the origin; changes `local`."""
    np.abs(local, out=local)
    local -= half_sizes
    np.maximum(local, 0, out=local)
    local *= local
    # A sum over an axis of three takes five times as long.
    return local[..., 0] + local[..., 1] + local[..., 2]


def _rotations_to(axes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) whose first column is the direction of each axis (N, 3)."""
    has_direction = lengths > SMALLEST_M
    first = np.where(
        has_direction[:, None], axes / np.maximum(lengths, SMALLEST_M)[:, None], [1.0, 0, 0]
    )
    # The coordinate axis that is farthest from parallel.
    other = np.eye(3)[np.abs(first).argmin(axis=1)]
    second = np.cross(first, other)
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=2)


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Indices (count,) of points far from each other: each next one is the farthest."""
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmax())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def _neighbours(num_vertices: int, faces: np.ndarray) -> np.ndarray:
    """Each vertex and those that share a face with it, padded with itself: (V, K)."""
    corners = [(faces[:, a], faces[:, b]) for a in range(3) for b in range(3) if a != b]
    itself = np.arange(num_vertices)
    keys = np.concatenate([itself, *(a for a, _ in corners)])
    values = np.concatenate([itself, *(b for _, b in corners)])
    unique = np.unique(np.stack([keys, values], axis=1), axis=0)
    return _padded(unique[:, 0], unique[:, 1], num_vertices)


def _padded(keys: np.ndarray, values: np.ndarray, num_keys: int) -> np.ndarray:
    """The values of each key (N, K), padded with the first of them; 0 for a key without any."""
    order = np.argsort(keys, kind='stable')
    count = np.bincount(keys, minlength=num_keys)
    first = np.cumsum(count) - count
    column = np.arange(max(count.max(initial=0), 1))
    position = first[:, None] + np.where(column < count[:, None], column, 0)
    ordered = values[order]
    if not len(ordered):
        return np.zeros((num_keys, 1), np.int64)
    return np.where(count[:, None] > 0, ordered[np.minimum(position, len(ordered) - 1)], 0)
