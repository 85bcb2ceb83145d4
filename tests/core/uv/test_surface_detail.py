"""A coarse location map and the template's detail give the surface back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.body_models import BodyModel, load_body
from decomr_core.measures.losses import mesh_edges
from decomr_core.uv.fitted_map import random_bodies
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.surface_detail import SurfaceDetail
from decomr_core.uv.uv_map import UVMap, load_uv_map

RESOLUTION = 32


class Reader:
    """Vertices to a location map and back, without and with detail."""

    def __init__(self, body: BodyModel, uv_map: UVMap) -> None:
        self.template = body.v_template.float()
        self._mapper = LocationMapper(uv_map, RESOLUTION, len(self.template))
        self.detail = SurfaceDetail(self._mapper, self.template)

    def coarse(self, vertices: torch.Tensor) -> torch.Tensor:
        return self._mapper.vertices_from_location_map(
            self._mapper.location_map_from_vertices(vertices)
        )

    def fine(self, vertices: torch.Tensor) -> torch.Tensor:
        return self.detail(self._mapper.location_map_from_vertices(vertices))


@pytest.fixture(scope='module')
def body() -> BodyModel:
    return load_body()


@pytest.fixture(scope='module')
def reader(body: BodyModel) -> Reader:
    return Reader(body, load_uv_map('builtin', body))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.7, 1.4))
def test_the_template_is_reproduced_under_rotation_translation_and_scale(
    reader: Reader, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    turn = turn * torch.det(turn)  # a rotation, not a mirror
    shift = torch.randn(3, generator=generator) * 3
    moved = scale * reader.template @ turn.T + shift
    torch.testing.assert_close(reader.fine(moved[None])[0], moved, rtol=0, atol=2e-5)


def test_posed_bodies_are_read_much_more_exactly_and_their_faces_are_not_stretched(
    reader: Reader, body: BodyModel
) -> None:
    vertices = torch.from_numpy(random_bodies(body, 6, seed=3)[1:]).float()
    coarse, fine = reader.coarse(vertices), reader.fine(vertices)
    errors = [(read - vertices).norm(dim=-1).mean().item() for read in (coarse, fine)]
    assert errors[1] < 0.2 * errors[0]
    faces = torch.as_tensor(body.faces)
    true = mesh_edges(vertices, faces).norm(dim=-1)
    stretched = [
        (mesh_edges(read, faces).norm(dim=-1) > 1.5 * true).any(-1).float().mean().item()
        for read in (coarse, fine)
    ]
    assert stretched[0] > 0.1
    assert stretched[1] < 0.015


def test_gradients_are_finite_where_the_surface_has_collapsed(reader: Reader) -> None:
    collapsed = torch.zeros(1, 3, RESOLUTION, RESOLUTION, requires_grad=True)
    fine = reader.detail(collapsed)
    assert torch.isfinite(fine).all()
    fine.square().sum().backward()
    assert torch.isfinite(collapsed.grad).all()


def test_weights_are_positive_fall_with_the_distance_and_sum_to_one(reader: Reader) -> None:
    weights = reader.detail.weights
    assert (weights[:, 0] > 0).all() and (weights >= 0).all()
    assert (weights[:, 1:] <= weights[:, :-1] + 1e-6).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))


def test_a_body_of_few_vertices_has_detail_as_well(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    small = Reader(tiny_body, tiny_uv_map)
    torch.testing.assert_close(
        small.fine(small.template[None])[0], small.template, rtol=0, atol=2e-5
    )
