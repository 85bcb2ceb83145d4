"""One half of a symmetric body, and the landmarks that the seams of its UV map run through.

Everything is found by rules (the mirror twins, heights, distances along the surface), so that any
humanoid mesh in SMPL's T-pose will do. Lengths are relative to the body's height H. Shape letters
of this folder beside the common ones: P and Q, vertices and faces of the half body, whole or cut;
K, vertices of a chain or a sample; M, pairs.
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

# How far around the farthest point of a limb its other tips lie, in H.
FINGER_REACH, TOE_REACH = 0.125, 0.085
# A tip stands out from the webs beside it by this much, in H.
TIP_PROMINENCE = 0.01
# The heel lies in this lowest part of the body, in H.
FOOT_HEIGHT = 0.04


@dataclass(frozen=True)
class HalfBody:
    """The person's left half, cut along the plane of symmetry; P vertices, Q faces.

    Attributes:
        vertices: (P, 3) metres, symmetrised, y up, facing +z.
        faces: (Q, 3) int64 into the half's vertices.
        vertex_index: (P,) int64 body vertex of each vertex.
        face_index: (Q,) int64 body face of each face.
        front: int64 vertices on the plane of symmetry from the head top down the front.
        back: int64 vertices on the plane of symmetry from the head top down the back; both end
            at the crotch.
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
    """Vertices of the half body.

    Attributes:
        fingers: tips from the thumb to the little finger.
        heel: rearmost point of the foot.
        toes: tips, starting with the one nearest to the heel.
    """

    fingers: list[int]
    heel: int
    toes: list[int]


def half_body(body: BodyModel) -> HalfBody:
    """The left half of a body in its template pose, made exactly symmetric.

    Raises:
        ValueError: the self-mirrored vertices do not form one closed loop between two halves.
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
            'needs a mesh with a line of vertices on its plane of symmetry')
    vertex_index, local = np.unique(faces[face_index], return_inverse=True)
    local = local.reshape(-1, 3)
    vertices = vertices[vertex_index]
    loop = boundary_loop(local)
    front, back = _front_and_back(vertices, loop)
    height = float(np.ptp(vertices[:, 1]))
    return HalfBody(vertices, local, vertex_index, face_index, front, back, height)


def find_landmarks(half: HalfBody) -> Landmarks:
    """Finger tips, heel and toe tips, by distances along the surface."""
    graph = edge_graph(half.vertices, half.faces)
    from_head = dijkstra(graph, indices=int(half.front[0]))
    toe = int(np.argmax(from_head))
    # On the way from head to toe the sum is constant: it grows only along the arm.
    hand = int(np.argmax(from_head + dijkstra(graph, indices=toe)))
    finger_tips = _tips(graph, from_head, hand, FINGER_REACH * half.height, half.height)
    toe_tips = _tips(graph, from_head, toe, TOE_REACH * half.height, half.height)
    thumb = min(finger_tips, key=lambda tip: (from_head[tip], tip))
    depth = half.vertices[:, 2].copy()
    depth[half.vertices[:, 1] > half.vertices[:, 1].min() + FOOT_HEIGHT * half.height] = np.inf
    heel = int(np.argmin(depth))
    from_heel = dijkstra(graph, indices=heel)
    first_toe = min(toe_tips, key=lambda tip: (from_heel[tip], tip))
    return Landmarks(_chain(half.vertices, finger_tips, thumb), heel,
                     _chain(half.vertices, toe_tips, first_toe))


def boundary_loop(faces: np.ndarray) -> np.ndarray:
    """The boundary of a mesh with (Q, 3) faces as a (K,) loop, in the direction of its faces.

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
        raise ValueError(f'the boundary has {len(follower)} vertices, but the loop through the '
                         f'first has {len(loop)}: it is not one simple loop')
    return np.array(loop)


def _left_side(vertices: np.ndarray, faces: np.ndarray, is_middle: np.ndarray) -> np.ndarray:
    """(V,) bool by flood fill: thighs may cross the plane, so the sign of x does not tell."""
    graph = edge_graph(vertices, faces).tocoo()
    keep = ~is_middle[graph.row] & ~is_middle[graph.col]
    graph = sparse.coo_matrix((np.ones(keep.sum()), (graph.row[keep], graph.col[keep])),
                              shape=graph.shape)
    _, label = connected_components(graph, directed=False)
    sides = np.unique(label[~is_middle])
    if len(sides) != 2:
        raise ValueError(f'the vertices on the plane of symmetry part the body into {len(sides)} '
                         'pieces, expected 2; use a closed mesh in one piece without eyes, teeth '
                         'or clothes')
    left = max(sides, key=lambda side: vertices[label == side, 0].mean())
    return (label == left) & ~is_middle


def _front_and_back(vertices: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loop of symmetry in two chains from its highest to its lowest vertex."""
    loop = np.roll(loop, -int(np.argmax(vertices[loop, 1])))
    lowest = int(np.argmin(vertices[loop, 1]))
    chains = [loop[:lowest + 1], np.append(loop[lowest:], loop[0])[::-1]]
    chains.sort(key=lambda chain: -vertices[chain, 2].mean())
    return chains[0], chains[1]


def _tips(graph: sparse.csr_matrix, value: np.ndarray, around: int, reach: float,
          height: float) -> list[int]:
    """Local maxima of (P,) values near a vertex, as far as they stand out by TIP_PROMINENCE.

    Vertices join from the highest down. Where two hills meet, the lower one ends; its tip counts
    if it stands high enough above the saddle. The highest always counts. The vertex itself stands
    for the tip of its hill.
    """
    near = np.flatnonzero(dijkstra(graph, indices=around, limit=reach) <= reach)
    near = near[np.argsort(-value[near], kind='stable')].tolist()
    tips = [near[0]]
    own_hill = -1
    parent: dict[int, int] = {}
    for vertex in near:
        neighbours = graph.indices[graph.indptr[vertex]:graph.indptr[vertex + 1]].tolist()
        roots = sorted({_root(parent, other) for other in neighbours if other in parent},
                       key=lambda peak: (-value[peak], peak))
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
    """The tips in order, from the first always on to the nearest of the rest."""
    chain, rest = [first], [tip for tip in tips if tip != first]
    while rest:
        gaps = np.linalg.norm(vertices[rest] - vertices[chain[-1]], axis=1)
        chain.append(rest.pop(int(np.argmin(gaps))))
    return chain
