"""Scores of the field: joint, vertex and silhouette errors, one value per sample.

All points are in metres and in one frame; errors come back in millimetres.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ['align_similarity', 'foreground_iou', 'mpjpe_mm', 'pa_mpjpe_mm', 'vertex_error_mm']

MM_PER_M = 1000.0


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
    """Mean per joint position error after the best similarity transform (MPJPE-PA).

    Args:
        pred_joints: (B, J, 3) metres.
        gt_joints: (B, J, 3) metres.

    Returns:
        (B,) millimetres.
    """
    return _mean_distance_mm(align_similarity(pred_joints, gt_joints), gt_joints)


def vertex_error_mm(pred_vertices: Tensor, gt_vertices: Tensor) -> Tensor:
    """Mean distance of vertices (B, V, 3), metres, as they are; (B,) millimetres."""
    return _mean_distance_mm(pred_vertices, gt_vertices)


def foreground_iou(pred_iuv: Tensor, gt_iuv: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the foregrounds of two IUV images.

    Args:
        pred_iuv: (B, 3, h, w), foreground probability first.
        gt_iuv: (B, 3, h, w), foreground first.
        threshold: what counts as foreground.

    Returns:
        (B,) in [0, 1]; 1 where both are empty.
    """
    pred, gt = pred_iuv[:, 0] > threshold, gt_iuv[:, 0] > threshold
    union = (pred | gt).sum(dim=(1, 2))
    shared = (pred & gt).sum(dim=(1, 2))
    return torch.where(union > 0, shared / union.clamp(min=1), torch.ones_like(shared / 1))


def align_similarity(points: Tensor, target: Tensor) -> Tensor:
    """Moves points by the rotation, scale and shift that bring them nearest to the target.

    The closed form of Umeyama (1991), reflections excluded.

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


def _mean_distance_mm(pred: Tensor, gt: Tensor) -> Tensor:
    return (pred - gt).norm(dim=-1).mean(dim=-1) * MM_PER_M
