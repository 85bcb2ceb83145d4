"""Vertices to location maps and back."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.body_models import BodyModel, load_body
from decomr_core.uv.location_map import GROUP_WEIGHTS, LocationMapper, weight_map
from decomr_core.uv.uv_map import UVMap, load_uv_map

# Round trip at 64 texels, built-in body, metres: a vertex in a chart fold between texels is the
# worst; the mean is what the network's own error is compared with.
MAX_MEAN_ERROR_M = 0.008
MAX_ERROR_M = 0.15


def test_the_built_in_body_survives_the_round_trip() -> None:
    body, uv_map = load_body(), load_uv_map()
    vertices = body.v_template[None]
    errors = {}
    for resolution in (64, 128):
        mapper = LocationMapper(uv_map, resolution, body.num_vertices)
        back = mapper.vertices_from_location_map(mapper.location_map_from_vertices(vertices))
        errors[resolution] = (back - vertices).norm(dim=-1)
    assert errors[64].mean() < MAX_MEAN_ERROR_M
    assert errors[64].max() < MAX_ERROR_M
    assert errors[128].mean() < 0.6 * errors[64].mean()


def test_a_location_map_linear_in_uv_is_read_exactly(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    """Bilinear reading is exact on linear maps; copies of a vertex on a seam are averaged."""
    size = 16
    mapper = LocationMapper(tiny_uv_map, size, tiny_body.num_vertices)
    grid = torch.linspace(0, 1, size)
    v, u = torch.meshgrid(grid, grid, indexing='ij')
    read = mapper.vertices_from_location_map(torch.stack([u, v, 2 * u - v])[None])[0].numpy()
    counts = Counter(tiny_uv_map.vertex_index.tolist())
    assert max(counts.values()) >= 2, 'the test needs a seam'
    expected = np.zeros((tiny_body.num_vertices, 2))
    for place, vertex in zip(tiny_uv_map.uv, tiny_uv_map.vertex_index, strict=True):
        expected[vertex] += place / counts[vertex]
    np.testing.assert_allclose(read[:, :2], expected, atol=1e-5)
    np.testing.assert_allclose(read[:, 2], 2 * expected[:, 0] - expected[:, 1], atol=1e-5)


@pytest.mark.parametrize('map_name', ['tiny_uv_map', 'tiny_two_chart_map'])
def test_the_texel_weights_of_a_regressor_give_its_points(
    tiny_body: BodyModel, map_name: str, request: pytest.FixtureRequest
) -> None:
    mapper = LocationMapper(request.getfixturevalue(map_name), 16, tiny_body.num_vertices)
    regressor = torch.as_tensor(tiny_body.joint_regressor).float()
    location_map = torch.randn(2, 3, 16, 16)
    expected = regressor @ mapper.vertices_from_location_map(location_map)
    found = mapper.texel_weights(regressor) @ location_map.flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected)


@settings(max_examples=15, deadline=None)
@given(resolution=st.integers(4, 40), seed=st.integers(0, 99))
def test_texels_are_mixtures_of_the_vertices_of_one_face(resolution: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    uv_map = UVMap(random.random((3, 2)), np.array([[0, 1, 2]]), np.arange(3), 'triangle')
    mapper = LocationMapper(uv_map, resolution, 3)
    weights = mapper.barycentric_weights
    torch.testing.assert_close(weights.sum(dim=-1), mapper.mask.float())
    assert weights.min() >= 0
    # Where the face itself covers a texel, its place in the chart must be the texel's own.
    places = torch.from_numpy(uv_map.uv) * (resolution - 1)
    mixed = mapper.location_map_from_vertices(torch.cat([places, torch.zeros(3, 1)], dim=1)[None])[
        0, :2
    ]
    is_inside = (weights > 0).all(dim=-1)
    row, column = torch.nonzero(is_inside, as_tuple=True)
    torch.testing.assert_close(mixed[0, row, column], column.float(), atol=1e-3, rtol=0)
    torch.testing.assert_close(mixed[1, row, column], row.float(), atol=1e-3, rtol=0)


def test_both_ways_are_differentiable(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    mapper = LocationMapper(tiny_uv_map, 4, tiny_body.num_vertices).double()
    location_map = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    vertices = torch.randn(2, tiny_body.num_vertices, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        mapper.vertices_from_location_map, location_map, fast_mode=True
    )
    assert torch.autograd.gradcheck(mapper.location_map_from_vertices, vertices, fast_mode=True)


def test_a_batch_of_three_equals_three_singles(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    mapper = LocationMapper(tiny_uv_map, 16, tiny_body.num_vertices)
    maps = torch.randn(3, 3, 16, 16)
    singles = [mapper.vertices_from_location_map(maps[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(mapper.vertices_from_location_map(maps), torch.cat(singles))


def test_weights_follow_the_body_parts(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    mapper = LocationMapper(tiny_uv_map, 48, tiny_body.num_vertices)
    weights = weight_map(tiny_body, tiny_uv_map, 48)
    assert weights[mapper.mask].mean() == pytest.approx(1.0, abs=1e-5)
    assert not weights[~mapper.mask].any()
    levels = weights[mapper.mask].unique()
    torch.testing.assert_close(levels / levels[0], torch.tensor(GROUP_WEIGHTS))
    of_texel = tiny_body.vertex_groups[mapper.texel_vertices[mapper.mask]]
    is_torso = (of_texel == 0).all(dim=-1) & (mapper.barycentric_weights[mapper.mask] > 0).all(-1)
    assert is_torso.any()
    assert (weights[mapper.mask][is_torso] == levels[0]).all()


def test_a_map_of_another_body_is_rejected(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    with pytest.raises(ValueError, match='refers to vertex'):
        LocationMapper(tiny_uv_map, 16, tiny_body.num_vertices - 1)
    with pytest.raises(ValueError, match='1 vertices are not in the UV map'):
        LocationMapper(tiny_uv_map, 16, tiny_body.num_vertices + 1)


def test_a_map_without_seams_needs_no_averaging() -> None:
    uv_map = UVMap(
        np.array([[0, 0], [1, 0], [0, 1], [1, 1]]),
        np.array([[3, 1, 0], [0, 2, 3]]),
        np.array([2, 0, 1, 3]),
        'square',
    )
    mapper = LocationMapper(uv_map, 5, 4)
    vertices = torch.randn(2, 4, 3)
    back = mapper.vertices_from_location_map(mapper.location_map_from_vertices(vertices))
    torch.testing.assert_close(back, vertices)
