"""Mesh decimation for a fixed topology: computed once on the template, then one gather per mesh.

Half-edge collapses merge a vertex into a neighbour where the quadric error (Garland and Heckbert,
'Surface Simplification Using Quadric Error Metrics', SIGGRAPH 1997) is smallest. The remaining
vertices are vertices of the full mesh, so the same faces fit every pose. Each round makes all
collapses that are independent of each other, which allows vectorised NumPy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['decimate_faces']

CHEAPEST_SHARE = 0.3
"""Share of the possible collapses that a round considers, the cheapest ones."""
MIN_ROTATION_COS = 0.3
"""Cosine of the largest angle by which a collapse may rotate a face; prevents fold-overs."""
LENGTH_WEIGHT = 2e-4
"""Weight of the edge length to the power of 2.5 in the cost; decides in flat regions."""


def decimate_faces(vertices: np.ndarray, faces: np.ndarray, num_faces: int) -> np.ndarray:
    """Faces of a coarser surface over a subset of the vertices.

    The surface keeps its topology (holes, handles, closedness). If no further collapse preserves
    it, the result has more faces than requested.

    Args:
        vertices: (V, 3) metres, template.
        faces: (F, 3) vertex indices, counter-clockwise seen from outside.
        num_faces: target number of faces; F or more returns the faces unchanged.

    Returns:
        (about num_faces, 3) int64 indices into the same V vertices.

    Raises:
        ValueError: a shape is wrong, or num_faces is below 4, the minimum of a closed surface.
    """
    check_shape('vertices', vertices, (None, 3))
    check_shape('faces', faces, (None, 3))
    if num_faces < 4:
        raise ValueError(f'num_faces is {num_faces}, expected at least 4')
    points = np.asarray(vertices, np.float64)
    faces = np.asarray(faces, np.int64)
    quadrics, on_boundary = _quadrics(points, faces), _on_boundary(faces, len(points))
    while len(faces) > num_faces:
        # Each collapse removes two faces.
        limit = (len(faces) - num_faces + 1) // 2
        collapses = _choose(points, faces, quadrics, on_boundary, limit)
        if collapses is None:
            break
        removed, kept = collapses
        target = np.arange(len(points))
        target[removed] = kept
        quadrics[kept] += quadrics[removed]  # `kept` has no duplicates: collapses are independent
        faces = target[faces]
        first, second, third = faces.T
        faces = faces[(first != second) & (second != third) & (third != first)]
    return faces


def _quadrics(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 16) sum of squared distances to the planes of a vertex's faces, as 4 x 4 matrices."""
    normals = _normals(points, faces)
    areas = np.linalg.norm(normals, axis=1)
    normals = normals / np.maximum(areas, 1e-12)[:, None]
    offsets = -(normals * points[faces[:, 0]]).sum(1)
    planes = np.concatenate([normals, offsets[:, None]], axis=1)
    # Of the powers 0, 1/4, 1/2 and 1 of the area, 1/4 gives the smallest maximum distance,
    # because it raises the weight of toes and ears.
    outer = planes[:, :, None] * planes[:, None, :] * (areas**0.25)[:, None, None]
    outer = np.tile(outer.reshape(-1, 16), (3, 1))
    corners = faces.T.ravel()
    return np.stack([np.bincount(corners, column, len(points)) for column in outer.T], axis=1)


