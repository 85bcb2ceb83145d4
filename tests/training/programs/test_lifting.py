"""Estimates of rendered people, and the lifting head that learns from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from decomr_core.base.config import network_config
from decomr_core.body_models import BodyModel
from decomr_core.geometry.crop import network_input
from decomr_core.networks.checkpoint import load_network, save_checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.lnet import Pose
from decomr_core.uv.uv_map import UVMap
from training.lifting import (
    LiftingOptions,
    lifted_error_mm,
    simulate,
    train_lifting,
    with_errors,
    with_lifting,
)
from training.loop import pose_components
from training.pose_estimates import (
    ComponentFit,
    PoseEstimates,
    estimate_poses,
    estimator_hash,
    read_estimates,
    write_estimates,
)
from training.synthetic import shards
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import SyntheticConfig

NUM_COMPONENTS = 8
PEOPLE_IN_FILE = 4


@pytest.fixture
def network(tiny_body: BodyModel, tiny_uv_map: UVMap) -> DecoMR:
    torch.manual_seed(0)
    config = dataclasses.replace(
        network_config('small'),
        uv_resolution=16,
        location_map_resolution=16,
        pose_components=NUM_COMPONENTS,
        joint_heatmaps=True,
    )
    return DecoMR(config, tiny_body, tiny_uv_map).eval()


@pytest.fixture
def people(tiny_body: BodyModel, tiny_uv_map: UVMap) -> SyntheticPeople:
    return SyntheticPeople(SyntheticConfig(size=256, batch_size=2), tiny_body, tiny_uv_map, 5)


def some_estimates(count: int, seed: int) -> PoseEstimates:
    """Estimates with errors, those of the pose larger than those of the joints."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=random)

    coefficients, camera = normal(NUM_COMPONENTS), torch.tensor([0.9, 0.0, 0.0]).expand(count, 3)
    joints_2d = torch.cat([0.3 * normal(24, 2), torch.ones(count, 24, 1)], dim=2)
    spread = torch.full((count, 24, 1), 0.02)
    return PoseEstimates(
        torch.cat([joints_2d[..., :2] + 0.02 * normal(24, 2), spread], dim=2),
        coefficients + 0.5 * normal(NUM_COMPONENTS),
        camera + 0.02 * normal(3),
        coefficients,
        camera.clone(),
        0.3 * normal(24, 3),
        joints_2d,
    )


def test_the_fit_returns_the_coefficients_of_a_posed_map(network: DecoMR) -> None:
    coefficients = torch.randn(3, NUM_COMPONENTS)
    with torch.inference_mode():
        torch.nn.init.normal_(network.lnet.posed_head.last.weight)
        change = network.lnet.posed_change(coefficients)
        found = ComponentFit(network)(network.lnet.reference_location_map + change)
    torch.testing.assert_close(found, coefficients, atol=1e-4, rtol=1e-4)


def test_estimates_are_what_the_network_predicts(
    network: DecoMR, people: SyntheticPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, 'SHARD_PEOPLE', PEOPLE_IN_FILE)
    write_estimates(network, people, 2 * PEOPLE_IN_FILE, tmp_path)
    kept = read_estimates([tmp_path], estimator_hash(network))
    assert len(kept) == 2 * PEOPLE_IN_FILE
    batch = people.batch(3)  # the second one of the second file
    torch.testing.assert_close(kept.joints[-2:], batch.joints)
    with torch.inference_mode():
        output = network(network_input(batch.images))
    torch.testing.assert_close(kept.camera[-2:], output.camera)
    again = estimate_poses(network, ComponentFit(network), batch)
    torch.testing.assert_close(kept.located[-2:], again.located)
    with pytest.raises(ValueError, match='another estimator'):
        read_estimates([tmp_path], 'x')
    with pytest.raises(FileNotFoundError, match=r'training\.pose_estimates'):
        read_estimates([tmp_path / 'none'], 'x')


