"""Fewer triangles for a fixed topology: chosen once on the template, then only a gather per mesh.

Vertices are merged into a neighbour (half-edge collapse) where the quadric error (Garland and
Heckbert, 'Surface Simplification Using Quadric Error Metrics', SIGGRAPH 1997) is least, so that
the vertices that stay are vertices of the full mesh: the same faces fit every pose. In each round
all collapses that do not touch each other are made at once, which keeps it in NumPy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['decimate_faces']

CHEAPEST_SHARE = 0.3
"""Of the possible collapses a round takes only these, so that dear ones wait for cheaper ones."""
MIN_TURN_COS = 0.3
"""Cosine of the largest angle by which a collapse may turn a face: none folds over."""
LENGTH_WEIGHT = 2e-4
"""Length of the edge to the power of 2.5 against the quadric error: settles flat places."""


def decimate_faces(vertices: np.ndarray, faces: np.ndarray, num_faces: int) -> np.ndarray:
    """Faces of a coarser surface over some of the same vertices.

    The surface keeps its topology (holes, handles, closedness); where nothing more can be merged
    without breaking it, more faces than asked for are left.

    Args:
        vertices: (V, 3) metres, template.
        faces: (F, 3) vertex indices, counter-clockwise seen from outside.
        num_faces: wanted; at least F gives the faces as they are.

    Returns:
        (about num_faces, 3) int64 indices into the same V vertices.

    Raises:
        ValueError: a shape is another, or num_faces is below 4: no closed surface has fewer.
    """
    check_shape('vertices', vertices, (None, 3))
    check_shape('faces', faces, (None, 3))
    if num_faces < 4:
        raise ValueError(f'num_faces is {num_faces}, expected at least 4')
    points = np.asarray(vertices, np.float64)
    faces = np.asarray(faces, np.int64)
    quadrics, on_rim = _quadrics(points, faces), _on_rim(faces, len(points))
    while len(faces) > num_faces:
        # Each collapse takes two faces away.
        most = (len(faces) - num_faces + 1) // 2
        collapses = _choose(points, faces, quadrics, on_rim, most)
        if collapses is None:
            break
        gone, kept = collapses
        target = np.arange(len(points))
        target[gone] = kept
        quadrics[kept] += quadrics[gone]  # nothing is kept twice: the collapses are apart
        faces = target[faces]
        first, second, third = faces.T
        faces = faces[(first != second) & (second != third) & (third != first)]
    return faces


def _quadrics(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 16) sum of the squared distances to the planes of a vertex's faces, as 4 x 4 forms."""
    normals = _normals(points, faces)
    areas = np.linalg.norm(normals, axis=1)
    normals = normals / np.maximum(areas, 1e-12)[:, None]
    offsets = -(normals * points[faces[:, 0]]).sum(1)
    planes = np.concatenate([normals, offsets[:, None]], axis=1)
    # A low power of the area: of 0, 1/4, 1/2 and 1 this gives the least largest distance, since
    # toes and ears weigh more than their area says.
    outer = planes[:, :, None] * planes[:, None, :] * (areas ** 0.25)[:, None, None]
    outer = np.tile(outer.reshape(-1, 16), (3, 1))
    corners = faces.T.ravel()
    return np.stack([np.bincount(corners, column, len(points)) for column in outer.T], axis=1)


