"""The principal components that a posed reference map begins with."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import UVMap
from training.loop import pose_components
from training.loop.pose_components import init_pose_components, principal_components
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import SyntheticConfig


def test_components_reproduce_samples_of_their_rank_and_have_their_length() -> None:
    torch.manual_seed(0)
    scales = torch.tensor([4.0, 2.0, 1.0])
    samples = torch.randn(2000, 3) * scales @ torch.linalg.qr(torch.randn(20, 3))[0].T + 5
    mean, components = principal_components(samples, 3)
    torch.testing.assert_close(components.norm(dim=0), scales, rtol=0.1, atol=0)
    inputs = (samples - mean) @ torch.linalg.pinv(components).T
    torch.testing.assert_close(inputs @ components.T + mean, samples, rtol=0, atol=1e-3)
    torch.testing.assert_close(inputs.std(dim=0), torch.ones(3), rtol=0.02, atol=0)


def test_more_components_than_samples_have_are_zero() -> None:
    mean, components = principal_components(torch.randn(4, 6), 10)
    assert mean.shape == (6,) and components.shape == (6, 10)
    assert not components[:, 6:].any() and components[:, :3].any(dim=0).all()


def test_the_components_pose_the_surface(
    tiny_body: BodyModel, tiny_uv_map: UVMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pose_components, 'NUM_BODIES', 500)
    config = dataclasses.replace(network_config('rt'), pose_components=64)
    network = DecoMR(config, tiny_body, tiny_uv_map).eval()
    people = SyntheticPeople(SyntheticConfig(), tiny_body, tiny_uv_map, seed=3)
    init_pose_components(network, people)
    truth = people.vertices(1000, 20)
    layer = network.lnet.posed_head[-1]
    change = (
        network.location_mapper.location_map_from_vertices(truth)
        - network.lnet.reference_location_map
    ).flatten(1) - layer.bias
    inputs = change @ torch.linalg.pinv(layer.weight).T
    rebuilt = layer(inputs).reshape(20, 3, 32, 32) + network.lnet.reference_location_map
    vertices = network.location_mapper.vertices_from_location_map(rebuilt)
    read_back = network.location_mapper.vertices_from_location_map(
        network.location_mapper.location_map_from_vertices(truth)
    )
    assert (vertices - read_back).norm(dim=-1).mean() < 0.03
    still = network.lnet.reference_location_map + layer.bias.reshape(3, 32, 32)
    still = network.location_mapper.vertices_from_location_map(still)
    assert (still - read_back).norm(dim=-1).mean() > 0.2, 'the mean alone is far from a pose'
    assert inputs.square().mean() < 4


def test_bodies_are_those_of_the_rendered_batch(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    people = SyntheticPeople(SyntheticConfig(size=64, batch_size=3), tiny_body, tiny_uv_map, 5)
    torch.testing.assert_close(people.vertices(2, 3), people.batch(2).vertices)
