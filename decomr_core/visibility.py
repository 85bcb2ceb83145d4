"""Which vertices a camera sees, in about a millisecond: a z-buffer of face centres.

A vertex is seen if its surroundings face the camera and no other face lies in front of it. Faces
are not filled in: each one marks the cell of a coarse grid that its centre falls into, and the
grid is as fine as the mesh, so that few cells stay empty. A vertex is then compared with the plane
of the nearest face in its cell, not with that face's depth: surfaces seen at a slant need no
extra tolerance. Against an exact z-buffer about 96 % of the vertices agree; the rest lie along
outlines.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from decomr_core.structures import check_shape

__all__ = ['VisibilityTest']

TOLERANCE_M = 0.015
"""How far a vertex may lie behind the nearest face: the unevenness of a body within one cell."""

SLOPE_LIMIT_M = 0.1
"""Faces seen nearly edge-on say nothing about depth further away than this."""

CELLS_PER_ROOT_FACE = 0.85
"""Cells along the grid's side, over the square root of the number of faces: the finest grid that
leaves no holes in the mesh of a standing person."""


class VisibilityTest:
    """Tells the visible vertices of any mesh with the same faces."""

    def __init__(self, faces: np.ndarray, num_vertices: int) -> None:
        """Sorts the faces around each vertex once.

        Args:
            faces: (F, 3) counter-clockwise seen from outside.
            num_vertices: V.
        """
        check_shape('faces', faces, (None, 3))
        self._corners = np.ascontiguousarray(faces.T.astype(np.intp))  # (3, F)
        self._num_vertices = num_vertices
        corner_order = np.argsort(faces.ravel(), kind='stable')
        self._faces_by_vertex = (corner_order // 3).astype(np.intp)
        counts = np.bincount(faces.ravel(), minlength=num_vertices)
        self._used = np.flatnonzero(counts)
        self._starts = (np.cumsum(counts) - counts)[self._used]
        self._cells = max(8, round(np.sqrt(len(faces)) * CELLS_PER_ROOT_FACE))

    def __call__(self, vertices: np.ndarray) -> np.ndarray:
        """The vertices seen along z, from the side of small z.

        Args:
            vertices: (V, 3) metres: x right, y down, z away from the camera.

        Returns:
            (V,) bool.
        """
        check_shape('vertices', vertices, (self._num_vertices, 3))
        points = np.ascontiguousarray(vertices.T, np.float32)  # (3, V)
        x, y, z = points
        first, second, third = self._corners
        corners_x, corners_y = (x[first], x[second], x[third]), (y[first], y[second], y[third])
        normal_z = ((corners_x[1] - corners_x[0]) * (corners_y[2] - corners_y[0])
                    - (corners_y[1] - corners_y[0]) * (corners_x[2] - corners_x[0]))
        around = np.zeros(self._num_vertices, np.float32)
        around[self._used] = np.add.reduceat(normal_z[self._faces_by_vertex], self._starts)
        center_z = (z[first] + z[second] + z[third]) / 3
        center_z[normal_z >= 0] = np.inf
        cells = self._cells_of(x, y)
        nearest = self._nearest(cells(sum(corners_x) / 3, sum(corners_y) / 3), center_z)
        vertex = np.flatnonzero(around < 0)
        face = nearest[cells(x[vertex], y[vertex])]
        plane = self._plane_depth(points, face, x[vertex], y[vertex])
        seen = np.zeros(self._num_vertices, bool)
        seen[vertex] = (face < 0) | (z[vertex] <= plane + np.float32(TOLERANCE_M))
        return seen

    def _plane_depth(self, points: np.ndarray, faces: np.ndarray, x: np.ndarray,
                     y: np.ndarray) -> np.ndarray:
        """Depth (N,) of the planes through faces (N,) of points (3, V), at x, y (N,)."""
        first, second, third = self._corners[:, faces]
        origin = points[:, first]
        ux, uy, uz = points[:, second] - origin
        wx, wy, wz = points[:, third] - origin
        # normal . (point - origin) = 0, solved for depth.
        with np.errstate(divide='ignore', invalid='ignore'):
            rise = ((uy * wz - uz * wy) * (origin[0] - x)
                    + (uz * wx - ux * wz) * (origin[1] - y)) / (ux * wy - uy * wx)
        return origin[2] + np.clip(rise, -SLOPE_LIMIT_M, SLOPE_LIMIT_M)

    def _cells_of(self, x: np.ndarray,
                  y: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """The function from places (N,), (N,) to cell numbers (N,) for a mesh at x, y (V,)."""
        low_x, low_y = x.min(), y.min()
        span = max(x.max() - low_x, y.max() - low_y, np.float32(1e-6))
        scale = np.float32((self._cells - 1e-3) / span)

        def cells(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            """Cell numbers (N,) of the places x, y (N,)."""
            row, column = ((y - low_y) * scale).astype(np.intp), (x - low_x) * scale
            return row * self._cells + column.astype(np.intp)

        return cells

    def _nearest(self, cells: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Index of the nearest point (N,) in each cell (cells x cells,); -1 where none is."""
        buffer = np.full(self._cells ** 2, np.inf, np.float32)
        np.minimum.at(buffer, cells, depths)
        nearest = np.full(self._cells ** 2, -1, np.intp)
        winners = np.flatnonzero((depths == buffer[cells]) & (depths < np.inf))
        nearest[cells[winners]] = winners
        return nearest
