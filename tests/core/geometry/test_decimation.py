from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from decomr_core.body_models import BodyModel, load_body
from decomr_core.geometry.decimation import decimate_faces


def _area_and_volume(points: np.ndarray, faces: np.ndarray) -> tuple[float, float]:
    first, second, third = (points[corner] for corner in faces.T)
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2
    return areas.sum(), (np.cross(first, second) * third).sum() / 6


def _directed_edges(faces: np.ndarray) -> set[tuple[int, int]]:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = {tuple(edge) for edge in edges.tolist()}
    assert len(pairs) == len(edges), 'an edge that two faces run through in the same direction'
    return pairs


def _distances(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Upper bound of the distances from points to a surface, by many points on it, metres."""
    rng = np.random.default_rng(0)
    corners = vertices[faces]
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    face = rng.choice(len(faces), 300_000, p=areas / areas.sum())
    weights = rng.dirichlet((1, 1, 1), len(face))
    on_surface = (corners[face] * weights[:, :, None]).sum(1)
    return cKDTree(np.concatenate([on_surface, vertices[np.unique(faces)]])).query(points)[0]


@pytest.fixture(scope='module')
def body() -> BodyModel:
    return load_body()


@pytest.fixture(scope='module')
def coarse(body: BodyModel) -> np.ndarray:
    return decimate_faces(body.v_template.numpy(), body.faces.numpy(), 2000)


def test_two_thousand_triangles_stay_within_a_centimetre(
    body: BodyModel, coarse: np.ndarray
) -> None:
    assert len(coarse) == 2000
    template, faces = body.v_template.numpy(), body.faces.numpy()
    away = _distances(template, template, coarse)
    assert away.max() < 0.010
    assert away.mean() < 0.0025
    assert _distances(template[coarse].mean(1), template, faces).max() < 0.010


def test_a_bent_body_keeps_its_shape_with_the_triangles_of_the_template(
    body: BodyModel, coarse: np.ndarray
) -> None:
    pose = torch.zeros(1, 24, 3)
    pose[0, [1, 2], 0], pose[0, [4, 5], 0] = -1.2, 1.5  # sits
    pose[0, 16, 2], pose[0, 17, 2], pose[0, 18, 1], pose[0, 19, 1] = -1.0, 1.0, -1.4, 1.4
    posed = body(pose, torch.zeros(1, 10))[0][0].numpy()
    away = _distances(posed, posed, coarse)
    assert away.mean() < 0.003
    assert np.percentile(away, 99) < 0.012
    assert away.max() < 0.03


def test_the_surface_stays_closed_and_oriented(body: BodyModel, coarse: np.ndarray) -> None:
    template = body.v_template.numpy().astype(float)
    edges = _directed_edges(coarse)
    assert {(end, start) for start, end in edges} == edges
    used = np.unique(coarse)
    assert len(used) - len(edges) // 2 + len(coarse) == 2, 'a sphere with limbs'
    area, volume = _area_and_volume(template, coarse)
    full_area, full_volume = _area_and_volume(template, body.faces.numpy())
    assert area == pytest.approx(full_area, rel=0.03)
    assert volume == pytest.approx(full_volume, rel=0.03)


def test_a_surface_with_a_rim_keeps_its_rim() -> None:
    side = 12
    x, y = np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    corner = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + side + 2], axis=1),
            np.stack([corner, corner + side + 2, corner + side + 1], axis=1),
        ]
    )
    coarse = decimate_faces(points, faces, 60)
    assert len(coarse) <= 62
    assert _area_and_volume(points, coarse)[0] == pytest.approx(side**2)
    rim = [
        (start, end)
        for start, end in _directed_edges(faces)
        if (end, start) not in _directed_edges(faces)
    ]
    assert set(rim) <= _directed_edges(coarse)


def test_faces_that_cannot_be_merged_remain() -> None:
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)
    assert np.array_equal(decimate_faces(points, tetrahedron, 4), tetrahedron)
    points = np.concatenate([points, [[0.25, 0.25, 0.0]]])
    split = np.array([[0, 2, 4], [2, 1, 4], [1, 0, 4], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    assert len(decimate_faces(points, split, 4)) == 4
    assert np.array_equal(decimate_faces(points, split, 6), split)


def test_wrong_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match='num_faces is 3, expected at least 4'):
        decimate_faces(np.zeros((4, 3)), np.zeros((4, 3), int), 3)
    with pytest.raises(ValueError, match='faces has shape'):
        decimate_faces(np.zeros((4, 3)), np.zeros((4, 4), int), 4)
