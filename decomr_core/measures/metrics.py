"""Evaluation metrics: joint, surface and segmentation errors, bone lengths, intervals.

Points are in metres in a common frame. Errors are in millimetres, one value per sample.
Segmentation follows Unite the People (Lassner et al., CVPR 2017): pixels of all images are counted
together, and F1 is the mean over the classes including the background.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from decomr_core.measures.losses import mesh_edges

__all__ = [
    'IGNORED_LABEL',
    'align_similarity',
    'bone_length_variation',
    'bone_lengths_m',
    'bootstrap_interval',
    'folded_share',
    'foreground_iou',
    'mpjpe_mm',
    'neighbor_faces',
    'pa_mpjpe_mm',
    'segmentation_accuracy',
    'segmentation_counts',
    'segmentation_f1',
    'stretched_share',
    'surface_error_mm',
    'vertex_error_mm',
]

MM_PER_M = 1000.0
IGNORED_LABEL = 255
"""Label of unannotated pixels in a part annotation; predictions there are not counted."""
STRETCHED = 1.5
"""A face is stretched if an edge is longer than the true one by more than this factor."""
NUM_RESAMPLES = 1000
"""Bootstrap resamples; the ends of a 95 % interval repeat to about a tenth of its width."""


def mpjpe_mm(pred_joints: Tensor, gt_joints: Tensor, pelvis: tuple[int, ...] = (0,)) -> Tensor:
    """Mean per joint position error with both pelvises at the origin.

    Args:
        pred_joints: (B, J, 3) metres.
        gt_joints: (B, J, 3) metres.
        pelvis: the joints whose mean is the pelvis.

    Returns:
        (B,) millimetres.
    """
    index = list(pelvis)
    pred = pred_joints - pred_joints[:, index].mean(dim=1, keepdim=True)
    gt = gt_joints - gt_joints[:, index].mean(dim=1, keepdim=True)
    return _mean_distance_mm(pred, gt)


def pa_mpjpe_mm(pred_joints: Tensor, gt_joints: Tensor) -> Tensor:
    """Mean per joint position error after optimal similarity alignment (MPJPE-PA).

    Args:
        pred_joints: (B, J, 3) metres.
        gt_joints: (B, J, 3) metres.

    Returns:
        (B,) millimetres.
    """
    return _mean_distance_mm(align_similarity(pred_joints, gt_joints), gt_joints)


def vertex_error_mm(pred_vertices: Tensor, gt_vertices: Tensor) -> Tensor:
    """Mean distance of vertices (B, V, 3), metres, without alignment; (B,) millimetres."""
    return _mean_distance_mm(pred_vertices, gt_vertices)


def surface_error_mm(
    pred_vertices: Tensor,
    gt_vertices: Tensor,
    pred_joints: Tensor,
    gt_joints: Tensor,
    pelvis: tuple[int, ...] = (0,),
) -> Tensor:
    """Mean distance of vertices with both pelvises at the origin, as for SURREAL and UP-3D.

    Args:
        pred_vertices: (B, V, 3) metres.
        gt_vertices: (B, V, 3) metres.
        pred_joints: (B, J, 3) metres, joints of the predicted mesh.
        gt_joints: (B, J, 3) metres, joints of the true mesh.
        pelvis: the joints whose mean is the pelvis.

    Returns:
        (B,) millimetres.
    """
    index = list(pelvis)
    return _mean_distance_mm(
        pred_vertices - pred_joints[:, index].mean(dim=1, keepdim=True),
        gt_vertices - gt_joints[:, index].mean(dim=1, keepdim=True),
    )


def foreground_iou(pred_iuv: Tensor, gt_iuv: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the foregrounds of two IUV images.

    Args:
        pred_iuv: (B, 3, h, w), foreground probability first.
        gt_iuv: (B, 3, h, w), foreground first.
        threshold: pixels above it are foreground.

    Returns:
        (B,) in [0, 1]; 1 if both are empty.
    """
    pred, gt = pred_iuv[:, 0] > threshold, gt_iuv[:, 0] > threshold
    union = (pred | gt).sum(dim=(1, 2))
    shared = (pred & gt).sum(dim=(1, 2))
    return torch.where(union > 0, shared / union.clamp(min=1), torch.ones_like(shared / 1))