def _on_rim(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """(V,) whether the surface ends at a vertex; those are never merged away."""
    one, other = _half_edges(faces)
    is_inside = np.isin(other * num_vertices + one, one * num_vertices + other)
    on_rim = np.zeros(num_vertices, bool)
    on_rim[one[~is_inside]] = on_rim[other[~is_inside]] = True
    return on_rim


def _half_edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end (3 F,) of each side of each face."""
    return faces.T.ravel(), np.roll(faces, -1, axis=1).T.ravel()


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) normals, as long as twice the area."""
    first, second, third = (points[faces[..., corner]] for corner in range(3))
    return np.cross(second - first, third - first)


class _Edges(NamedTuple):
    """Directed edges `gone` -> `kept` (E,) in ascending order, with their cost (E,), m^2.5."""

    gone: np.ndarray
    kept: np.ndarray
    cost: np.ndarray

    def part(self, which: np.ndarray) -> _Edges:
        """Only these of them, by index or mask."""
        return _Edges(*(values[which] for values in self))


def _choose(points: np.ndarray, faces: np.ndarray, quadrics: np.ndarray, on_rim: np.ndarray,
            most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """At most `most` collapses (gone, kept) far enough apart; None where none is allowed."""
    edges = _edges(points, faces, quadrics)
    possible = np.flatnonzero(~on_rim[edges.gone])
    for share in (CHEAPEST_SHARE, 1.0):
        count = max(1, int(share * len(possible)))
        cheapest = np.argpartition(edges.cost[possible], count - 1)[:count]
        tried = edges.part(possible[cheapest])
        tried = tried.part(_keeps_topology(tried, edges, len(points)))
        tried = tried.part(_keeps_normals(tried, points, faces))
        if len(tried.gone):
            return _apart(tried, edges, len(points), most)
    return None


def _edges(points: np.ndarray, faces: np.ndarray, quadrics: np.ndarray) -> _Edges:
    one, other = _half_edges(faces)
    keys = np.sort(np.concatenate([one * len(points) + other, other * len(points) + one]))
    gone, kept = np.divmod(keys[np.append(True, keys[1:] > keys[:-1])], len(points))
    place = np.concatenate([points[kept], np.ones((len(kept), 1))], axis=1)
    outer = (place[:, :, None] * place[:, None, :]).reshape(-1, 16)
    cost = np.maximum(((quadrics[gone] + quadrics[kept]) * outer).sum(1), 0)
    length = np.sqrt(((points[gone] - points[kept]) ** 2).sum(1))
    return _Edges(gone, kept, cost + LENGTH_WEIGHT * length ** 2.5)


def _keeps_topology(tried: _Edges, edges: _Edges, num_vertices: int) -> np.ndarray:
    """(E,) whether the surface stays a surface: two neighbours are common to the two ends."""
    keys = edges.gone * num_vertices + edges.kept  # sorted, as the edges are
    row, around = _expand(tried.gone, edges.gone, edges.kept)
    wanted = around * num_vertices + tried.kept[row]
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.bincount(row[keys[place] == wanted], minlength=len(tried.gone)) == 2


def _keeps_normals(tried: _Edges, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(E,) whether no face folds over when `gone` moves to `kept`."""
    corner_vertex = faces.ravel()
    order = np.argsort(corner_vertex, kind='stable')
    row, corner = _expand(tried.gone, corner_vertex[order], order)
    fan = faces[corner // 3]
    stays = (fan != tried.kept[row, None]).all(1)
    row, fan = row[stays], fan[stays]
    moved = np.where(fan == tried.gone[row, None], tried.kept[row, None], fan)
    before, after = _normals(points, fan), _normals(points, moved)
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    folds = (before * after).sum(1) <= MIN_TURN_COS * lengths
    return np.bincount(row[folds], minlength=len(tried.gone)) == 0


def _expand(wanted: np.ndarray, keys: np.ndarray, values: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """All `values` whose sorted `keys` are wanted: rows of `wanted`, and values, both (N,)."""
    first = np.searchsorted(keys, wanted, 'left')
    counts = np.searchsorted(keys, wanted, 'right') - first
    row = np.repeat(np.arange(len(wanted)), counts)
    step = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, values[first[row] + step]


def _apart(tried: _Edges, edges: _Edges, num_vertices: int,
           most: int) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest collapses of which no two have neighbours in common."""
    order = np.argsort(tried.cost, kind='stable')
    gone, kept = tried.gone[order], tried.kept[order]
    _, first = np.unique(gone, return_index=True)
    first.sort()
    gone, kept = gone[first], kept[first]
    rank = np.full(num_vertices, len(gone), np.int64)
    rank[gone] = np.arange(len(gone))
    lowest = rank.copy()
    for _ in range(2):  # neighbours, then their neighbours
        spread = lowest.copy()
        np.minimum.at(spread, edges.gone, lowest[edges.kept])
        lowest = spread
    is_first = lowest[gone] == rank[gone]
    return gone[is_first][:most], kept[is_first][:most]