def _on_boundary(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """(V,) bool, boundary vertices; they are never removed."""
    one, other = _half_edges(faces)
    is_inside = np.isin(other * num_vertices + one, one * num_vertices + other)
    on_boundary = np.zeros(num_vertices, bool)
    on_boundary[one[~is_inside]] = on_boundary[other[~is_inside]] = True
    return on_boundary


def _half_edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end vertices (3 F,) of the half-edges of all faces."""
    return faces.T.ravel(), np.roll(faces, -1, axis=1).T.ravel()


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) normals with twice the face's area as length."""
    first, second, third = (points[faces[..., corner]] for corner in range(3))
    return np.cross(second - first, third - first)


class _Edges(NamedTuple):
    """Directed edges `removed` -> `kept` (E,) in ascending order, with their cost (E,), m^2.5."""

    removed: np.ndarray
    kept: np.ndarray
    cost: np.ndarray

    def part(self, which: np.ndarray) -> _Edges:
        """The selected edges, by index or mask."""
        return _Edges(*(values[which] for values in self))


def _choose(
    points: np.ndarray,
    faces: np.ndarray,
    quadrics: np.ndarray,
    on_boundary: np.ndarray,
    limit: int,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Up to `limit` independent collapses (removed, kept); None if none is allowed."""
    edges = _edges(points, faces, quadrics)
    possible = np.flatnonzero(~on_boundary[edges.removed])
    for share in (CHEAPEST_SHARE, 1.0):
        count = max(1, int(share * len(possible)))
        cheapest = np.argpartition(edges.cost[possible], count - 1)[:count]
        candidates = edges.part(possible[cheapest])
        candidates = candidates.part(_keeps_topology(candidates, edges, len(points)))
        candidates = candidates.part(_keeps_normals(candidates, points, faces))
        if len(candidates.removed):
            return _independent(candidates, edges, len(points), limit)
    return None


def _edges(points: np.ndarray, faces: np.ndarray, quadrics: np.ndarray) -> _Edges:
    one, other = _half_edges(faces)
    keys = np.sort(np.concatenate([one * len(points) + other, other * len(points) + one]))
    removed, kept = np.divmod(keys[np.append(True, keys[1:] > keys[:-1])], len(points))
    place = np.concatenate([points[kept], np.ones((len(kept), 1))], axis=1)
    outer = (place[:, :, None] * place[:, None, :]).reshape(-1, 16)
    cost = np.maximum(((quadrics[removed] + quadrics[kept]) * outer).sum(1), 0)
    length = np.sqrt(((points[removed] - points[kept]) ** 2).sum(1))
    return _Edges(removed, kept, cost + LENGTH_WEIGHT * length**2.5)


def _keeps_topology(candidates: _Edges, edges: _Edges, num_vertices: int) -> np.ndarray:
    """(E,) link condition: the two ends of the edge have exactly two common neighbours."""
    keys = edges.removed * num_vertices + edges.kept  # sorted, like the edges
    row, around = _look_up(candidates.removed, edges.removed, edges.kept)
    queries = around * num_vertices + candidates.kept[row]
    place = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.bincount(row[keys[place] == queries], minlength=len(candidates.removed)) == 2


def _keeps_normals(candidates: _Edges, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(E,) whether no face folds over when `removed` moves to `kept`."""
    corner_vertex = faces.ravel()
    order = np.argsort(corner_vertex, kind='stable')
    row, corner = _look_up(candidates.removed, corner_vertex[order], order)
    fan = faces[corner // 3]
    remains = (fan != candidates.kept[row, None]).all(1)
    row, fan = row[remains], fan[remains]
    moved = np.where(fan == candidates.removed[row, None], candidates.kept[row, None], fan)
    before, after = _normals(points, fan), _normals(points, moved)
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    folds = (before * after).sum(1) <= MIN_ROTATION_COS * lengths
    return np.bincount(row[folds], minlength=len(candidates.removed)) == 0


def _look_up(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All values with sorted keys equal to a query: index of the query, value, both (N,)."""
    first = np.searchsorted(keys, queries, 'left')
    counts = np.searchsorted(keys, queries, 'right') - first
    row = np.repeat(np.arange(len(queries)), counts)
    step = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, values[first[row] + step]


def _independent(
    candidates: _Edges, edges: _Edges, num_vertices: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest collapses without common neighbours."""
    order = np.argsort(candidates.cost, kind='stable')
    removed, kept = candidates.removed[order], candidates.kept[order]
    _, first = np.unique(removed, return_index=True)
    first.sort()
    removed, kept = removed[first], kept[first]
    rank = np.full(num_vertices, len(removed), np.int64)
    rank[removed] = np.arange(len(removed))
    lowest = rank.copy()
    for _ in range(2):  # neighbours, then their neighbours
        spread = lowest.copy()
        np.minimum.at(spread, edges.removed, lowest[edges.kept])
        lowest = spread
    is_first = lowest[removed] == rank[removed]
    return removed[is_first][:limit], kept[is_first][:limit]