def test_people_who_are_not_rendered_are_those_of_the_renderer(
    network: DecoMR, people: SyntheticPeople
) -> None:
    bodies, batch = people.framed_bodies(4, 2), people.batch(4)
    torch.testing.assert_close(bodies.vertices, batch.vertices)
    torch.testing.assert_close(bodies.joints_2d, batch.joints_2d)
    torch.testing.assert_close(bodies.camera, batch.camera)
    exact = simulate(people, ComponentFit(network), 3)
    torch.testing.assert_close(exact.located[..., :2], exact.joints_2d[..., :2])


def test_simulated_people_get_the_errors_of_rendered_ones() -> None:
    exact, rendered = some_estimates(5, 0), some_estimates(5, 1)
    made = with_errors(exact, rendered)
    shift = rendered.located[..., :2] - rendered.joints_2d[..., :2]
    expected = (exact.joints_2d[..., :2] + shift).clamp(-1, 1)
    torch.testing.assert_close(made.located[..., :2], expected)
    torch.testing.assert_close(
        made.coefficients - exact.true_coefficients,
        rendered.coefficients - rendered.true_coefficients,
    )
    torch.testing.assert_close(
        made.camera - exact.true_camera, rendered.camera - rendered.true_camera
    )
    assert torch.equal(made.joints, exact.joints)


@pytest.mark.full_size
def test_training_lowers_the_error_and_changes_the_lifting_head_alone(
    network: DecoMR,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    people: SyntheticPeople,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pose_components, 'NUM_BODIES', 250)
    pose_components.init_pose_components(network, people)
    exact = simulate(people, ComponentFit(network), 250)
    lifted = with_lifting(network, tiny_body, tiny_uv_map)
    rendered = with_errors(exact, some_estimates(len(exact), 2))
    kept = {name: value.clone() for name, value in lifted.state_dict().items()}
    train_lifting(
        lifted,
        tiny_body,
        tiny_uv_map,
        rendered,
        exact,
        LiftingOptions(steps=300, batch_size=64, pose_dropout=0.1),
    )
    before, after = lifted_error_mm(lifted, tiny_body, tiny_uv_map, rendered)
    assert after < 0.9 * before
    changed = {
        name for name, value in lifted.state_dict().items() if not torch.equal(value, kept[name])
    }
    assert changed
    assert all(name.startswith('lifting.') for name in changed)


def test_a_network_without_the_head_gets_one_that_changes_nothing(
    network: DecoMR, tiny_body: BodyModel, tiny_uv_map: UVMap, tmp_path: Path
) -> None:
    lifted = with_lifting(network, tiny_body, tiny_uv_map)
    assert lifted.lifting is not None
    assert estimator_hash(lifted) == estimator_hash(network)
    assert with_lifting(lifted, tiny_body, tiny_uv_map) is lifted
    pose = Pose(torch.randn(2, NUM_COMPONENTS), torch.randn(2, 3))
    same = lifted.lifting(pose, torch.rand(2, 24, 3))
    assert torch.equal(same.coefficients, pose.coefficients)
    path = tmp_path / 'lifted.safetensors'
    save_checkpoint(path, lifted, {})
    assert load_network(path, tiny_body, tiny_uv_map).lifting is not None


def test_networks_without_joints_and_invalid_options_are_rejected(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    without = DecoMR(network_config('small'), tiny_body, tiny_uv_map)
    with pytest.raises(ValueError, match='does not locate joints'):
        with_lifting(without, tiny_body, tiny_uv_map)
    with pytest.raises(ValueError, match='no pose components'):
        ComponentFit(without)
    for wrong in ({'steps': 0}, {'simulated_share': 1.5}, {'pose_dropout': 1.0}):
        with pytest.raises(ValueError, match='must be'):
            LiftingOptions(**wrong)
    with pytest.raises(ValueError, match='weight_decay'):
        LiftingOptions(weight_decay=-1.0)
