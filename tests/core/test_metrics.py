"""The scores agree with slow, independent references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from decomr_core.metrics import (
    align_similarity,
    foreground_iou,
    mpjpe_mm,
    pa_mpjpe_mm,
    vertex_error_mm,
)


def _points(seed, batch=4, count=24):
    return torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(seed)).double()


def test_a_similarity_transform_costs_nothing_after_alignment():
    points = _points(0)
    rotation = torch.tensor(Rotation.random(4, random_state=1).as_matrix())
    moved = 1.7 * points @ rotation.transpose(1, 2) + torch.tensor([0.3, -2.0, 5.0])
    assert pa_mpjpe_mm(moved, points).max() < 1e-6
    assert mpjpe_mm(moved, points).min() > 100


def test_alignment_never_mirrors():
    points = _points(2)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    assert pa_mpjpe_mm(mirrored, points).min() > 50


@pytest.mark.parametrize('seed', range(3))
def test_aligned_disparity_equals_the_one_scipy_finds(seed):
    # Close to the target, so that scipy (which allows reflections) needs none.
    target = _points(seed, batch=1)
    points = target + 0.1 * _points(seed + 10, batch=1)
    aligned = align_similarity(points, target)[0].numpy()
    expected = procrustes(target[0].numpy(), points[0].numpy())[2]
    centred = target[0].numpy() - target[0].numpy().mean(axis=0)
    ours = np.square(aligned - target[0].numpy()).sum() / np.square(centred).sum()
    assert ours == pytest.approx(expected, rel=1e-6)


def test_mpjpe_ignores_where_the_pelvis_is():
    points = _points(5)
    torch.testing.assert_close(
        mpjpe_mm(points + 3, points), torch.zeros(4).double(), atol=1e-9, rtol=0
    )


def test_vertex_error_is_in_millimetres():
    points = _points(6)
    shifted = points + torch.tensor([0.003, 0.0, 0.004])
    torch.testing.assert_close(vertex_error_mm(shifted, points), torch.full((4,), 5.0).double())


def test_iou_counts_shared_over_united_pixels():
    pred, gt = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    pred[0, 0, :2] = 1
    gt[0, 0, 1:3] = 1
    torch.testing.assert_close(foreground_iou(pred, gt), torch.tensor([1 / 3, 1.0]))
