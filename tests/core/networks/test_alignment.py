"""The alignment of the surface with its pixels, against NumPy's solver and by its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from decomr_core.networks import alignment
from decomr_core.networks.alignment import PixelAlignment
from decomr_core.uv.location_map import project_location_map

SIDE, NUM_COMPONENTS, NUM_JOINTS = 8, 6, 5
CAMERA = torch.tensor([[0.9, 0.1, -0.2], [1.2, 0.0, 0.1]])


def scene(seed: int, seen_share: float = 0.7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Location maps, components, the coefficients of the true maps, and their pixels."""
    torch.manual_seed(seed)
    location_map = 0.4 * torch.randn(2, 3, SIDE, SIDE)
    components = 0.05 * torch.randn(3 * SIDE**2, NUM_COMPONENTS)
    change = (torch.randn(2, NUM_COMPONENTS) @ components.T).reshape(2, 3, SIDE, SIDE)
    is_seen = (torch.rand(2, 1, SIDE, SIDE) < seen_share).float()
    places = project_location_map(location_map + change, CAMERA)
    return location_map, components, change, torch.cat([places * is_seen, is_seen], dim=1)


def lively(stiffness: float, **joints: Tensor) -> PixelAlignment:
    layer = PixelAlignment(NUM_COMPONENTS, **joints)
    torch.nn.init.constant_(layer.stiffness, float(np.log(stiffness)))
    return layer.requires_grad_(False)


def some_joints(seed: int) -> dict[str, Tensor]:
    """Five joints, each the mean of six texels plus a detail of 1 cm."""
    torch.manual_seed(seed)
    weights = torch.zeros(NUM_JOINTS, SIDE**2)
    for row in weights:
        row[torch.randperm(SIDE**2)[:6]] = 1 / 6
    return {'joints_of_texels': weights, 'joint_offsets': 0.01 * torch.randn(NUM_JOINTS, 3)}


def projected_joints(location_map: Tensor, joints: dict[str, Tensor]) -> Tensor:
    """(B, J, 2), crop frame."""
    places = location_map.flatten(2) @ joints['joints_of_texels'].T + joints['joint_offsets'].T
    return (CAMERA[:, :1, None] * (places[:, :2] + CAMERA[:, 1:, None])).transpose(1, 2)


def heatmaps_at(places: Tensor, deviation: float = 0.02) -> Tensor:
    """Logits (B, J, 96, 96) of normal distributions around places (B, J, 2), crop frame."""
    line = torch.linspace(-1, 1, 96)
    squares = [(line - places[..., axis, None]).square() for axis in (0, 1)]
    return -(squares[0][..., None, :] + squares[1][..., :, None]) / (2 * deviation**2)


def located_at(places: Tensor, deviation: float = 0.02) -> Tensor:
    return PixelAlignment.locate_joints(heatmaps_at(places, deviation))


def test_an_unconstrained_surface_moves_to_its_pixels() -> None:
    location_map, components, change, warped = scene(0)
    moved = lively(1e-6)(location_map, warped, CAMERA, components)
    torch.testing.assert_close(moved, location_map + change, rtol=0, atol=0.01)


def test_one_iteration_solves_the_least_squares_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, 'NUM_REWEIGHTINGS', 1)
    monkeypatch.setattr(alignment, 'NUM_CG_STEPS', NUM_COMPONENTS + 2)
    location_map, components, _, warped = scene(1)
    moved = lively(0.5)(location_map, warped, CAMERA, components)
    for person in range(2):
        scale = float(CAMERA[person, 0])
        rows = scale * components[: 2 * SIDE**2].double().numpy()
        projected = project_location_map(location_map, CAMERA)[person]
        error = (warped[person, :2] - projected).double().numpy().reshape(2, -1)
        seen = warped[person, 2].double().numpy().reshape(-1)
        weights = seen / (1 + (error**2).sum(0) / alignment.OUTLIER_SCALE**2) ** 2
        normal = rows.T @ (np.tile(weights, 2)[:, None] * rows) + 0.5 * np.eye(NUM_COMPONENTS)
        amounts = np.linalg.solve(normal, rows.T @ (weights * error).reshape(-1))
        expected = (components.double().numpy() @ amounts).reshape(3, SIDE, SIDE)
        np.testing.assert_allclose((moved - location_map)[person], expected, atol=1e-5)


def test_outlier_pixels_have_little_weight() -> None:
    location_map, components, change, warped = scene(2, seen_share=1.0)
    wrong = warped.clone()
    wrong[:, :2, 0] += 1.5  # one row of texels in eight
    exact, robust = (
        lively(0.01)(location_map, given_places, CAMERA, components)
        for given_places in (warped, wrong)
    )
    assert (robust - exact).abs().max() < 0.1 * change.abs().max()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), seen_share=st.floats(0, 1), stiffness=st.floats(1e-3, 1e3))
