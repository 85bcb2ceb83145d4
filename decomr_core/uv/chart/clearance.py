"""Barriers that keep the rim of the flat half body off itself and the wall, and inside its box.

A barrier ((gap / distance) - 1)^2 acts below a target gap (Smith and Schaefer 2015). The gap
prevents bleeding across a seam when a location map is sampled. Near the end of a seam it shrinks
with the distance along the rim. The derivatives treat the gap as constant there. This costs
steps but does not change the result, because the line search uses the exact energy.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

__all__ = ['Clearance']

# At the end of a seam, the target gap grows by this much per unit of length along the rim.
OPENING = 0.25
# Target gap to the box, in half box sides.
BOX_GAP = 0.02
STIFFNESS = 2.0


class Clearance:
    """Barriers on the rim of a half chart: wall on x = 0, box x and |y| <= `half_side`.

    Attributes:
        rim: (K,) int64 vertices of the rim, including the ends of the wall.
        gap: target distance between the two sides of a seam, m.
        half_side: half the side of the square for the whole chart, m.
    """

    def __init__(
        self, vertices: np.ndarray, rim: np.ndarray, gap: float, half_side: float
    ) -> None:
        """Measures the rim on the surface with (P, 3) vertices, metres."""
        self.rim, self.gap, self.half_side = rim, gap, half_side
        lengths = np.linalg.norm(np.diff(vertices[rim], axis=0), axis=1)
        self._along = np.concatenate([[0.0], np.cumsum(lengths)])
        self._share = np.convolve(lengths, [0.5, 0.5])  # (K,)

    def is_simple(self, positions: np.ndarray) -> bool:
        """Whether the rim at (P, 2) positions crosses neither itself nor the wall."""
        points = positions[self.rim]
        if points[1:-1, 0].min() <= 0:
            return False
        first, second = points[:-1], points[1:]
        reach = np.linalg.norm(second - first, axis=1).max()
        pairs = cKDTree((first + second) / 2).query_pairs(reach, output_type='ndarray')
        pairs = pairs[np.abs(pairs[:, 0] - pairs[:, 1]) > 1]
        a, b = first[pairs[:, 0]], second[pairs[:, 0]]
        c, d = first[pairs[:, 1]], second[pairs[:, 1]]
        crosses = (_side(a, b, c) * _side(a, b, d) <= 0) & (_side(c, d, a) * _side(c, d, b) <= 0)
        return not crosses.any()

    def value(self, positions: np.ndarray) -> float:
        """The energy of (P, 2) positions, m^2; infinite outside the box."""
        if not self._is_inside(positions):
            return np.inf
        return float(
            sum(
                weights @ (gaps / distances - 1) ** 2
                for weights, gaps, distances, _, _ in self._terms(positions)
            )
        )

    def derivatives(self, positions: np.ndarray) -> tuple[np.ndarray, list]:
        """(P, 2) gradient, and Hessian blocks [((M, D) int64 coordinates, (M, D, D) values)].

        The coordinate of a vertex's x is twice the vertex, that of its y one more.
        """
        gradient = np.zeros(2 * len(positions))
        blocks = []
        for weights, gaps, distances, index, slopes in self._terms(positions):
            slope = -2 * weights * (gaps / distances - 1) * gaps / distances**2
            curvature = weights * (6 * gaps**2 / distances**4 - 4 * gaps / distances**3)
            np.add.at(gradient, index.ravel(), (slope[:, None] * slopes).ravel())
            blocks.append(
                (index, curvature[:, None, None] * slopes[:, :, None] * slopes[:, None, :])
            )
        return gradient.reshape(-1, 2), blocks

    def _is_inside(self, positions: np.ndarray) -> bool:
        points = positions[self.rim]
        return bool(
            points[1:-1, 0].min() > 0
            and points[:, 0].max() < self.half_side
            and np.abs(points[:, 1]).max() < self.half_side
        )

    def _terms(self, positions: np.ndarray) -> list:
        """Active barriers: weights, gaps, distances, coordinates, gradients of the distances."""
        points = positions[self.rim]
        terms = [self._seam_term(points)]
        inner = slice(1, len(self.rim) - 1)
        to_end = np.minimum(self._along, self._along[-1] - self._along)[inner]
        box_gap = np.full(len(self.rim), BOX_GAP * self.half_side)
        for distance, gap, rim, share, axis, sign in (
            (
                points[inner, 0],
                np.minimum(self.gap / 2, OPENING * to_end),
                self.rim[inner],
                self._share[inner],
                0,
                1.0,
            ),
            (self.half_side - points[:, 0], box_gap, self.rim, self._share, 0, -1.0),
            (self.half_side - points[:, 1], box_gap, self.rim, self._share, 1, -1.0),
            (self.half_side + points[:, 1], box_gap, self.rim, self._share, 1, 1.0),
        ):
            near = np.flatnonzero(distance < gap)
            terms.append(
                (
                    STIFFNESS * self.gap * share[near],
                    gap[near],
                    distance[near],
                    2 * rim[near][:, None] + axis,
                    np.full((len(near), 1), sign),
                )
            )
        return terms

    def _seam_term(self, points: np.ndarray) -> tuple[np.ndarray, ...]:
        vertex, edge = self._close_pairs(points)
        start, direction = points[edge], points[edge + 1] - points[edge]
        part = ((points[vertex] - start) * direction).sum(axis=1) / (direction**2).sum(axis=1)
        part = np.clip(part, 0, 1)
        offset = points[vertex] - start - part[:, None] * direction
        distance = np.linalg.norm(offset, axis=1)
        nearest = self._along[edge] + part * (self._along[edge + 1] - self._along[edge])
        gap = np.minimum(self.gap, OPENING * np.abs(self._along[vertex] - nearest))
        near = np.flatnonzero(distance < gap)
        vertex, edge, part = vertex[near], edge[near], part[near, None]
        normal = offset[near] / distance[near, None]
        corners = self.rim[np.stack([vertex, edge, edge + 1], axis=1)]  # (M, 3)
        index = (2 * corners[:, :, None] + np.arange(2)).reshape(-1, 6)
        slopes = np.concatenate([normal, -(1 - part) * normal, -part * normal], axis=1)
        return (
            STIFFNESS * self.gap * self._share[vertex],
            gap[near],
            distance[near],
            index,
            slopes,
        )

    def _close_pairs(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of rim vertices and rim edges that may be closer than the gap."""
        reach = self.gap + np.linalg.norm(np.diff(points, axis=0), axis=1).max() / 2
        middles = (points[:-1] + points[1:]) / 2
        found = cKDTree(middles).query_ball_point(points, reach, return_sorted=True)
        counts = np.array([len(edges) for edges in found])
        vertex = np.repeat(np.arange(len(points)), counts)
        edge = np.concatenate(found).astype(np.int64)
        keep = (edge != vertex) & (edge + 1 != vertex)
        return vertex[keep], edge[keep]


def _side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Twice the signed area of the triangle of three (M, 2) points."""
    first, second = end - start, point - start
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
