"""Quality of a UV map: validity, distortion, the paper's S1 and S2, and the round trip."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from decomr_core.uv.mesh_graph import edge_graph
from decomr_core.uv.round_trip import round_trips_mm
from decomr_core.uv.uv_map import UVMap

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = [
    'Validity',
    'check_validity',
    'distance_similarity',
    'log_area_scales',
    'report_uv_map',
    'uv_of_vertices',
    'validity',
]

# Rows of a distance matrix per batch; limits memory.
SOURCES_PER_BATCH = 256
# Boundary edges per batch; limits memory.
EDGES_PER_BATCH = 256
MAX_SYMMETRY_ERROR = 1e-6


@dataclass(frozen=True)
class Validity:
    """Validity of a map; a valid one has one piece, no flips, no overlaps and is symmetric.

    Attributes:
        pieces: number of charts.
        flips: number of triangles without area or with the orientation of the minority.
        overlaps: number of pairs of boundary edges that cross. A chart without flips whose
            boundary is one simple loop covers no point twice.
        rims: number of boundary loops; 1 for a disk.
        symmetry_error: largest distance between a corner's mirror image and its twin.
    """

    pieces: int
    flips: int
    overlaps: int
    rims: int
    symmetry_error: float

    @property
    def is_valid(self) -> bool:
        """Whether all values meet their limits."""
        return (
            self.pieces == 1
            and self.flips == 0
            and self.overlaps == 0
            and self.rims == 1
            and self.symmetry_error <= MAX_SYMMETRY_ERROR
        )


def check_validity(body: BodyModel, uv_map: UVMap) -> None:
    """Rejects a map that is not one valid chart of the body.

    Raises:
        ValueError: the map is not valid; the message gives the numbers.
    """
    if not np.array_equal(uv_map.body_faces, np.asarray(body.faces)):
        raise ValueError(
            f"the UV map's faces are not those of the body '{body.name}'; build its "
            'map: decomr uv build --body FILE --out FILE'
        )
    found = validity(body, uv_map)
    if not found.is_valid:
        raise ValueError(
            f'the UV map is not valid: {found}; the mesh may have degenerate '
            'triangles or no left-right symmetry'
        )


def validity(body: BodyModel, uv_map: UVMap) -> Validity:
    """Counts pieces, flips, overlaps and boundary loops, and measures the symmetry."""
    areas = _signed_areas(uv_map.uv[uv_map.faces].astype(np.float64))
    oriented = np.sign(np.median(areas)) * areas
    rim = _rim_edges(uv_map.faces)
    size = len(uv_map.uv)
    links = uv_map.faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    used = np.unique(uv_map.faces)
    pieces = np.unique(_labels(links, size)[used])
    rims = np.unique(_labels(rim, size)[np.unique(rim)])
    return Validity(
        len(pieces),
        int((oriented <= 0).sum()),
        _crossings(uv_map.uv.astype(np.float64), rim),
        len(rims),
        _symmetry_error(body, uv_map),
    )


def report_uv_map(
    body: BodyModel,
    uv_map: UVMap,
    num_sources: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> dict:
    """All quality measures of a map by name, ready for JSON.

    Args:
        body: the body of the map.
        uv_map: the map.
        num_sources: rows of the distance matrices, a fixed random choice of vertices; None
            takes all of them (some minutes).
        progress: called with the name of the step and the completed fraction in [0, 1].
    """
    start = time.perf_counter()
    progress = progress or (lambda step, fraction: None)
    found = validity(body, uv_map)
    vertices = np.asarray(body.v_template, dtype=np.float64)
    faces = np.asarray(body.faces)
    area_std, angle_deg, coverage = _distortion(vertices, uv_map)
    s1_hop, s2_hop = distance_similarity(
        vertices,
        faces,
        uv_map,
        is_hop=True,
        num_sources=num_sources,
        progress=lambda fraction: progress('counting edges', fraction * 0.4),
    )
    s1_geo, s2_geo = distance_similarity(
        vertices,
        faces,
        uv_map,
        is_hop=False,
        num_sources=num_sources,
        progress=lambda fraction: progress('measuring paths', 0.4 + fraction * 0.5),
    )
    progress('measuring round trips', 0.9)
    fitted, extrapolated = round_trips_mm(body, uv_map)
    progress('done', 1.0)
    return {
        's1_hop': s1_hop,
        's2_hop': s2_hop,
        's1_geo': s1_geo,
        's2_geo': s2_geo,
        'area_std_weighted': area_std,
        'angle_deg': angle_deg,
        'coverage': coverage,
        'pieces': found.pieces,
        'flips': found.flips,
        'overlaps': found.overlaps,
        'symmetry_error': found.symmetry_error,
        'seam_length_per_height': _seam_length(vertices, uv_map),
        'roundtrip_mm': fitted,
        'roundtrip_extrapolated_mm': extrapolated,
        'distance_rows': len(vertices) if num_sources is None else num_sources,
        'seconds': time.perf_counter() - start,
    }


def uv_of_vertices(faces: np.ndarray, uv_map: UVMap, num_vertices: int) -> np.ndarray:
    """(V, 2) UV coordinates of each vertex; on a seam, those of its last copy in face order."""
    uv = np.zeros((num_vertices, 2))
    # NumPy keeps the last value of a repeated index.
    uv[faces.ravel()] = uv_map.uv[uv_map.faces.ravel()]
    return uv


def distance_similarity(
    vertices: np.ndarray,
    faces: np.ndarray,
    uv_map: UVMap,
    is_hop: bool,
    num_sources: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[float, float]:
    """S1 and S2 between the distances on the mesh and in the UV map (paper section 4.4).

    S1 is the 2D correlation of the two distance matrices (eq. 2), S2 their normalised scalar
    product; both are scale invariant. A vertex on a seam is at its last copy in face order.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) int64.
        uv_map: the map.
        is_hop: distances on the mesh count edges; otherwise they are lengths of edge paths.
        num_sources: rows of the matrices, a fixed random choice of vertices; None takes all.
        progress: called with the completed fraction in [0, 1].
    """
    uv = uv_of_vertices(faces, uv_map, len(vertices))
    graph = edge_graph(vertices, faces)
    sources = np.arange(len(vertices))
    if num_sources is not None and num_sources < len(vertices):
        sources = np.sort(np.random.default_rng(0).permutation(len(vertices))[:num_sources])
    sums = np.zeros(5)
    for first in range(0, len(sources), SOURCES_PER_BATCH):
        rows = sources[first : first + SOURCES_PER_BATCH]
        on_mesh = dijkstra(graph, indices=rows, unweighted=is_hop)
        in_uv = np.linalg.norm(uv[rows, None] - uv, axis=2)
        sums += [
            on_mesh.sum(),
            in_uv.sum(),
            (on_mesh**2).sum(),
            (in_uv**2).sum(),
            (on_mesh * in_uv).sum(),
        ]
        if progress:
            progress(min(1.0, (first + SOURCES_PER_BATCH) / len(sources)))
    count = len(sources) * len(vertices)
    mean_mesh, mean_uv, square_mesh, square_uv, product = sums / count
    spread = np.sqrt((square_mesh - mean_mesh**2) * (square_uv - mean_uv**2))
    return (
        float((product - mean_mesh * mean_uv) / spread),
        float(product / np.sqrt(square_mesh * square_uv)),
    )


def log_area_scales(vertices: np.ndarray, uv_map: UVMap) -> tuple[np.ndarray, np.ndarray]:
    """(F,) log ratio of each face's area in the map and on the body, and (F,) area shares.

    The logs are centred on their area-weighted mean; a face without area has share 0.
    """
    areas = _areas(vertices[uv_map.body_faces])
    flat_areas = np.abs(_signed_areas(uv_map.uv[uv_map.faces].astype(np.float64)))
    keep = (areas > 0) & (flat_areas > 0)
    shares = np.where(keep, areas, 0.0) / areas[keep].sum()
    scales = np.log(np.where(keep, flat_areas, 1.0) / np.where(keep, areas, 1.0))
    return scales - shares @ scales, shares


def _distortion(vertices: np.ndarray, uv_map: UVMap) -> tuple[float, float, float]:
    """Area-weighted std of the log area scale, mean angle error in degrees, chart area."""
    scales, shares = log_area_scales(vertices, uv_map)
    flat = uv_map.uv[uv_map.faces].astype(np.float64)
    change = np.abs(_angles(vertices[uv_map.body_faces]) - _angles(flat)).mean(axis=1)
    return (
        float(np.sqrt(shares @ scales**2)),
        float(np.degrees(shares @ change)),
        float(np.abs(_signed_areas(flat)).sum()),
    )


def _seam_length(vertices: np.ndarray, uv_map: UVMap) -> float:
    """Length of the seams on a body with (V, 3) vertices, in heights of the body."""
    rim = uv_map.vertex_index[_rim_edges(uv_map.faces)]
    # Each seam edge is on the boundary twice.
    seam = np.linalg.norm(vertices[rim[:, 0]] - vertices[rim[:, 1]], axis=1).sum() / 2
    return float(seam / np.ptp(vertices[:, 1]))


def _areas(corners: np.ndarray) -> np.ndarray:
    """(F,) areas of triangles with (F, 3, 3) corners."""
    return (
        np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        / 2
    )


def _angles(corners: np.ndarray) -> np.ndarray:
    """(F, 3) angles of triangles with (F, 3, 2 or 3) corners, radians."""
    ahead = np.roll(corners, -1, axis=1) - corners
    behind = np.roll(corners, 1, axis=1) - corners
    lengths = np.linalg.norm(ahead, axis=2) * np.linalg.norm(behind, axis=2)
    cosine = (ahead * behind).sum(axis=2) / np.maximum(lengths, 1e-300)
    return np.arccos(np.clip(cosine, -1, 1))


def _signed_areas(corners: np.ndarray) -> np.ndarray:
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def _rim_edges(faces: np.ndarray) -> np.ndarray:
    """(K, 2) boundary edges, which have only one face."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, counts = np.unique(edges, axis=0, return_counts=True)
    return edges[counts == 1]


