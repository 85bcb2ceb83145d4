"""The metrics agree with slow, independent references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from decomr_core.body_models import PARENTS
from decomr_core.measures.metrics import (
    IGNORED_LABEL,
    align_similarity,
    bone_length_variation,
    bone_lengths_m,
    bootstrap_interval,
    folded_share,
    foreground_iou,
    mpjpe_mm,
    neighbor_faces,
    pa_mpjpe_mm,
    segmentation_accuracy,
    segmentation_counts,
    segmentation_f1,
    stretched_share,
    surface_error_mm,
    vertex_error_mm,
)

HIPS = (2, 3)
seeds = st.integers(0, 2**32 - 1)


def _points(seed, batch=4, count=24):
    return torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(seed)).double()


def _slow_mpjpe_mm(pred, gt, pelvis):
    """One loop per joint, in numpy."""
    total = 0.0
    for joint in range(len(pred)):
        offset = np.zeros(3)
        for hip in pelvis:
            offset += (pred[hip] - gt[hip]) / len(pelvis)
        difference = pred[joint] - gt[joint] - offset
        total += np.sqrt(difference[0] ** 2 + difference[1] ** 2 + difference[2] ** 2)
    return 1000 * total / len(pred)


def _slow_pa_mpjpe_mm(pred, gt):
    """Rotation by scipy (Kabsch), then the best scale, by least squares, and the shift."""
    pred, gt = pred - pred.mean(0), gt - gt.mean(0)
    turned = Rotation.align_vectors(gt, pred)[0].apply(pred)
    scale = (turned * gt).sum() / (turned**2).sum()
    return 1000 * np.mean(
        [np.linalg.norm(scale * one - other) for one, other in zip(turned, gt, strict=True)]
    )


@given(seeds, st.integers(4, 24), st.floats(0.01, 2.0))
@settings(max_examples=40, deadline=None)
def test_joint_errors_equal_the_slow_ones(seed, count, noise):
    gt = _points(seed, 2, count)
    pred = gt + noise * _points(seed + 1, 2, count)
    slow = [
        _slow_mpjpe_mm(one.numpy(), other.numpy(), HIPS)
        for one, other in zip(pred, gt, strict=True)
    ]
    np.testing.assert_allclose(mpjpe_mm(pred, gt, HIPS), slow, rtol=1e-9)
    slow = [
        _slow_pa_mpjpe_mm(one.numpy(), other.numpy()) for one, other in zip(pred, gt, strict=True)
    ]
    np.testing.assert_allclose(pa_mpjpe_mm(pred, gt), slow, rtol=1e-6)


@given(seeds, st.floats(0.1, 10.0))
@settings(max_examples=25, deadline=None)
def test_the_aligned_error_is_the_same_for_every_similar_prediction(seed, scale):
    gt, pred = _points(seed), _points(seed + 1)
    turn = torch.tensor(Rotation.random(4, random_state=seed).as_matrix())
    moved = scale * pred @ turn.transpose(1, 2) + 3 * _points(seed + 2, 4, 1)
    torch.testing.assert_close(pa_mpjpe_mm(moved, gt), pa_mpjpe_mm(pred, gt))
    assert mpjpe_mm(moved, gt).sub(mpjpe_mm(pred, gt)).abs().max() > 1e-3


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_errors_are_the_same_in_every_frame_and_never_below_the_aligned_one(seed):
    gt, pred = _points(seed), _points(seed + 1)
    turn = torch.tensor(Rotation.random(random_state=seed).as_matrix())
    for error in (lambda a, b: mpjpe_mm(a, b, HIPS), vertex_error_mm):
        torch.testing.assert_close(error(pred @ turn.T, gt @ turn.T), error(pred, gt))
    # The alignment has the least sum of squares, so the bound is on root mean squares.
    aligned = (align_similarity(pred, gt) - gt).square().sum(dim=(1, 2))
    centred = pred - pred.mean(1, keepdim=True) - gt + gt.mean(1, keepdim=True)
    assert (aligned <= centred.square().sum(dim=(1, 2)) + 1e-9).all()


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


def test_a_batch_scores_as_its_single_people_do():
    gt, pred = _points(20, 3), _points(21, 3)
    for error in (mpjpe_mm, pa_mpjpe_mm, vertex_error_mm):
        singles = torch.cat([error(pred[i : i + 1], gt[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(error(pred, gt), singles)


def test_mpjpe_ignores_the_position_of_the_pelvis():
    points = _points(5)
    torch.testing.assert_close(
        mpjpe_mm(points + 3, points), torch.zeros(4).double(), atol=1e-9, rtol=0
    )


def test_vertex_error_is_in_millimetres():
    points = _points(6)
    shifted = points + torch.tensor([0.003, 0.0, 0.004])
    torch.testing.assert_close(vertex_error_mm(shifted, points), torch.full((4,), 5.0).double())


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_surface_error_equals_the_slow_one(seed):
    gt, pred = _points(seed, 2, 30), _points(seed + 1, 2, 30)
    gt_joints, pred_joints = _points(seed + 2, 2, 14), _points(seed + 3, 2, 14)
    slow = []
    for person in range(2):
        distances = []
        for vertex in range(30):
            one = pred[person, vertex] - (pred_joints[person, 2] + pred_joints[person, 3]) / 2
            other = gt[person, vertex] - (gt_joints[person, 2] + gt_joints[person, 3]) / 2
            distances.append(float(np.linalg.norm((one - other).numpy())))
        slow.append(1000 * sum(distances) / len(distances))
    made = surface_error_mm(pred, gt, pred_joints, gt_joints, HIPS)
    np.testing.assert_allclose(made, slow, rtol=1e-9)


def test_iou_counts_shared_over_united_pixels():
    pred, gt = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    pred[0, 0, :2] = 1
    gt[0, 0, 1:3] = 1
    torch.testing.assert_close(foreground_iou(pred, gt), torch.tensor([1 / 3, 1.0]))


def _slow_segmentation(images, num_classes):
    """Pixel by pixel over all images: accuracy and F1 as Unite the People count them."""
    right = pixels = 0
    hits, false, missed = ([0] * num_classes for _ in range(3))
    for pred, gt in images:
        for row in range(pred.shape[0]):
            for column in range(pred.shape[1]):
                said, true = int(pred[row, column]), int(gt[row, column])
                pixels += 1
                right += said == (0 if true == IGNORED_LABEL else true)
                if true == IGNORED_LABEL:
                    continue
                if said == true:
                    hits[said] += 1
                else:
                    false[said] += 1
                    missed[true] += 1
    scores = [
        2 * hit / (2 * hit + wrong + miss)
        for hit, wrong, miss in zip(hits, false, missed, strict=True)
        if hit + wrong + miss
    ]
    return right / pixels, sum(scores) / max(len(scores), 1)  # everything may be ignored


@given(seeds, st.sampled_from([2, 7]), st.integers(1, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_segmentation_scores_equal_the_slow_ones(seed, num_classes, count, with_ignored):
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        shape = random.integers(1, 12, 2)
        gt = random.integers(0, num_classes, shape).astype(np.uint8)
        if with_ignored:
            gt[random.random(shape) < 0.3] = IGNORED_LABEL
        images.append((random.integers(0, num_classes, shape), gt))
    counts = sum(segmentation_counts(pred, gt, num_classes) for pred, gt in images)
    accuracy, f1 = _slow_segmentation(images, num_classes)
    assert segmentation_accuracy(counts) == pytest.approx(accuracy)
    assert segmentation_f1(counts) == pytest.approx(f1)


def test_a_perfect_segmentation_scores_one_whatever_is_ignored():
    gt = np.array([[0, 1, 2], [2, 1, IGNORED_LABEL]], np.uint8)
    pred = np.array([[0, 1, 2], [2, 1, 1]])
    counts = segmentation_counts(pred, gt, 3)
    assert segmentation_f1(counts) == 1
    assert segmentation_accuracy(counts) == pytest.approx(5 / 6)


def test_segmentations_of_another_size_or_class_are_rejected():
    with pytest.raises(ValueError, match=r'shape \(2, 2\), the annotation \(2, 3\)'):
        segmentation_counts(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    with pytest.raises(ValueError, match=r'classes \[9\]'):
        segmentation_counts(np.zeros((1, 2), int), np.array([[0, 9]], np.uint8), 7)
    with pytest.raises(ValueError, match='0 to 6'):
        segmentation_counts(np.array([[7, 0]]), np.zeros((1, 2), np.uint8), 7)


def test_bone_lengths_are_distances_to_the_parents():
    joints = _points(9, 3)
    lengths = bone_lengths_m(joints, PARENTS)
    slow = [
        [
            float(np.linalg.norm((person[child] - person[parent]).numpy()))
            for child, parent in enumerate(PARENTS)
            if parent >= 0
        ]
        for person in joints
    ]
    np.testing.assert_allclose(lengths, slow)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_bones_that_move_rigidly_do_not_vary(seed):
    joints = _points(seed, 1).expand(5, -1, -1)
    turns = torch.tensor(Rotation.random(5, random_state=seed).as_matrix())
    moved = joints @ turns.transpose(1, 2) + _points(seed + 1, 5, 1)
    assert bone_length_variation(bone_lengths_m(moved, PARENTS)).max() < 1e-12


def test_variation_is_the_deviation_over_the_mean_of_each_bone():
    lengths = torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 6.0]])
    torch.testing.assert_close(bone_length_variation(lengths), torch.tensor([0.0, 0.5]))
    doubled = bone_length_variation(2 * lengths)
    torch.testing.assert_close(doubled, bone_length_variation(lengths))
    with pytest.raises(ValueError, match='at least two'):
        bone_length_variation(lengths[:1])


def test_an_interval_of_a_mean_has_the_theoretical_width():
    values = np.random.default_rng(3).normal(50, 10, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(values, seed=1) != (low, high)
    narrow = bootstrap_interval(values, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_intervals_contain_the_true_mean_at_their_confidence():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        low, high = bootstrap_interval(random.exponential(1.0, 60), confidence=0.9, seed=trial)
        hits += low <= 1.0 <= high
    assert 80 <= hits <= 97


def test_an_interval_of_a_score_of_counts_resamples_whole_images():
    random = np.random.default_rng(1)
    counts = np.stack(
        [
            segmentation_counts(random.integers(0, 2, (5, 5)), random.integers(0, 2, (5, 5)), 2)
            for _ in range(30)
        ]
    )
    low, high = bootstrap_interval(counts, statistic=segmentation_accuracy)
    whole = segmentation_accuracy(counts.sum(0))
    assert low < whole < high
    # All images have one size, so the share of all pixels is the mean of the shares.
    shares = [segmentation_accuracy(one) for one in counts]
    assert bootstrap_interval(np.array(shares)) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ('values', 'confidence', 'complaint'),
    [
        ([], 0.95, 'there are 0'),
        ([1.0, np.nan], 0.95, '1 numbers are not finite'),
        ([1.0], 95, 'number between 0 and 1'),
    ],
)
def test_an_interval_of_no_values_is_rejected(values, confidence, complaint):
    with pytest.raises(ValueError, match=complaint):
        bootstrap_interval(np.array(values), confidence)


def fan(heights: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """A strip of faces over points in two rows, the second at heights, and its faces."""
    count = len(heights)
    below = torch.stack([torch.arange(count), torch.zeros(count), torch.zeros(count)], 1).double()
    above = below + torch.tensor([0.0, 1.0, 0.0])
    above[:, 2] = torch.tensor(heights)
    faces = []
    for column in range(count - 1):
        faces += [
            [column, column + 1, count + column],
            [column + 1, count + column + 1, count + column],
        ]
    return torch.cat([below, above])[None], torch.tensor(faces)


def test_a_face_is_stretched_by_its_longest_edge_against_the_true_one():
    flat, faces = fan([0, 0, 0, 0])
    assert stretched_share(flat, flat, faces).item() == 0
    pulled = flat.clone()
    pulled[0, 0, 0] -= 1  # a corner of one face alone
    assert stretched_share(pulled, flat, faces).item() == pytest.approx(1 / 6)
    assert stretched_share(1.6 * flat, flat, faces).item() == 1
    assert stretched_share(1.6 * flat, flat, faces, is_scaled=True).item() == 0
    assert stretched_share(torch.cat([flat, pulled]), flat, faces).tolist() == pytest.approx(
        [0, 1 / 6]
    )


def test_neighbours_share_an_edge():
    _, faces = fan([0, 0, 0])
    assert sorted(map(sorted, neighbor_faces(faces).tolist())) == [[0, 1], [1, 2], [2, 3]]


def test_a_fold_counts_where_the_true_surface_has_none():
    flat, faces = fan([0, 0, 0])
    neighbors = neighbor_faces(faces)
    folded = flat.clone()
    folded[0, 3] = torch.tensor([1.5, 0.5, 0.0])  # turns the second face over
    assert folded_share(flat, flat, faces, neighbors).item() == 0
    share = folded_share(folded, flat, faces, neighbors).item()
    assert share == pytest.approx(2 / 3)
    assert folded_share(folded, folded, faces, neighbors).item() == 0
