"""One half of a symmetric body, and the landmarks of the seams of its UV map.

Rules on mirror twins, heights and distances along the surface find everything, so that any
humanoid mesh in SMPL's T-pose works. Lengths are relative to the body's height H. Additional shape
letters in this folder: P and Q, vertices and faces of the half body, uncut or cut; K, vertices of
a chain or a sample; M, pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from decomr_core.uv.mesh_graph import edge_graph

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = ['HalfBody', 'Landmarks', 'boundary_loop', 'find_landmarks', 'half_body']

# Radius around the farthest point of a limb in which its tips are searched, in H.
FINGER_REACH, TOE_REACH = 0.125, 0.085
# Smallest prominence of a tip over the saddles beside it, in H.
TIP_PROMINENCE = 0.01
# The heel is searched below this height above the lowest vertex, in H.
FOOT_HEIGHT = 0.04


@dataclass(frozen=True)
class HalfBody:
    """The person's left half, cut along the plane of symmetry; P vertices, Q faces.

    Attributes:
        vertices: (P, 3) metres, symmetrised, y up, facing +z.
        faces: (Q, 3) int64 into the half's vertices.
        vertex_index: (P,) int64 body vertex of each vertex.
        face_index: (Q,) int64 body face of each face.
        front: int64 vertices on the plane of symmetry, from the top of the head down the front
            to the crotch.
        back: int64 vertices on the plane of symmetry, from the top of the head down the back to
            the crotch.
        height: H, metres.
    """

    vertices: np.ndarray
    faces: np.ndarray
    vertex_index: np.ndarray
    face_index: np.ndarray
    front: np.ndarray
    back: np.ndarray
    height: float


@dataclass(frozen=True)
class Landmarks:
    """Landmark vertices of the half body.

    Attributes:
        fingers: finger tips from the thumb to the little finger.
        heel: rearmost vertex of the foot.
        toes: toe tips, starting with the one nearest to the heel.
    """

    fingers: list[int]
    heel: int
    toes: list[int]


def half_body(body: BodyModel) -> HalfBody:
    """The left half of a body in its template pose, symmetrised.

    Raises:
        ValueError: the self-mirrored vertices are not one closed loop between two halves.
    """
    template = np.asarray(body.v_template, dtype=np.float64)
    faces = np.asarray(body.faces, dtype=np.int64)
    twin = np.asarray(body.mirrored_vertices, dtype=np.int64)
    vertices = (template + template[twin] * [-1.0, 1.0, 1.0]) / 2
    is_middle = twin == np.arange(len(twin))
    is_left = _left_side(vertices, faces, is_middle)
    face_index = np.flatnonzero(is_left[faces].any(axis=1))
    right_faces = (is_left[twin] & ~is_middle)[faces].any(axis=1)
    if len(face_index) * 2 != len(faces) or right_faces[face_index].any():
        raise ValueError(
            f'{int(right_faces[face_index].sum())} faces lie on both sides of the body; a UV map '
            'needs a mesh with a line of vertices on its plane of symmetry'
        )
    vertex_index, local = np.unique(faces[face_index], return_inverse=True)
    local = local.reshape(-1, 3)
    vertices = vertices[vertex_index]
    loop = boundary_loop(local)
    front, back = _front_and_back(vertices, loop)
    height = float(np.ptp(vertices[:, 1]))
    return HalfBody(vertices, local, vertex_index, face_index, front, back, height)


def find_landmarks(half: HalfBody) -> Landmarks:
    """Finger tips, heel and toe tips, found by distances along the surface."""
    graph = edge_graph(half.vertices, half.faces)
    from_head = dijkstra(graph, indices=int(half.front[0]))
    toe = int(np.argmax(from_head))
    # The sum is constant on the path from head to toe and grows only along the arm.
    hand = int(np.argmax(from_head + dijkstra(graph, indices=toe)))
    finger_tips = _tips(graph, from_head, hand, FINGER_REACH * half.height, half.height)
    toe_tips = _tips(graph, from_head, toe, TOE_REACH * half.height, half.height)
    thumb = min(finger_tips, key=lambda tip: (from_head[tip], tip))
    depth = half.vertices[:, 2].copy()
    depth[half.vertices[:, 1] > half.vertices[:, 1].min() + FOOT_HEIGHT * half.height] = np.inf
    heel = int(np.argmin(depth))
    from_heel = dijkstra(graph, indices=heel)
    first_toe = min(toe_tips, key=lambda tip: (from_heel[tip], tip))
    return Landmarks(
        _chain(half.vertices, finger_tips, thumb), heel, _chain(half.vertices, toe_tips, first_toe)
    )


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """The boundary of a mesh with (Q, 3) faces as a (K,) loop, oriented like its faces.

    Raises:
        ValueError: there is no boundary, or more than one loop.
    """
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    existing = set(map(tuple, directed.tolist()))
    follower = {a: b for a, b in existing if (b, a) not in existing}
    if not follower:
        raise ValueError('the mesh has no boundary')
    loop = [min(follower)]
    while follower[loop[-1]] != loop[0] and len(loop) <= len(follower):
        loop.append(follower[loop[-1]])
    if len(loop) != len(follower):
        raise ValueError(
            f'the boundary has {len(follower)} vertices, but the loop through the '
            f'first has {len(loop)}: it is not one simple loop'
        )
    return np.array(loop)


def _left_side(vertices: np.ndarray, faces: np.ndarray, is_middle: np.ndarray) -> np.ndarray:
    """(V,) bool by flood fill, because thighs may cross the plane of symmetry."""
    graph = edge_graph(vertices, faces).tocoo()
    keep = ~is_middle[graph.row] & ~is_middle[graph.col]
    graph = sparse.coo_matrix(
        (np.ones(keep.sum()), (graph.row[keep], graph.col[keep])), shape=graph.shape
    )
    _, label = connected_components(graph, directed=False)
    sides = np.unique(label[~is_middle])
    if len(sides) != 2:
        raise ValueError(
            f'the vertices on the plane of symmetry divide the body into '
            f'{len(sides)} pieces, expected 2; use a closed mesh in one piece '
            'without eyes, teeth or clothes'
        )
    left = max(sides, key=lambda side: vertices[label == side, 0].mean())
    return (label == left) & ~is_middle


def _front_and_back(vertices: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splits the loop on the plane of symmetry into two chains, each from top to bottom."""
    loop = np.roll(loop, -int(np.argmax(vertices[loop, 1])))
    lowest = int(np.argmin(vertices[loop, 1]))
    chains = [loop[: lowest + 1], np.append(loop[lowest:], loop[0])[::-1]]
    chains.sort(key=lambda chain: -vertices[chain, 2].mean())
    return chains[0], chains[1]


