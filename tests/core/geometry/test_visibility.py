from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from decomr_core.base.assets import find_body
from decomr_core.body_models import BodyData, BodyModel
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.geometry.visibility import VisibilityTest

HALF_TURN = np.array([1, -1, -1], np.float32)


def exact_visibility(vertices: np.ndarray, faces: np.ndarray, size: int = 1024) -> np.ndarray:
    """Whether an exact z-buffer shows vertices (V, 3) on faces towards the camera: (V,)."""
    span = np.ptp(vertices[:, :2], axis=0).max() * 1.02
    middle = (vertices.max(0) + vertices.min(0)) / 2
    crop = (vertices - middle) * (2 / span, 2 / span, 1)
    fragments = rasterize(torch.tensor(crop[None], dtype=torch.float32), torch.tensor(faces), size)
    shown = fragments.face_index[0].numpy()
    pixel = np.clip(((crop[:, :2] + 1) * size / 2).astype(int), 0, size - 1)
    face = shown[pixel[:, 1], pixel[:, 0]]
    corners = crop[faces[face]]  # (V, 3, 3)
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(edge, other)
    slope = normal[:, :2] / np.where(np.abs(normal[:, 2:]) < 1e-9, 1e-9, normal[:, 2:])
    rise = -((crop[:, :2] - corners[:, 0, :2]) * slope).sum(1)
    plane = corners[:, 0, 2] + np.clip(rise, -0.1, 0.1)
    normals = np.zeros((len(vertices), 3))
    flat = np.cross(
        vertices[faces[:, 1]] - vertices[faces[:, 0]],
        vertices[faces[:, 2]] - vertices[faces[:, 0]],
    )
    for corner in range(3):
        np.add.at(normals, faces[:, corner], flat)
    return (normals[:, 2] < 0) & ((face < 0) | (crop[:, 2] <= plane + 0.004))


@pytest.fixture(scope='module')
def builtin() -> BodyModel:
    return BodyModel(BodyData.load(find_body()))


@pytest.mark.parametrize('turn', [0.0, 0.7, 1.6, 3.1])
def test_the_fast_test_agrees_with_an_exact_z_buffer(builtin: BodyModel, turn: float) -> None:
    pose = torch.zeros(1, 24, 3)
    pose[0, 0, 1] = turn
    pose[0, 16, 2], pose[0, 17, 2], pose[0, 18, 1], pose[0, 4, 0] = -1.1, 0.9, -1.2, 0.8
    vertices = builtin(pose, torch.zeros(1, 10))[0][0].numpy() * HALF_TURN
    faces = builtin.data.faces
    seen = VisibilityTest(faces, len(vertices))(vertices)
    agreement = (seen == exact_visibility(vertices, faces)).mean()
    assert agreement > 0.93
    assert 0.2 < seen.mean() < 0.6


def test_a_wall_in_front_hides_what_stands_behind_it() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30)), -1).reshape(-1, 2)
    index = np.arange(900).reshape(30, 30)
    a, b, c, d = (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:])
    quads = np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    )
    near = np.column_stack([grid * (0.25, 1), np.full(900, 1.0)])
    far = np.column_stack([grid, np.full(900, 1.5)])
    seen = VisibilityTest(np.concatenate([quads, quads + 900]), 1800)(np.concatenate([near, far]))
    assert seen[:900].all()
    assert (seen[900:] == (np.abs(grid[:, 0]) > 0.25)).mean() > 0.95


def test_back_faces_are_not_visible() -> None:
    vertices = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1.0]])
    assert VisibilityTest(np.array([[0, 1, 2]]), 3)(vertices).all()
    assert not VisibilityTest(np.array([[0, 2, 1]]), 3)(vertices).any()


def test_a_vertex_without_faces_is_not_visible() -> None:
    vertices = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1.0], [0.2, 0.2, 0.5]])
    assert VisibilityTest(np.array([[0, 1, 2]]), 4)(vertices).tolist() == [True] * 3 + [False]


def test_the_test_takes_milliseconds(builtin: BodyModel) -> None:
    vertices = builtin.data.v_template * HALF_TURN
    test = VisibilityTest(builtin.data.faces, len(vertices))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        test(vertices)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.010  # about 1 ms on an idle machine


def test_non_manifold_faces_are_handled() -> None:
    """Two fans around one vertex, an edge of three faces, a repeated face: no error."""
    faces = np.array([[0, 1, 2], [0, 3, 4], [0, 4, 3], [1, 2, 5], [2, 1, 6], [1, 2, 7], [0, 1, 2]])
    vertices = np.random.default_rng(0).normal(size=(9, 3))
    seen = VisibilityTest(faces, 9)(vertices)
    assert seen.shape == (9,) and not seen[8]
