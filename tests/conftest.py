"""A small generated body with a UV map, which tests use instead of the real ones.

The body is a person of cells on a lattice: closed, genus 0, left-right symmetric, in T-pose.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.sparse import coo_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from decomr_core.body_models import MIRRORED_JOINTS, NUM_SHAPES, PARENTS, BodyData, BodyModel
from decomr_core.uv.uv_map import UVMap

# Size of a cell and the origin (the pelvis), metres and cells.
CELL_M = np.array([0.115, 0.142, 0.1])
PELVIS = np.array([0.0, 0.5, 0.0])
# Cells (i, j) of the left half, two cells deep; the right half mirrors them.
HEAD = [(0, j) for j in range(5, 7)]
TORSO = [(i, j) for i in range(2) for j in range(5)]
ARM = [(i, 4) for i in range(2, 7)]
LEG = [(1, j) for j in range(-5, 0)]
# The left and the central joints of SMPL in lattice coordinates, by index.
JOINTS = {
    0: (0, 0.5, 0),
    1: (1.4, -0.2, 0),
    3: (0, 1.5, 0),
    4: (1.5, -2.5, 0),
    6: (0, 2.5, 0),
    7: (1.5, -4.2, 0),
    9: (0, 3.5, 0),
    10: (1.5, -4.7, 0.5),
    12: (0, 5, 0),
    13: (0.7, 4.5, 0),
    15: (0, 6, 0),
    16: (2, 4.5, 0),
    18: (4, 4.5, 0),
    20: (5.5, 4.5, 0),
    22: (6.4, 4.5, 0),
}
TUTTE_ROUNDS = 8
# Parts that a second chart can hold: shoulder to hand.
LEFT_ARM = (16, 18, 20, 22)
# The seams on the back: paths through lattice points, mirrored to the right half.
SEAMS = [[(0, 7), (0, 0)], [(0, 4), (7, 4)], [(0, 0), (1, 0)], [(1, 0), (1, -5)]]


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Restores PyTorch's number of threads, which belongs to the process."""
    before = sys.modules['torch'].get_num_threads() if 'torch' in sys.modules else None
    yield
    if before is not None:
        sys.modules['torch'].set_num_threads(before)


