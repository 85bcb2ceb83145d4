"""The lifting head: joints in the image change the pose and the camera."""

from __future__ import annotations

import torch
from small_networks import POSED, small_config

from decomr_core.body_models import BodyModel
from decomr_core.geometry.crop import network_input
from decomr_core.networks import DecoMR
from decomr_core.networks.lifting import LiftingHead
from decomr_core.networks.lnet import Pose
from decomr_core.uv.uv_map import UVMap

NUM_JOINTS, NUM_COMPONENTS = 24, 8


def some_pose(count: int = 3) -> tuple[Pose, torch.Tensor]:
    """Coefficients and cameras of people, and joints with narrow heatmaps."""
    located = torch.rand(count, NUM_JOINTS, 3)
    located = torch.cat([2 * located[..., :2] - 1, 0.02 * located[..., 2:]], dim=2)
    return Pose(torch.randn(count, NUM_COMPONENTS), torch.randn(count, 3)), located


def awake(head: LiftingHead) -> LiftingHead:
    torch.nn.init.normal_(head.head.last.weight, std=0.1)
    return head.eval()


def test_a_new_head_changes_nothing() -> None:
    pose, located = some_pose()
    lifted = LiftingHead(NUM_COMPONENTS, 16)(pose, located)
    assert torch.equal(lifted.coefficients, pose.coefficients)
    assert torch.equal(lifted.camera, pose.camera)


def test_the_pose_depends_on_the_joints_and_less_on_uncertain_ones() -> None:
    torch.manual_seed(0)
    head = awake(LiftingHead(NUM_COMPONENTS, 16))
    pose, located = some_pose()
    moved = located.clone()
    moved[:, 5, :2] += 0.3
    lifted, changed = (head(pose, joints) for joints in (located, moved))
    assert (lifted.coefficients - changed.coefficients).abs().max() > 1e-3
    assert (lifted.camera - changed.camera).abs().max() > 1e-4
    uncertain = located.clone()
    uncertain[:, 5, 2] = 1.0
    assert not torch.allclose(head(pose, uncertain).coefficients, lifted.coefficients)


def test_the_network_lifts_with_its_own_joints(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    torch.manual_seed(0)
    config = small_config('rt', **POSED, lifting_features=16)
    network = DecoMR(config, tiny_body, tiny_uv_map).eval()
    assert network.lifting in network.pose_layers
    images = network_input(torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8))
    with torch.inference_mode():
        before = network(images)
        torch.nn.init.normal_(network.lifting.head.last.weight, std=0.1)
        after = network(images)
    assert torch.equal(before.iuv, after.iuv)
    assert (before.vertices - after.vertices).abs().max() > 1e-3
    assert (before.camera - after.camera).abs().max() > 1e-4


def test_gradients_reach_heatmaps_and_first_pose(tiny_body: BodyModel, tiny_uv_map: UVMap) -> None:
    torch.manual_seed(0)
    config = small_config('rt', **POSED, lifting_features=16)
    network = DecoMR(config, tiny_body, tiny_uv_map).train()
    torch.nn.init.normal_(network.lifting.head.last.weight, std=0.1)
    images = network_input(torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8))
    network(images).camera.square().sum().backward()
    for layer in (network.cnet.joint_head, network.lnet.posed_head, network.lnet.camera_head):
        assert next(layer.parameters()).grad.abs().max() > 0


def test_without_joint_heatmaps_there_is_no_lifting(
    tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    config = small_config('rt', **POSED, lifting_features=16, joint_heatmaps=False)
    assert DecoMR(config, tiny_body, tiny_uv_map).lifting is None
