"""The losses: parity with the official ones, sample weights, gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from decomr_core import losses

PARITY = Path(__file__).parents[1] / 'data' / 'parity' / 'parity_losses.npz'


@pytest.fixture(scope='module')
def official():
    return {name: torch.tensor(value) for name, value in np.load(PARITY).items()}


def _computed(data):
    pred_map = data['pred_location_map'].permute(0, 3, 1, 2)
    gt_map = data['gt_location_map'].permute(0, 3, 1, 2)
    gt_2d, gt_3d = data['gt_joints2d'], data['gt_joints3d']
    return {
        'map': losses.location_map_loss(pred_map, gt_map, data['weight_map']),
        'mask': losses.mask_loss(data['pred_iuv'], data['gt_iuv']),
        'uv': losses.uv_loss(data['pred_iuv'], data['gt_iuv']),
        'joints2d': losses.joints_2d_loss(data['pred_joints2d'], gt_2d[..., :2], gt_2d[..., 2]),
        'joints3d': losses.joints_3d_loss(
            data['pred_joints3d'], gt_3d[..., :3], gt_3d[..., 3], pelvis=(2, 3)
        ),
        'consistency': losses.consistency_loss(
            data['gt_iuv'], pred_map, data['camera'], align_corners=True
        ),
        'tv': losses.total_variation_loss(pred_map),
    }


@pytest.mark.parametrize(
    'name', ['map', 'mask', 'uv', 'joints2d', 'joints3d', 'consistency', 'tv']
)
def test_a_loss_equals_the_official_one(official, name):
    torch.testing.assert_close(_computed(official)[name], official[f'loss_{name}'],
                               rtol=1e-5, atol=1e-6)


def _random_case(batch=3):
    generator = torch.Generator().manual_seed(7)
    iuv = torch.rand(batch, 3, 8, 8, generator=generator)
    return {
        'mask': (losses.mask_loss, (iuv, iuv.roll(1, 0).round())),
        'uv': (losses.uv_loss, (iuv, iuv.roll(1, 0))),
        'map': (losses.location_map_loss, (iuv, iuv.roll(1, 0), torch.rand(8, 8))),
        'consistency': (losses.consistency_loss, (iuv, iuv.roll(1, 0), torch.rand(batch, 3))),
        'variation': (losses.total_variation_loss, (iuv,)),
    }


@pytest.mark.parametrize('name', ['mask', 'uv', 'map', 'consistency', 'variation'])
def test_a_sample_weight_of_zero_leaves_exactly_that_sample_out(name):
    loss, arguments = _random_case()[name]
    arguments = tuple(argument.clone().requires_grad_() if i == 0 else argument
                      for i, argument in enumerate(arguments))
    loss(*arguments, sample_weights=torch.tensor([1.0, 0.0, 2.0])).backward()
    gradients = arguments[0].grad.flatten(1).abs().sum(dim=1)
    assert gradients[0] > 0
    assert gradients[1] == 0
    assert gradients[2] > 0


def test_a_location_map_that_lands_on_its_pixels_has_no_consistency_loss():
    """An orthographic plane: texel (u, v) is seen at the pixel whose crop position it holds."""
    size = 16
    centres = (2 * torch.arange(size) + 1) / size - 1
    x, y = torch.meshgrid(centres, centres, indexing='xy')
    iuv = torch.stack((torch.ones_like(x), (x + 1) / 2, (y + 1) / 2))[None]
    axis = torch.linspace(-1, 1, 32)
    map_x, map_y = torch.meshgrid(axis, axis, indexing='xy')
    location_map = torch.stack((map_x / 2 - 0.3, map_y / 2 + 0.1, torch.zeros_like(map_x)))[None]
    camera = torch.tensor([[2.0, 0.3, -0.1]])
    assert losses.consistency_loss(iuv, location_map, camera) < 1e-10
    assert losses.consistency_loss(iuv, location_map, camera + 0.1) > 1e-3


def test_projection_follows_the_camera_contract():
    points = torch.tensor([[[0.5, -0.2, 9.0]]])
    camera = torch.tensor([[2.0, 0.1, 0.3]])
    torch.testing.assert_close(
        losses.project_weak_perspective(points, camera), torch.tensor([[[1.2, 0.2]]])
    )