def _tips(
    graph: sparse.csr_matrix, value: np.ndarray, around: int, reach: float, height: float
) -> list[int]:
    """Local maxima of (P,) values near a vertex with at least TIP_PROMINENCE.

    Vertices join from the highest down. Where two hills meet, the lower one ends. Its tip is kept
    if it is high enough above the saddle; the highest tip is always kept. The tip of the hill
    that contains `around` is replaced by `around`.
    """
    near = np.flatnonzero(dijkstra(graph, indices=around, limit=reach) <= reach)
    near = near[np.argsort(-value[near], kind='stable')].tolist()
    tips = [near[0]]
    own_hill = -1
    parent: dict[int, int] = {}
    for vertex in near:
        neighbours = graph.indices[graph.indptr[vertex] : graph.indptr[vertex + 1]].tolist()
        roots = sorted(
            {_root(parent, other) for other in neighbours if other in parent},
            key=lambda peak: (-value[peak], peak),
        )
        parent[vertex] = roots[0] if roots else vertex
        if vertex == around:
            own_hill = _root(parent, vertex)
        for lower in roots[1:]:
            if value[lower] - value[vertex] > TIP_PROMINENCE * height:
                tips.append(lower)
            parent[lower] = roots[0]
    return [around if tip == own_hill else tip for tip in tips]


def _root(parent: dict[int, int], vertex: int) -> int:
    while parent[vertex] != vertex:
        vertex = parent[vertex]
    return vertex


def _chain(vertices: np.ndarray, tips: list[int], first: int) -> list[int]:
    """Orders the tips: starts with the first, then repeatedly takes the nearest remaining one."""
    chain, rest = [first], [tip for tip in tips if tip != first]
    while rest:
        gaps = np.linalg.norm(vertices[rest] - vertices[chain[-1]], axis=1)
        chain.append(rest.pop(int(np.argmin(gaps))))
    return chain
