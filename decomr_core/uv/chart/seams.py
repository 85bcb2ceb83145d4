"""The seams of the UV map, a tree on the back of the body, and the half mesh cut along it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from decomr_core.uv.chart.landmarks import HalfBody, Landmarks, boundary_loop
from decomr_core.uv.mesh_graph import edge_graph

__all__ = ['CutHalf', 'cut_half', 'find_seams']

# The arm's seam leaves the mid-line of the back in this range below the top of the head, in H.
ARM_START = (0.13, 0.30)
# The leg's seam leaves the mid-line at most this far above the crotch, in H.
LEG_START = 0.10
# The cost of an edge is its length times 1 facing backward, times 1 + 2 * this facing forward.
FRONT_COST = 4.0


@dataclass(frozen=True)
class CutHalf:
    """The half body cut along the seams: a disk of P vertices.

    Attributes:
        vertices: (P, 3) metres.
        faces: (Q, 3) int64, in the order of the half body's faces.
        vertex_index: (P,) int64 vertex of the half body.
        wall: int64 vertices on the plane of symmetry that stay joined to the other half, from
            the top of the head down the front to the crotch.
        rim: int64 vertices of the rest of the boundary, from the crotch to the top of the head,
            both included.
    """

    vertices: np.ndarray
    faces: np.ndarray
    vertex_index: np.ndarray
    wall: np.ndarray
    rim: np.ndarray


def find_seams(half: HalfBody, landmarks: Landmarks) -> list[np.ndarray]:
    """Chains (K,) of vertices to cut in addition to the mid-line of the back.

    The arm's seam runs from the mid-line along the back of the arm to the thumb, then from tip to
    tip to the little finger. The leg's seam runs from the mid-line to the heel, then through the
    toes.
    """
    cost = _seam_cost(half)
    is_used = np.zeros(len(half.vertices), dtype=bool)
    is_used[half.front] = is_used[half.back] = True
    levels = half.vertices[half.back, 1]
    depth = (levels[0] - levels) / half.height
    inner = np.arange(1, len(half.back) - 1)
    arm = half.back[inner[(depth[inner] >= ARM_START[0]) & (depth[inner] <= ARM_START[1])]]
    leg = half.back[inner[levels[inner] <= levels[-1] + LEG_START * half.height]]
    seams = []
    for starts, goals in ((arm, landmarks.fingers), (leg, [landmarks.heel, *landmarks.toes])):
        for goal in goals:
            if is_used[goal]:
                continue
            path = _shortest_path(cost, starts, goal, is_used)
            is_used[path] = True
            seams.append(path)
            starts = np.array([goal])
    return seams


def cut_half(half: HalfBody, seams: list[np.ndarray]) -> CutHalf:
    """Cuts the half body along the seams, chains of (K,) vertices.

    Raises:
        ValueError: the result is not a disk.
    """
    cuts = {
        tuple(sorted(edge))
        for seam in seams
        for edge in zip(seam[:-1].tolist(), seam[1:].tolist(), strict=True)
    }
    faces, vertex_index = _split_corners(half.faces, cuts)
    loop = boundary_loop(faces)
    num_edges = (3 * len(faces) + len(loop)) // 2
    if len(vertex_index) - num_edges + len(faces) != 1:
        raise ValueError(
            'the seams do not cut the half body into a disk; use a closed mesh without handles'
        )
    place = {int(vertex): position for position, vertex in enumerate(vertex_index[loop])}
    loop = np.roll(loop, -place[int(half.front[0])])
    size = len(half.front)
    if not np.array_equal(vertex_index[loop[:size]], half.front):
        raise ValueError(
            'the front of the body is not on the boundary of its cut half; the '
            'faces must be oriented outward and the body must face +z'
        )
    rim = np.append(loop[size - 1 :], loop[0])
    return CutHalf(half.vertices[vertex_index], faces, vertex_index, loop[:size], rim)


def _seam_cost(half: HalfBody) -> sparse.csr_matrix:
    corners = half.vertices[half.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    vertex_normals = np.zeros_like(half.vertices)
    for corner in range(3):
        np.add.at(vertex_normals, half.faces[:, corner], normals)
    frontness = vertex_normals[:, 2] / np.linalg.norm(vertex_normals, axis=1)
    graph = edge_graph(half.vertices, half.faces).tocoo()
    facing = (frontness[graph.row] + frontness[graph.col]) / 2
    cost = graph.data * (1 + FRONT_COST * (1 + facing))
    return sparse.csr_matrix((cost, (graph.row, graph.col)), shape=graph.shape)


def _shortest_path(
    cost: sparse.csr_matrix, starts: np.ndarray, goal: int, is_used: np.ndarray
) -> np.ndarray:
    """The cheapest chain from one of the starts to the goal that avoids used vertices."""
    blocked = is_used.copy()
    blocked[starts] = False
    entries = cost.tocoo()
    # A path must not pass through a second start.
    is_start = np.zeros(len(is_used), dtype=bool)
    is_start[starts] = True
    keep = ~blocked[entries.row] & ~blocked[entries.col] & ~is_start[entries.col]
    graph = sparse.csr_matrix(
        (entries.data[keep], (entries.row[keep], entries.col[keep])), shape=cost.shape
    )
    distance, before, _ = dijkstra(graph, indices=starts, min_only=True, return_predecessors=True)
    if not np.isfinite(distance[goal]):
        raise ValueError(
            f'no seam reaches vertex {goal} of the half body: earlier seams enclose it'
        )
    path = [goal]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _split_corners(faces: np.ndarray, cuts: set[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Splits each vertex into one copy per fan of faces between cuts.

    Returns:
        (Q, 3) faces into the copies, and (P,) the vertex of each copy, ordered by vertex.
    """
    size = int(faces.max()) + 1
    first, second = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    corner = np.arange(faces.size)
    following = corner.reshape(-1, 3)[:, [1, 2, 0]].ravel()
    key = np.minimum(first, second) * size + np.maximum(first, second)
    order = np.argsort(key, kind='stable')
    is_pair = np.flatnonzero(key[order][1:] == key[order][:-1])
    one, other = order[is_pair], order[is_pair + 1]
    cut_keys = np.array(sorted(a * size + b for a, b in cuts), dtype=np.int64)
    is_kept = ~np.isin(key[one], cut_keys)
    one, other = one[is_kept], other[is_kept]
    rows = np.concatenate([one, following[one]])
    columns = np.concatenate([following[other], other])
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(faces.size,) * 2)
    _, label = connected_components(graph, directed=False)
    vertex_of_label = np.zeros(label.max() + 1, dtype=np.int64)
    vertex_of_label[label] = faces.ravel()
    rank = np.empty_like(vertex_of_label)
    order = np.argsort(vertex_of_label, kind='stable')
    rank[order] = np.arange(len(order))
    return rank[label].reshape(-1, 3), vertex_of_label[order]
