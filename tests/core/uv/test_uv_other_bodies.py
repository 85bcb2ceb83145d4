"""UV maps are built unattended for bodies of other meshes: no toes, and far fewer vertices."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel
from decomr_core.body_models.body_data import BodyData
from decomr_core.body_models.mirror import find_mirrored_vertices
from decomr_core.uv.chart.build_uv_map import build_uv_map
from decomr_core.uv.chart.landmarks import find_landmarks, half_body
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.quality import distance_similarity, validity
from decomr_core.uv.uv_map import UVMap

BODIES = Path(__file__).parents[2] / 'data' / 'bodies'
# Building the maps of the first two takes 17 and 6 s.
NAMES = (
    pytest.param('no_toes', marks=pytest.mark.full_size),
    pytest.param('no_toes_coarse', marks=pytest.mark.full_size),
    'no_toes_coarsest',
)
NUM_SOURCES = 200


def load_test_body(name: str) -> BodyModel | SimpleNamespace:
    """A whole body, or what a UV map needs of one whose file holds the template alone."""
    path = BODIES / f'{name}.npz'
    with np.load(path) as archive:
        if 'lbs_weights' in archive:
            return BodyModel(BodyData.load(path))
        vertices, faces = archive['v_template'], archive['faces'].astype(np.int64)
    return SimpleNamespace(
        name=name,
        hash=f'hash of {name}',
        v_template=vertices,
        faces=faces,
        mirrored_vertices=find_mirrored_vertices(vertices, faces),
    )


@pytest.fixture(scope='module', params=NAMES)
def body(request: pytest.FixtureRequest) -> BodyModel | SimpleNamespace:
    return load_test_body(request.param)


@pytest.fixture(scope='module')
def uv_map(body: BodyModel | SimpleNamespace) -> UVMap:
    return build_uv_map(body)


def test_the_map_is_one_valid_symmetric_chart(body, uv_map: UVMap) -> None:
    found = validity(body, uv_map)
    assert (found.pieces, found.rims, found.flips, found.overlaps) == (1, 1, 0, 0)
    assert found.symmetry_error <= 1e-6
    np.testing.assert_array_equal(uv_map.body_faces, np.asarray(body.faces))
    assert uv_map.body_hash == body.hash


def test_the_map_keeps_distances_and_fills_half_of_the_square(body, uv_map: UVMap) -> None:
    vertices, faces = np.asarray(body.v_template, dtype=float), np.asarray(body.faces)
    s1, s2 = distance_similarity(vertices, faces, uv_map, is_hop=True, num_sources=NUM_SOURCES)
    assert s1 > 0.80 and s2 > 0.95
    corners = uv_map.uv[uv_map.faces].astype(float)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    share = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2
    assert share > 0.5


def test_a_location_map_gives_the_vertices_back(body, uv_map: UVMap) -> None:
    vertices = torch.as_tensor(np.asarray(body.v_template, dtype=np.float32))[None]
    mapper = LocationMapper(uv_map, 128, vertices.shape[1])
    back = mapper.vertices_from_location_map(mapper.location_map_from_vertices(vertices))
    assert (back - vertices).norm(dim=-1).mean() < 0.004  # m


def test_fingers_are_distinguished_and_a_foot_without_toes_has_one_tip(body) -> None:
    landmarks = find_landmarks(half_body(body))
    assert len(landmarks.fingers) == 5 and len(landmarks.toes) == 1