def _labels(links: np.ndarray, size: int) -> np.ndarray:
    graph = sparse.coo_matrix(
        (np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(size, size)
    )
    return connected_components(graph, directed=False)[1]


def _crossings(uv: np.ndarray, edges: np.ndarray) -> int:
    """Counts the pairs of (K, 2) edges that touch without sharing a vertex."""
    segments = uv[edges]  # (K, 2, 2)
    lengths = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1)
    middles = segments.mean(axis=1)
    tree = cKDTree(middles)
    count = 0
    for begin in range(0, len(edges), EDGES_PER_BATCH):
        rows = np.arange(begin, min(begin + EDGES_PER_BATCH, len(edges)))
        # Two edges can touch only if their middles are closer than the longer edge is long.
        near = tree.query_ball_point(middles[rows], lengths[rows] * (1 + 1e-9))
        one = np.repeat(rows, [len(found) for found in near])
        other = np.concatenate(near).astype(np.int64)
        keep = (lengths[other] < lengths[one]) | ((lengths[other] == lengths[one]) & (other < one))
        keep &= (edges[one][:, :, None] != edges[other][:, None, :]).all(axis=(1, 2))
        first, second = segments[one[keep]], segments[other[keep]]
        count += int((_are_separated(first, second) & _are_separated(second, first)).sum())
    return count


def _are_separated(lines: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """(M,) whether (M, 2, 2) lines separate or touch the ends of (M, 2, 2) segments."""
    one, other = (
        _signed_areas(np.concatenate([lines, segments[:, [end]]], axis=1)) for end in range(2)
    )
    return one * other <= 0


def _symmetry_error(body: BodyModel, uv_map: UVMap) -> float:
    """Largest |(1 - u, v) - twin's (u, v)| over all corners; infinite without a twin face."""
    faces, twin = uv_map.body_faces, np.asarray(body.mirrored_vertices)
    index_of = {tuple(sorted(face)): index for index, face in enumerate(faces.tolist())}
    twins = [index_of.get(tuple(sorted(face)), -1) for face in twin[faces].tolist()]
    if min(twins) < 0:
        return float('inf')
    matches = faces[twins][:, :, None] == twin[faces][:, None, :]  # (F, 3, 3)
    corners = uv_map.uv.astype(np.float64)[uv_map.faces]
    twin_corners = np.take_along_axis(corners[twins], matches.argmax(axis=1)[..., None], axis=1)
    mirrored = corners * [-1, 1] + [1, 0]
    return float(np.abs(mirrored - twin_corners).max())
