"""The losses: parity with the official ones, sample weights, gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from decomr_core.measures import losses

PARITY = Path(__file__).parents[2] / 'data' / 'parity' / 'parity_losses.npz'


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
    torch.testing.assert_close(
        _computed(official)[name], official[f'loss_{name}'], rtol=1e-5, atol=1e-6
    )


def _random_case(batch=3):
    generator = torch.Generator().manual_seed(7)
    iuv = torch.rand(batch, 3, 8, 8, generator=generator)
    return {
        'mask': (losses.mask_loss, (iuv, iuv.roll(1, 0).round())),
        'overlap': (losses.mask_overlap_loss, (iuv, iuv.roll(1, 0).round())),
        'uv': (losses.uv_loss, (iuv, iuv.roll(1, 0))),
        'map': (losses.location_map_loss, (iuv, iuv.roll(1, 0), torch.rand(8, 8))),
        'consistency': (losses.consistency_loss, (iuv, iuv.roll(1, 0), torch.rand(batch, 3))),
        'variation': (losses.total_variation_loss, (iuv,)),
    }


@pytest.mark.parametrize('name', ['mask', 'overlap', 'uv', 'map', 'consistency', 'variation'])
def test_a_sample_weight_of_zero_leaves_exactly_that_sample_out(name):
    loss, arguments = _random_case()[name]
    arguments = tuple(
        argument.clone().requires_grad_() if i == 0 else argument
        for i, argument in enumerate(arguments)
    )
    loss(*arguments, sample_weights=torch.tensor([1.0, 0.0, 2.0])).backward()
    gradients = arguments[0].grad.flatten(1).abs().sum(dim=1)
    assert gradients[0] > 0
    assert gradients[1] == 0
    assert gradients[2] > 0


def test_the_overlap_of_masks_is_their_intersection_over_union():
    iuv = torch.zeros(3, 3, 64, 64)
    iuv[:2, 0, 10:50, 10:30] = 1  # the third image has no foreground
    shifted = iuv.roll(10, -1)
    assert losses.mask_overlap_loss(iuv, iuv) == 0
    loss = losses.mask_overlap_loss(iuv, shifted, sample_weights=torch.tensor([1.0, 1.0, 0.0]))
    assert float(loss) == pytest.approx(2 / 3 * (1 - 1 / 3), abs=1e-3)


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


def test_the_spread_of_a_joint_learns_half_of_its_distance():
    truth, distance = torch.zeros(1, 1, 2), 0.3
    spreads = torch.linspace(0.05, 0.5, 91)
    values = [
        losses.joint_location_loss(torch.tensor([[[distance, 0.0, float(spread)]]]), truth)
        for spread in spreads
    ]
    assert float(spreads[int(torch.stack(values).argmin())]) == pytest.approx(0.15, abs=0.006)


def test_joints_have_finite_gradients_where_they_are_exact_and_far_outside():
    located = torch.tensor([[[0.0, 0.0, 0.01], [0.0, 0.0, 0.5]]], requires_grad=True)
    truth = torch.tensor([[[0.0, 0.0], [40.0, 0.0]]])
    losses.joint_location_loss(located, truth).backward()
    assert located.grad.isfinite().all()
    assert located.grad[0, 1, 2].abs() < 10


def test_projection_follows_the_camera_contract():
    points = torch.tensor([[[0.5, -0.2, 9.0]]])
    camera = torch.tensor([[2.0, 0.1, 0.3]])
    torch.testing.assert_close(
        losses.project_to_crop(points, camera), torch.tensor([[[1.2, 0.2]]])
    )


def _edge_loss(loss, pred, gt, faces, sample_weights=None):
    return loss(losses.mesh_edges(pred, faces), losses.mesh_edges(gt, faces), sample_weights)


def _meshes():
    """Two meshes (2, 5, 3) of four faces, far from each other in shape."""
    generator = torch.Generator().manual_seed(3)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [1, 2, 4], [2, 3, 4]])
    pred, gt = torch.randn(2, 2, 5, 3, generator=generator, dtype=torch.float64).float()
    return pred, gt, faces


def test_the_losses_of_edges_equal_their_definitions():
    pred, gt, faces = _meshes()
    lengths, cosines = [], []
    for mesh in range(2):
        for face in faces.tolist():
            corners = gt[mesh, face]
            normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
            for start, end in zip(face, face[1:] + face[:1], strict=True):
                said, true = (points[mesh, end] - points[mesh, start] for points in (pred, gt))
                lengths.append((said.norm() - true.norm()).abs())
                cosines.append((said @ normal).abs() / said.norm() / normal.norm())
    torch.testing.assert_close(
        _edge_loss(losses.edge_length_loss, pred, gt, faces), torch.stack(lengths).mean()
    )
    torch.testing.assert_close(
        _edge_loss(losses.edge_normal_loss, pred, gt, faces), torch.stack(cosines).mean()
    )


def test_the_edge_losses_ignore_translation_but_not_tearing():
    _, gt, faces = _meshes()
    moved = gt + torch.tensor([1.0, -2.0, 3.0])
    assert _edge_loss(losses.edge_length_loss, moved, gt, faces) < 1e-5
    assert _edge_loss(losses.edge_normal_loss, moved, gt, faces) < 1e-5
    torn = gt.clone()
    torn[:, 4] += 1.0
    assert _edge_loss(losses.edge_length_loss, torn, gt, faces) > 0.05
    assert _edge_loss(losses.edge_normal_loss, torn, gt, faces) > 0.05


def test_zero_length_edges_have_finite_gradients_and_unknown_meshes_none():
    _, gt, faces = _meshes()
    for loss in (losses.edge_length_loss, losses.edge_normal_loss):
        flat = torch.zeros_like(gt).requires_grad_()
        _edge_loss(loss, flat, gt, faces).backward()
        assert flat.grad.isfinite().all()
        pred = torch.randn_like(gt).requires_grad_()
        _edge_loss(loss, pred, gt, faces, torch.tensor([1.0, 0.0])).backward()
        assert pred.grad[0].abs().sum() > 0 and not pred.grad[1].any()