@pytest.fixture(scope='session')
def tiny_body() -> BodyModel:
    """A person-like body: 214 vertices, SMPL's 24 joints, soft weights, 10 shape components."""
    points, faces = _lattice_person()
    joints = _lattice_joints()
    distance = np.linalg.norm(points[:, None] - _bone_centers(joints)[None], axis=-1)
    weights = np.exp(-((distance / 0.6) ** 2))
    weights[weights < 0.02 * weights.max(axis=1, keepdims=True)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    near = np.exp(-((np.linalg.norm(points[None] - joints[:, None], axis=-1) / 0.6) ** 2))
    regressor = near / near.sum(axis=1, keepdims=True)
    template = (points - PELVIS) * CELL_M
    return BodyModel(
        BodyData(
            name='tiny',
            v_template=template,
            faces=faces,
            shapedirs=_shape_components(template),
            joint_regressor=regressor,
            parents=np.asarray(PARENTS),
            lbs_weights=weights,
        )
    )


@pytest.fixture(scope='session')
def tiny_uv_map(tiny_body: BodyModel) -> UVMap:
    """One symmetric chart of `tiny_body` on a disc: cut along the back, front in the middle."""
    points = np.round(tiny_body.data.v_template / CELL_M + PELVIS).astype(int)
    index = {tuple(point): i for i, point in enumerate(points.tolist())}
    corner_index, vertex_index = _cut(tiny_body.data.faces, _seam_edges(index))
    rim = _rim(corner_index)
    top = int(np.flatnonzero(vertex_index[rim] == index[0, 7, -1])[0])
    rim = np.roll(rim, -top)
    angles = 2 * np.pi * np.arange(len(rim)) / len(rim)
    # The rim runs counter-clockwise seen from outside; v points down.
    circle = np.stack([-np.sin(angles), -np.cos(angles)], axis=1)
    places = _tutte(corner_index, points[vertex_index] * CELL_M, rim, circle)
    uv = 0.5 + 0.48 * places
    return UVMap(uv.astype(np.float32), corner_index, vertex_index, tiny_body.hash)


@pytest.fixture(scope='session')
def tiny_two_chart_map(tiny_body: BodyModel, tiny_uv_map: UVMap) -> UVMap:
    """A map of `tiny_body` in two charts: the left arm lies apart, on the right of the square."""
    parts = np.asarray(tiny_body.vertex_parts)[tiny_uv_map.body_faces]
    is_moved = np.isin(parts, LEFT_ARM).all(axis=1)
    moved, index = np.unique(tiny_uv_map.faces[is_moved], return_inverse=True)
    places = tiny_uv_map.uv[moved] - tiny_uv_map.uv[moved].min(axis=0)
    places = np.array([0.72, 0.1]) + 0.26 * places / places.max()
    faces = tiny_uv_map.faces.copy()
    faces[is_moved] = len(tiny_uv_map.uv) + index.reshape(-1, 3)
    uv = np.concatenate([tiny_uv_map.uv * (0.68, 1.0), places])
    vertex_index = np.concatenate([tiny_uv_map.vertex_index, tiny_uv_map.vertex_index[moved]])
    kept, faces = np.unique(faces, return_inverse=True)
    return UVMap(uv[kept], faces.reshape(-1, 3), vertex_index[kept], tiny_body.hash)


def _lattice_person() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in lattice coordinates and outward triangles (F, 3)."""
    half = {(i, j, k) for i, j in HEAD + TORSO + ARM + LEG for k in (-1, 0)}
    cells = half | {(-1 - i, j, k) for i, j, k in half}
    triangles = []
    for cell, axis, step in itertools.product(sorted(half), range(3), (-1, 1)):
        neighbour = list(cell)
        neighbour[axis] += step
        if tuple(neighbour) in cells:
            continue
        corner = np.array(cell) + np.eye(3, dtype=int)[axis] * (step > 0)
        first, second = np.eye(3, dtype=int)[(axis + 1) % 3], np.eye(3, dtype=int)[(axis + 2) % 3]
        quad = [corner, corner + first, corner + first + second, corner + second][::step]
        for three in ((0, 1, 2), (0, 2, 3)):
            triangle = [tuple(quad[c].tolist()) for c in three]
            triangles.append(triangle)
            triangles.append([(-x, y, z) for x, y, z in triangle[::-1]])
    points = sorted({point for triangle in triangles for point in triangle})
    index = {point: i for i, point in enumerate(points)}
    return (
        np.array(points, dtype=float),
        np.array([[index[point] for point in triangle] for triangle in triangles]),
    )


def _lattice_joints() -> np.ndarray:
    joints = np.zeros((len(PARENTS), 3))
    for j, place in JOINTS.items():
        joints[j] = place
        joints[MIRRORED_JOINTS[j]] = np.multiply(
            place, [-1.0 if MIRRORED_JOINTS[j] != j else 1.0, 1.0, 1.0]
        )
    return joints


def _bone_centers(joints: np.ndarray) -> np.ndarray:
    """(24, 3) middle between each joint and its only child; the joint itself otherwise."""
    centers = joints.copy()
    for j in range(len(PARENTS)):
        children = [c for c, parent in enumerate(PARENTS) if parent == j]
        if len(children) == 1:
            centers[j] = 0.5 * (joints[j] + joints[children[0]])
    return centers


def _shape_components(template: np.ndarray) -> np.ndarray:
    """(V, 3, 10): stature first, then smooth symmetric waves, metres."""
    x, y, z = template.T
    waves = [
        np.stack([x * np.cos(k * y), 0.3 * np.sin(k * y), z * np.cos(k * y + 1)], axis=1)
        for k in range(1, NUM_SHAPES)
    ]
    return np.stack([0.045 * template] + [0.05 / k * wave for k, wave in enumerate(waves, 1)], 2)


def _seam_edges(index: dict[tuple[int, ...], int]) -> set[tuple[int, int]]:
    edges = set()
    for (start, end), side in itertools.product(SEAMS, (1, -1)):
        steps = max(abs(e - s) for s, e in zip(start, end, strict=True))
        path = [
            tuple(s + (e - s) * n // steps for s, e in zip(start, end, strict=True))
            for n in range(steps + 1)
        ]
        vertices = [index[side * x, y, -1] for x, y in path]
        edges |= {tuple(sorted(pair)) for pair in itertools.pairwise(vertices)}
    return edges


def _cut(faces: np.ndarray, seams: set[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Faces (F, 3) into the vertices of the cut mesh, and their body vertices (N,)."""
    corners_of_edge: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for f, face in enumerate(faces.tolist()):
        for k in range(3):
            a, b = (f * 3 + k, face[k]), (f * 3 + (k + 1) % 3, face[(k + 1) % 3])
            a, b = sorted((a, b), key=lambda corner: corner[1])
            corners_of_edge.setdefault((a[1], b[1]), []).append((a[0], b[0]))
    links = [
        pair
        for edge, (one, other) in corners_of_edge.items()
        if edge not in seams
        for pair in zip(one, other, strict=True)
    ]
    rows, columns = np.array(links).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(faces.size, faces.size))
    count, label = connected_components(graph, directed=False)
    vertex_index = np.empty(count, dtype=np.int64)
    vertex_index[label] = faces.ravel()
    return label.reshape(-1, 3).astype(np.int64), vertex_index


def _rim(faces: np.ndarray) -> np.ndarray:
    """The one loop of edges that belong to a single face, in their direction."""
    directed = {(face[k], face[(k + 1) % 3]) for face in faces.tolist() for k in range(3)}
    after = {a: b for a, b in directed if (b, a) not in directed}
    loop = [min(after)]
    while after[loop[-1]] != loop[0]:
        loop.append(after[loop[-1]])
    assert len(loop) == len(after), 'the cut mesh must have one rim'
    return np.array(loop)


def _tutte(
    faces: np.ndarray, points: np.ndarray, rim: np.ndarray, rim_places: np.ndarray
) -> np.ndarray:
    """Each inner vertex in a weighted mean of its neighbours: (N, 2) places without flips.

    Vertices whose faces came out too small pull less in the next round (Yoshizawa et al.,
    2004), so that the limbs do not shrink away.
    """
    count = len(points)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    inner = np.setdiff1d(np.arange(count), rim)
    pull = np.ones(count)
    places = np.zeros((count, 2))
    places[rim] = rim_places
    surface = _areas(faces, points)
    for _ in range(TUTTE_ROUNDS):
        graph = coo_matrix((pull[edges[:, 1]], edges.T), shape=(count, count)).tocsr()
        system = (diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()[inner]
        places[inner] = spsolve(system[:, inner].tocsc(), -(system[:, rim] @ rim_places))
        flat = _areas(faces, np.pad(places, ((0, 0), (0, 1))))
        sums = [np.bincount(faces.ravel(), np.repeat(area, 3), count) for area in (surface, flat)]
        pull *= np.sqrt(sums[1] / sums[0])
        pull /= pull.mean()
    return places


def _areas(faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    corner, first, second = (points[faces[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(first - corner, second - corner), axis=1)
