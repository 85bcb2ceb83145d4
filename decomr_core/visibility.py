"""Which vertices a camera sees, in less than a millisecond: a z-buffer of vertices.

A vertex is seen if its surroundings face the camera and nothing else lies in front of it. Faces
are not filled in: each vertex that faces the camera marks the cell of a coarse grid that it falls
into, and the grid is as fine as the mesh, so that few cells stay empty. A vertex is then compared
with the plane of the nearest one in its cell, not with its depth: surfaces seen at a slant need no
extra tolerance. Against an exact z-buffer about 95 % of the vertices agree; the rest lie along
outlines.
"""

from __future__ import annotations

import numpy as np

from decomr_core.structures import check_shape

__all__ = ['VisibilityTest']

TOLERANCE_M = np.float32(0.02)
"""How far a vertex may lie behind the nearest one: the unevenness of a body within one cell."""

SLOPE_LIMIT_M = 0.1
"""Surfaces seen nearly edge-on say nothing about depth further away than this."""

CELLS_PER_ROOT_VERTEX = 0.85
"""Cells along the grid's side, over the square root of the number of vertices: the finest grid
that leaves few holes in the mesh of a standing person."""

CORNERS = 6
"""Corners of the polygon around a vertex; most vertices have six neighbours."""


class VisibilityTest:
    """Tells the visible vertices of any mesh with the same faces."""

    def __init__(self, faces: np.ndarray, num_vertices: int) -> None:
        """Finds the neighbours around each vertex once.

        Args:
            faces: (F, 3) counter-clockwise seen from outside.
            num_vertices: V.
        """
        check_shape('faces', faces, (None, 3))
        self._num_vertices = num_vertices
        self._around = _polygons(np.asarray(faces), num_vertices)  # (CORNERS, V)
        self._cells = max(8, round(np.sqrt(num_vertices) * CELLS_PER_ROOT_VERTEX))

    def __call__(self, vertices: np.ndarray) -> np.ndarray:
        """The vertices seen along z, from the side of small z.

        Args:
            vertices: (V, 3) metres: x right, y down, z away from the camera.

        Returns:
            (V,) bool.
        """
        check_shape('vertices', vertices, (self._num_vertices, 3))
        points = np.ascontiguousarray(vertices.T, np.float32)  # (3, V)
        front = np.flatnonzero(self._area(points) < 0)
        seen = np.zeros(self._num_vertices, bool)
        if len(front) == 0:
            return seen
        seen[front] = True
        cell, nearest = self._nearest(points, front)
        depth = points[2].take(front)
        behind = np.flatnonzero(depth > points[2].take(nearest).take(cell) + TOLERANCE_M)
        vertex = front.take(behind)
        plane = self._plane_depth(points, nearest.take(cell.take(behind)), points[:2, vertex])
        seen[vertex] = points[2].take(vertex) <= plane + TOLERANCE_M
        return seen

    def _area(self, points: np.ndarray) -> np.ndarray:
        """Twice the seen area (V,) of the polygon around each vertex, below 0 from the front."""
        x, y = points[0].take(self._around), points[1].take(self._around)
        x -= x[0]
        y -= y[0]
        area = x[1] * y[2] - x[2] * y[1]
        for corner in range(2, CORNERS - 1):
            area += x[corner] * y[corner + 1] - x[corner + 1] * y[corner]
        return area

    def _nearest(self, points: np.ndarray, front: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cells (N,) of vertices (N,) of points (3, V), and the nearest vertex of each cell."""
        x, y, z = points[:, front]
        low_x, low_y = x.min(), y.min()
        span = max(x.max() - low_x, y.max() - low_y, np.float32(1e-6))
        scale = np.float32((self._cells - 1e-3) / span)
        row, column = ((y - low_y) * scale).astype(np.intp), ((x - low_x) * scale).astype(np.intp)
        cell = row * self._cells + column
        depths = np.full(self._cells ** 2, np.inf, np.float32)
        np.minimum.at(depths, cell, z)
        winners = np.flatnonzero(z == depths.take(cell))
        nearest = np.zeros(self._cells ** 2, np.intp)
        nearest[cell[winners]] = front[winners]
        return cell, nearest

    def _plane_depth(self, points: np.ndarray, vertices: np.ndarray,
                     places: np.ndarray) -> np.ndarray:
        """Depth (N,) of the surface around vertices (N,) of points (3, V), at places (2, N)."""
        first, second, third, fourth = (self._around[CORNERS * side // 4, vertices]
                                        for side in range(4))
        ux, uy, uz = points[:, first] - points[:, third]
        wx, wy, wz = points[:, second] - points[:, fourth]
        origin = points[:, vertices]
        # normal . (point - origin) = 0, solved for depth.
        with np.errstate(divide='ignore', invalid='ignore'):
            rise = ((uy * wz - uz * wy) * (origin[0] - places[0])
                    + (uz * wx - ux * wz) * (origin[1] - places[1])) / (ux * wy - uy * wx)
        return origin[2] + np.clip(np.nan_to_num(rise), -SLOPE_LIMIT_M, SLOPE_LIMIT_M)


def _polygons(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Corners (CORNERS, V) of a polygon around each vertex, counter-clockwise seen from outside.

    They are its neighbours, evenly left out or repeated where there are more or fewer; at a rim
    the vertex itself closes the polygon. A vertex without faces gets a polygon of no area.
    """
    following: list[dict[int, int]] = [{} for _ in range(num_vertices)]
    for a, b, c in faces.tolist():
        following[a][b], following[b][c], following[c][a] = c, a, b
    polygons = np.tile(np.arange(num_vertices, dtype=np.intp), (CORNERS, 1))
    for vertex, after in enumerate(following):
        if not after:
            continue
        begins = after.keys() - set(after.values())  # a rim begins where nothing leads to
        start = min(begins, default=min(after))
        ring = [vertex, start] if begins else [start]
        while after.get(ring[-1], start) != start and len(ring) < len(after) + 2:
            ring.append(after[ring[-1]])
        polygons[:, vertex] = [ring[corner * len(ring) // CORNERS] for corner in range(CORNERS)]
    return polygons