def test_texels_move_towards_their_pixels_or_stay(
    seed: int, seen_share: float, stiffness: float
) -> None:
    location_map, components, _, warped = scene(seed, seen_share)
    moved = lively(stiffness)(location_map, warped, CAMERA, components)
    assert torch.isfinite(moved).all()

    def cost(places: Tensor) -> Tensor:
        error = (warped[:, :2] - project_location_map(places, CAMERA)) * warped[:, 2:]
        squares = error.square().sum(dim=1) / alignment.OUTLIER_SCALE**2
        return (squares / (1 + squares)).sum(dim=(1, 2))

    assert (cost(moved) <= cost(location_map) + 1e-4).all()


def test_without_foreground_nothing_moves() -> None:
    location_map, components, _, warped = scene(3)
    moved = lively(0.3)(location_map, torch.zeros_like(warped), CAMERA, components)
    assert torch.equal(moved, location_map)


def test_the_mean_and_the_spread_of_a_heatmap_are_its_position_and_deviation() -> None:
    places = torch.tensor([[[0.5, -0.25], [0.0, 0.75]]])
    found = PixelAlignment.locate_joints(heatmaps_at(places, 0.05))
    torch.testing.assert_close(found[..., :2], places, rtol=0, atol=1e-3)
    torch.testing.assert_close(found[..., 2], torch.full((1, 2), 0.051), rtol=0, atol=1e-3)
    nowhere = PixelAlignment.locate_joints(torch.zeros(1, 1, 64, 64))
    torch.testing.assert_close(nowhere, torch.tensor([[[0.0, 0.0, 0.586]]]), rtol=0, atol=1e-3)


def test_joints_alone_move_the_surface() -> None:
    joints = some_joints(6)
    location_map, components, change, warped = scene(6)
    truth = projected_joints(location_map + change, joints)
    layer = lively(1e-6, **joints)
    unseen = torch.zeros_like(warped)
    moved = layer(location_map, unseen, CAMERA, components, located_at(truth))
    before, after = (
        (projected_joints(places, joints) - truth).norm(dim=-1).mean()
        for places in (location_map, moved)
    )
    assert after < 0.1 * before


def test_a_wide_heatmap_has_little_weight() -> None:
    joints = some_joints(7)
    location_map, components, _, warped = scene(7)
    layer = lively(0.01, **joints)
    unseen = torch.zeros_like(warped)
    wrong = projected_joints(location_map, joints) + 0.1
    moves = [
        (
            layer(location_map, unseen, CAMERA, components, located_at(wrong, deviation))
            - location_map
        )
        .abs()
        .mean()
        for deviation in (0.02, 1.0)
    ]
    assert moves[1] < 0.2 * moves[0]


def test_joints_that_are_where_they_were_located_change_nothing() -> None:
    joints = some_joints(8)
    location_map, components, _, warped = scene(8)
    location_map = 0.5 * location_map  # all joints in the image
    located = located_at(projected_joints(location_map, joints))
    moved = lively(0.3, **joints)(
        location_map, torch.zeros_like(warped), CAMERA, components, located
    )
    torch.testing.assert_close(moved, location_map, rtol=0, atol=2e-3)


def test_gradients_reach_the_heatmaps() -> None:
    joints = some_joints(9)
    location_map, components, change, warped = scene(9)
    layer = PixelAlignment(NUM_COMPONENTS, **joints)
    heatmaps = heatmaps_at(projected_joints(location_map + change, joints)).requires_grad_(True)
    located = PixelAlignment.locate_joints(heatmaps)
    layer(location_map, warped, CAMERA, components, located).square().sum().backward()
    assert heatmaps.grad.abs().max() > 0


def test_gradients_reach_the_layers_before_the_alignment() -> None:
    location_map, components, _, warped = scene(4)
    layer = PixelAlignment(NUM_COMPONENTS)
    location_map.requires_grad_(True)
    layer(location_map, warped, CAMERA, components).square().sum().backward()
    assert location_map.grad.abs().max() > 0 and layer.stiffness.grad.abs().min() > 0


def test_the_alignment_stays_in_float32_under_autocast() -> None:
    location_map, components, _, warped = scene(5)
    layer = lively(0.3)
    expected = layer(location_map, warped.bfloat16().float(), CAMERA, components)
    with torch.autocast('cpu', torch.bfloat16):
        found = layer(location_map, warped.bfloat16(), CAMERA, components)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
