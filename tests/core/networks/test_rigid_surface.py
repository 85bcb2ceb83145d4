"""The step that lessens the stretch of the surface."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.base.config import network_config
from decomr_core.body_models import load_body
from decomr_core.measures.losses import mesh_edges
from decomr_core.networks.rigid_surface import RigidSurface
from decomr_core.uv.fitted_map import random_bodies
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.uv_map import load_uv_map

RESOLUTION, RIGIDITY = 32, 10.0
BODY = load_body()
MAPPER = LocationMapper(load_uv_map('builtin', BODY), RESOLUTION, len(BODY.v_template))
TEMPLATE, FACES = BODY.v_template.float(), torch.as_tensor(BODY.faces).long()
JOINT_WEIGHTS = MAPPER.texel_weights(BODY.joint_regressor.float())
SURFACE = RigidSurface(MAPPER, TEMPLATE, FACES, JOINT_WEIGHTS, RIGIDITY)


def _map_of(vertices: torch.Tensor) -> torch.Tensor:
    return MAPPER.location_map_from_vertices(vertices)


def _stretched(location_map: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of the faces with an edge stretched over 1.5 times."""
    edges, true = (
        mesh_edges(MAPPER.vertices_from_location_map(values), FACES).norm(dim=-1)
        for values in (location_map, truth)
    )
    return (edges > 1.5 * true + 1e-3).any(-1).float().mean().item()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.6, 1.4))
def test_a_rotated_translated_and_scaled_template_passes_through(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    turn = turn * torch.det(turn)  # a rotation, not a mirror
    moved = _map_of((scale * TEMPLATE @ turn.T + torch.randn(3, generator=generator))[None])
    torch.testing.assert_close(SURFACE(moved), moved, rtol=0, atol=2e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), angle=st.floats(-math.pi, math.pi))
def test_the_step_follows_translations_and_turns_in_the_image_plane(
    seed: int, angle: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sine, cosine = math.sin(angle), math.cos(angle)
    turn = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    noisy = _map_of(TEMPLATE[None] + 0.02 * torch.randn(TEMPLATE.shape, generator=generator))
    turned = torch.einsum('ij,bjhw->bihw', turn, noisy) + 0.5 * MAPPER.mask
    expected = torch.einsum('ij,bjhw->bihw', turn, SURFACE(noisy)) + 0.5 * MAPPER.mask
    torch.testing.assert_close(SURFACE(turned), expected, rtol=0, atol=5e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), rigidity=st.sampled_from([3.0, 30.0, 300.0]))
def test_joints_stay_in_the_image_and_move_in_depth(seed: int, rigidity: float) -> None:
    surface = RigidSurface(MAPPER, TEMPLATE, FACES, JOINT_WEIGHTS, rigidity)
    true = _map_of(torch.from_numpy(random_bodies(BODY, 2, seed=seed % 7)[1:]).float())
    # Limbs of wrong lengths: the surface wants to move its joints.
    stretched = true * torch.tensor([1.3, 0.8, 1.2])[:, None, None]

    def joint_shift() -> torch.Tensor:
        """(B, 3, J), metres."""
        return (surface(stretched) - stretched).flatten(2) @ JOINT_WEIGHTS.T

    held = joint_shift()
    surface._joint_pull.zero_()
    free = joint_shift()
    assert held[:, :2].abs().max() < 0.3 * free[:, :2].abs().max()
    torch.testing.assert_close(held[:, 2], free[:, 2])
    assert free[:, 2].abs().max() > 2e-3


def test_stretched_surfaces_become_less_stretched_and_stay_near_their_place() -> None:
    true = _map_of(torch.from_numpy(random_bodies(BODY, 4, seed=3)[1:]).float())
    generator = torch.Generator().manual_seed(0)
    # Errors that vary over some texels, as those of a network.
    coarse = torch.randn(len(true), 3, 8, 8, generator=generator)
    error = torch.nn.functional.interpolate(coarse, size=RESOLUTION, mode='bicubic')
    predicted = true + 0.03 * error * MAPPER.mask
    moved = SURFACE(predicted)
    assert _stretched(moved, true) < 0.7 * _stretched(predicted, true)
    distances = [
        (values - true).norm(dim=1)[:, MAPPER.mask].mean().item() for values in (predicted, moved)
    ]
    assert distances[1] < 1.05 * distances[0]


def test_texels_without_a_surface_point_stay() -> None:
    location_map = torch.randn(2, 3, RESOLUTION, RESOLUTION)
    moved = SURFACE(location_map)
    outside = ~MAPPER.mask
    assert outside.any()
    torch.testing.assert_close(moved[:, :, outside], location_map[:, :, outside])
    assert (moved - location_map)[:, :, MAPPER.mask].abs().max() > 0.1


def test_the_gradient_is_finite_also_for_a_surface_without_extent() -> None:
    location_map = torch.zeros(1, 3, RESOLUTION, RESOLUTION, requires_grad=True)
    SURFACE(location_map).square().sum().backward()
    assert location_map.grad is not None and location_map.grad.isfinite().all()


@pytest.mark.parametrize(
    'changes', [{'rigidity': -1.0}, {'rigidity': math.nan}, {'is_detailed': False}]
)
def test_a_rigidity_that_does_not_fit_is_rejected(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match='rigidity is'):
        dataclasses.replace(network_config('rt'), **changes)
