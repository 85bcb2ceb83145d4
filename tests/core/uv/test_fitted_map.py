"""Location maps fitted to what reading returns, and the round trip they give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel
from decomr_core.uv import round_trip
from decomr_core.uv.fitted_map import (
    FittedLocationMap,
    extrapolation_matrix,
    random_bodies,
    reading_matrix,
)
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.round_trip import visible_vertices
from decomr_core.uv.uv_map import UVMap

SIDE = 16


@pytest.fixture(scope='module')
def fitted(tiny_body: BodyModel, tiny_uv_map: UVMap) -> FittedLocationMap:
    return FittedLocationMap(tiny_body, tiny_uv_map, SIDE)


def test_the_reading_matrix_equals_the_mapper(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    mapper = LocationMapper(tiny_uv_map, SIDE, tiny_body.num_vertices)
    noise = torch.randn(1, 3, SIDE, SIDE)
    matrix = reading_matrix(tiny_uv_map, SIDE, tiny_body.num_vertices)
    read = matrix @ noise[0].flatten(1).T.numpy()
    np.testing.assert_allclose(read, mapper.vertices_from_location_map(noise)[0], atol=1e-5)


def test_a_fitted_map_is_read_back_better_than_the_surface_itself(
    tiny_body: BodyModel, tiny_uv_map: UVMap, fitted: FittedLocationMap
) -> None:
    mapper = LocationMapper(tiny_uv_map, SIDE, tiny_body.num_vertices)
    bodies = torch.from_numpy(random_bodies(tiny_body, 4, seed=5)).float()
    errors = [
        (mapper.vertices_from_location_map(maps) - bodies).norm(dim=-1)
        for maps in (fitted(bodies), mapper.location_map_from_vertices(bodies))
    ]
    assert errors[0].mean() < 0.7 * errors[1].mean()
    assert errors[0].max() < errors[1].max()


def test_a_moved_body_gives_the_moved_map(tiny_body: BodyModel, fitted: FittedLocationMap) -> None:
    bodies = torch.from_numpy(random_bodies(tiny_body, 2, seed=5)).float()
    offset = torch.tensor([0.5, -1.0, 2.0])
    moved = fitted(bodies + offset) - fitted(bodies)
    torch.testing.assert_close(
        moved[:, :, fitted.mask],
        offset[None, :, None].expand(2, 3, int(fitted.mask.sum())),
        atol=2e-4,
        rtol=0,
    )
    assert not moved[:, :, ~fitted.mask].any()


def test_a_batch_equals_its_singles_and_gradients_flow(
    tiny_body: BodyModel, fitted: FittedLocationMap
) -> None:
    bodies = torch.from_numpy(random_bodies(tiny_body, 3, seed=5)).float().requires_grad_()
    maps = fitted(bodies)
    torch.testing.assert_close(maps, torch.cat([fitted(body[None]) for body in bodies]))
    maps.square().sum().backward()
    assert bodies.grad.isfinite().all() and bodies.grad.abs().sum() > 0


def test_texels_past_the_rim_continue_the_plane_of_a_face() -> None:
    """One large triangle: everything linear in (u, v) is continued exactly."""
    uv_map = UVMap(
        np.array([[0.1, 0.1], [0.9, 0.15], [0.3, 0.9]]),
        np.array([[0, 1, 2]]),
        np.arange(3),
        'triangle',
    )
    matrix = extrapolation_matrix(uv_map, 10, 3)
    is_used = np.diff(matrix.indptr) > 0
    places = (matrix @ (uv_map.uv.astype(float) * 9)).reshape(10, 10, 2)
    rows, columns = np.nonzero(is_used.reshape(10, 10))
    np.testing.assert_allclose(places[rows, columns], np.stack([columns, rows], 1), atol=1e-5)
    mapper = LocationMapper(uv_map, 10, 3)
    assert is_used.sum() == mapper.mask.sum()


def test_vertices_inside_a_closed_body_are_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    # The images are made for meshes of 26,692 faces; 12 that fill them cost many times as much.
    monkeypatch.setattr(round_trip, 'VIEW_SIZE_PX', 128)
    outer = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    cube = np.array([tri for a, b, c, d in quads for tri in ((a, b, c), (a, c, d))])
    vertices = np.concatenate([outer, outer * 0.5])
    faces = np.concatenate([cube, cube + 8])
    np.testing.assert_array_equal(visible_vertices(vertices, faces), np.arange(16) < 8)


def test_random_bodies_are_the_same_each_time_and_start_with_the_template(
    tiny_body: BodyModel,
) -> None:
    bodies = random_bodies(tiny_body, 3, seed=2)
    np.testing.assert_array_equal(bodies, random_bodies(tiny_body, 3, seed=2))
    np.testing.assert_allclose(bodies[0], tiny_body.v_template)
    assert np.abs(bodies[1] - bodies[2]).max() > 0.01


def test_a_body_with_other_vertices_is_rejected(fitted: FittedLocationMap) -> None:
    with pytest.raises(ValueError, match='vertices'):
        fitted(torch.zeros(1, fitted.num_vertices + 1, 3))