def align_similarity(points: Tensor, target: Tensor) -> Tensor:
    """Aligns points to a target by the least squares rotation, scale and translation.

    The closed form of Umeyama (1991), without reflections.

    Args:
        points: (B, K, 3).
        target: (B, K, 3).

    Returns:
        (B, K, 3) the points in the target's frame.
    """
    points_mean = points.mean(dim=1, keepdim=True)
    target_mean = target.mean(dim=1, keepdim=True)
    centred = points - points_mean
    u, singular, vt = torch.linalg.svd(centred.transpose(1, 2) @ (target - target_mean))
    signs = torch.ones_like(singular)
    signs[:, 2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    rotation = (u * signs[:, None]) @ vt
    variance = centred.square().sum(dim=(1, 2)).clamp(min=torch.finfo(points.dtype).tiny)
    scale = (singular * signs).sum(dim=1) / variance
    return scale[:, None, None] * (centred @ rotation) + target_mean


def segmentation_counts(pred: np.ndarray, gt: np.ndarray, num_classes: int) -> np.ndarray:
    """The confusion matrix of the pixels of one image; matrices of several images add up.

    Pixels annotated with `IGNORED_LABEL` have their own row, because the two metrics treat them
    differently.

    Args:
        pred: (H, W) integer classes, 0 for the background.
        gt: (H, W) integer classes or `IGNORED_LABEL`.
        num_classes: N, including the background.

    Returns:
        (N + 1, N) int64 pixels by annotated class (ignored ones last) and predicted class.

    Raises:
        ValueError: the sizes differ, or a class is out of range.
    """
    if pred.shape != gt.shape:
        raise ValueError(
            f'the prediction has shape {pred.shape}, the annotation {gt.shape}; both '
            'must belong to the same image'
        )
    rows = np.where(gt == IGNORED_LABEL, num_classes, gt.astype(np.int64))
    known = (gt == IGNORED_LABEL) | ((rows >= 0) & (rows < num_classes))
    if not known.all() or pred.min(initial=0) < 0 or pred.max(initial=0) >= num_classes:
        classes = np.unique(gt[~known] if not known.all() else pred)
        raise ValueError(
            f'classes {classes[:5].tolist()} are not all in 0 to {num_classes - 1}'
            f'{"" if known.all() else f" or {IGNORED_LABEL}"}'
        )
    flat = rows.ravel() * num_classes + pred.ravel().astype(np.int64)
    shape = num_classes + 1, num_classes
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def segmentation_accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of correctly classified pixels (...,), in [0, 1].

    An ignored pixel counts as background, as in the evaluation of Unite the People.

    Args:
        counts: (..., N + 1, N) sums or means of `segmentation_counts`.
    """
    classes = counts[..., :-1, :]
    right = np.trace(classes, axis1=-2, axis2=-1) + counts[..., -1, 0]
    return right / np.maximum(counts.sum(axis=(-2, -1)), np.finfo(np.float64).tiny)


def segmentation_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 (...,) over the classes including the background, without ignored pixels.

    The mean excludes classes that are in neither the annotations nor the predictions.

    Args:
        counts: (..., N + 1, N) sums or means of `segmentation_counts`.
    """
    classes = counts[..., :-1, :]
    hits = np.diagonal(classes, axis1=-2, axis2=-1)
    either = classes.sum(axis=-1) + classes.sum(axis=-2)  # 2 tp + fp + fn
    with np.errstate(invalid='ignore', divide='ignore'):
        f1 = np.where(either > 0, 2 * hits / either, np.nan)
    exists = (either > 0).sum(axis=-1)
    return np.nansum(f1, axis=-1) / np.maximum(exists, 1)


def stretched_share(
    vertices: Tensor, true_vertices: Tensor, faces: Tensor, is_scaled: bool = False
) -> Tensor:
    """Share of a mesh's faces with an edge more than 1.5 times as long as the true edge.

    Args:
        vertices: (B, V, 3) metres.
        true_vertices: (B, V, 3) metres, or (1, V, 3), the template, if the truth is unknown.
        faces: (F, 3).
        is_scaled: whether the true edges are first scaled to the mesh, by the median ratio.

    Returns:
        (B,) shares.
    """
    lengths, true_lengths = (
        mesh_edges(points, faces).norm(dim=-1).flatten(1) for points in (vertices, true_vertices)
    )
    ratios = lengths / true_lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
    if is_scaled:
        ratios = ratios / ratios.median(dim=1, keepdim=True).values
    return (ratios.unflatten(1, (-1, 3)).amax(dim=-1) > STRETCHED).float().mean(dim=1)


def neighbor_faces(faces: Tensor) -> Tensor:
    """(P, 2) pairs of faces (F, 3) that share an edge, of a manifold surface."""
    edges = torch.stack([faces, faces.roll(-1, dims=1)], dim=-1).sort(dim=-1).values
    _, edge, counts = edges.flatten(0, 1).unique(dim=0, return_inverse=True, return_counts=True)
    order = edge.argsort(stable=True)
    is_shared = counts[edge[order]] == 2
    return (order[is_shared] // 3).reshape(-1, 2)


def folded_share(
    vertices: Tensor, true_vertices: Tensor, faces: Tensor, neighbors: Tensor
) -> Tensor:
    """Share of adjacent faces that are folded although they are not folded in the true mesh.

    Two faces are folded if the angle between their normals exceeds 90 degrees.

    Args:
        vertices: (B, V, 3).
        true_vertices: (B, V, 3), or (1, V, 3), the template, if the truth is unknown.
        faces: (F, 3).
        neighbors: (P, 2), from `neighbor_faces`.

    Returns:
        (B,) shares of the P pairs.
    """
    is_folded, should_be = (
        _is_folded(points, faces, neighbors) for points in (vertices, true_vertices)
    )
    return (is_folded & ~should_be).float().mean(dim=1)


def _is_folded(vertices: Tensor, faces: Tensor, neighbors: Tensor) -> Tensor:
    edges = mesh_edges(vertices, faces)
    normals = torch.linalg.cross(edges[..., 0, :], edges[..., 1, :])
    return (normals[:, neighbors[:, 0]] * normals[:, neighbors[:, 1]]).sum(dim=-1) < 0


def bone_lengths_m(joints: Tensor, parents: tuple[int, ...]) -> Tensor:
    """Distances from joints to their parents.

    Args:
        joints: (B, J, 3) metres.
        parents: J parents, -1 for a root.

    Returns:
        (B, bones) metres, one bone per joint with a parent, in the order of the joints.
    """
    children = [joint for joint, parent in enumerate(parents) if parent >= 0]
    return (joints[:, children] - joints[:, [parents[child] for child in children]]).norm(dim=-1)


def bone_length_variation(lengths: Tensor) -> Tensor:
    """Variation of bone lengths over a track; 0 for rigid bones.

    Args:
        lengths: (B, bones) of one person in B images (`bone_lengths_m`), or of several people
            with each length divided by the true one.

    Returns:
        (bones,) coefficient of variation: standard deviation over mean.

    Raises:
        ValueError: there are fewer than two images.
    """
    if len(lengths) < 2:
        raise ValueError(f'there are {len(lengths)} images; a variation needs at least two')
    mean = lengths.mean(dim=0)
    return lengths.std(dim=0) / mean.clamp(min=torch.finfo(lengths.dtype).tiny)


def bootstrap_interval(
    values: np.ndarray,
    confidence: float = 0.95,
    seed: int = 0,
    statistic: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[float, float]:
    """A confidence interval of a score, by percentile bootstrap over the images.

    Args:
        values: (K, ...) one value or one array of counts per image.
        confidence: share of the resampled scores inside the interval.
        seed: seed of the resampling; equal values give equal intervals.
        statistic: computes the score (M,) from M resampled means (M, ...); None: the mean itself.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: there are no values, a value is not finite, or the confidence is not in (0, 1).
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(
            f'an interval needs finite values; there are {len(values)} values, of '
            f'which {int((~np.isfinite(values)).sum())} numbers are not finite'
        )
    if not 0 < confidence < 1:
        raise ValueError(f'confidence is {confidence}, expected a number between 0 and 1')
    rng = np.random.default_rng(seed)
    count = len(values)
    flat = values.reshape(count, -1)
    means = (
        np.stack(
            [
                np.bincount(rng.integers(count, size=count), minlength=count) @ flat
                for _ in range(NUM_RESAMPLES)
            ]
        )
        / count
    )
    means = means.reshape(NUM_RESAMPLES, *values.shape[1:])
    scores = means if statistic is None else statistic(means)
    tail = (1 - confidence) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)


def _mean_distance_mm(pred: Tensor, gt: Tensor) -> Tensor:
    return (pred - gt).norm(dim=-1).mean(dim=-1) * MM_PER_M
