"""The losses of the paper (section 3.4 and supplementary), as pure functions.

Each takes optional `sample_weights` (B,), which multiply the terms of the samples in the mean over
the batch. A weight of 0 excludes a sample, and the gradient of a sample does not depend on other
weights. All return a scalar. Coordinates are in metres (root frame) unless a name ends in `_crop`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from decomr_core.uv.location_map import project_location_map
from decomr_core.uv.warp import FOREGROUND_THRESHOLD

__all__ = [
    'consistency_loss',
    'edge_length_loss',
    'edge_normal_loss',
    'joint_location_loss',
    'joints_2d_loss',
    'joints_3d_loss',
    'location_map_loss',
    'mask_loss',
    'mask_overlap_loss',
    'mesh_edges',
    'project_to_crop',
    'total_variation_loss',
    'uv_loss',
    'vertex_loss',
]

MIN_EDGE_M = 1e-4
"""Shorter edges have no meaningful direction."""
TINY_SQUARE = 1e-6
"""The distance of a joint has a gradient where it is zero."""
LARGEST_DISTANCE = 1.0
"""Crop frame. A joint farther away, outside of the image, does not widen a heatmap further."""


def mask_loss(pred_iuv: Tensor, gt_iuv: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy of the foreground probability (equation 3, first term).

    Args:
        pred_iuv: (B, 3, h, w) predicted IUV image; the probability is upsampled to the target.
        gt_iuv: (B, 3, h', w') target; its first channel is the covered share of each pixel.
        sample_weights: (B,) weight of each sample.
    """
    pred_mask, gt_mask = _foregrounds(pred_iuv, gt_iuv)
    return _mean(F.binary_cross_entropy(pred_mask, gt_mask, reduction='none'), sample_weights)


def mask_overlap_loss(
    pred_iuv: Tensor, gt_iuv: Tensor, sample_weights: Tensor | None = None
) -> Tensor:
    """One minus the foreground's intersection over union (soft Jaccard loss; not in the paper).

    The cross entropy alone makes an uncertain network leave out what is foreground with a
    probability below a half. The overlap is best if it keeps some of that.

    Args:
        pred_iuv: (B, 3, h, w) predicted IUV image; the probability is upsampled to the target.
        gt_iuv: (B, 3, h', w') target; its first channel is the covered share of each pixel.
        sample_weights: (B,) weight of each sample.
    """
    pred, true = _foregrounds(pred_iuv, gt_iuv)
    both = (pred * true).sum(dim=(2, 3))
    either = (pred + true - pred * true).sum(dim=(2, 3))
    # One pixel more in both: without any foreground the loss is still defined.
    return _mean(1 - (both + 1) / (either + 1), sample_weights)


def uv_loss(pred_iuv: Tensor, gt_iuv: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """l1 of u and v over the foreground, divided by its share of the image (equation 3).

    Args:
        pred_iuv: (B, 3, h, w) predicted IUV image; u and v are repeated to the target's size.
        gt_iuv: (B, 3, h', w') target, with u and v zero in the background.
        sample_weights: (B,) weight of each sample.
    """
    gt_uv = gt_iuv[:, 1:]
    pred_uv = _resize(pred_iuv[:, 1:].float(), gt_uv, 'nearest')
    known = (gt_uv.amax(dim=1, keepdim=True) > 0).float()
    share = known.mean(dim=(2, 3), keepdim=True) + 1e-8
    return _mean((pred_uv - gt_uv).abs() * known / share, sample_weights)


def location_map_loss(
    pred_map: Tensor, gt_map: Tensor, weight_map: Tensor, sample_weights: Tensor | None = None
) -> Tensor:
    """l1 of the location map, weighted per texel (equation 8 and supplementary, table 1).

    Args:
        pred_map: (B, 3, R, R) metres.
        gt_map: (B, 3, R, R) metres.
        weight_map: (R, R), zero outside the chart.
        sample_weights: (B,) weight of each sample.
    """
    return _mean((pred_map.float() - gt_map).abs() * weight_map, sample_weights)


def vertex_loss(
    pred_vertices: Tensor, gt_vertices: Tensor, sample_weights: Tensor | None = None
) -> Tensor:
    """l1 between vertices (B, V, 3) in metres; optional, not among the paper's losses."""
    return _mean((pred_vertices.float() - gt_vertices).abs(), sample_weights)


def mesh_edges(vertices: Tensor, faces: Tensor) -> Tensor:
    """The edge vectors (B, F, 3, 3) of faces (F, 3) with vertices (B, V, 3), metres."""
    corners = vertices.float()[:, faces.flatten()].unflatten(1, faces.shape)
    return corners.roll(-1, dims=2) - corners


def edge_length_loss(
    pred_edges: Tensor, gt_edges: Tensor, sample_weights: Tensor | None = None
) -> Tensor:
    """l1 between the edge lengths of two meshes, metres.

    Not among the paper's losses. Location maps do not constrain edges, and meshes tear without
    this loss. As in I2L-MeshNet (Moon and Lee, ECCV 2020, equation 5).

    Args:
        pred_edges: (B, F, 3, 3) metres, from `mesh_edges`.
        gt_edges: (B, F, 3, 3) metres.
        sample_weights: (B,) weight of each sample.
    """
    return _mean((pred_edges.norm(dim=-1) - gt_edges.norm(dim=-1)).abs(), sample_weights)


def edge_normal_loss(
    pred_edges: Tensor, gt_edges: Tensor, sample_weights: Tensor | None = None
) -> Tensor:
    """Mean |cosine| between predicted edges and the normal of the true face.

    Not among the paper's losses. As in Pixel2Mesh (Wang et al., ECCV 2018) and I2L-MeshNet
    (equation 4).

    Args:
        pred_edges: (B, F, 3, 3) metres, from `mesh_edges`.
        gt_edges: (B, F, 3, 3) metres.
        sample_weights: (B,) weight of each sample.
    """
    normals = F.normalize(torch.linalg.cross(gt_edges[..., 0, :], gt_edges[..., 1, :]), dim=-1)
    directions = F.normalize(pred_edges, dim=-1, eps=MIN_EDGE_M)
    return _mean((directions * normals[..., None, :]).sum(-1).abs(), sample_weights)


def joints_3d_loss(
    pred_joints: Tensor,
    gt_joints: Tensor,
    confidence: Tensor | None = None,
    pelvis: tuple[int, ...] = (0,),
    sample_weights: Tensor | None = None,
) -> Tensor:
    """l1 between joints with both pelvises at the origin (equation 6).

    Args:
        pred_joints: (B, J, 3) metres.
        gt_joints: (B, J, 3) metres.
        confidence: (B, J) weight of each joint.
        pelvis: the joints whose mean is the pelvis (SMPL: 0; LSP: the two hips).
        sample_weights: (B,) weight of each sample.
    """
    pelvis_index = list(pelvis)
    pred = pred_joints.float() - pred_joints[:, pelvis_index].mean(dim=1, keepdim=True)
    gt = gt_joints - gt_joints[:, pelvis_index].mean(dim=1, keepdim=True)
    return _mean(_confident((pred - gt).abs(), confidence), sample_weights)


def joints_2d_loss(
    pred_joints_crop: Tensor,
    gt_joints_crop: Tensor,
    confidence: Tensor | None = None,
    sample_weights: Tensor | None = None,
) -> Tensor:
    """Squared distance between projected and annotated joints (equation 7).

    Args:
        pred_joints_crop: (B, J, 2) crop frame.
        gt_joints_crop: (B, J, 2) crop frame.
        confidence: (B, J) visibility or confidence of each annotation.
        sample_weights: (B,) weight of each sample.
    """
    squared = (pred_joints_crop.float() - gt_joints_crop).square()
    return _mean(_confident(squared, confidence), sample_weights)


def joint_location_loss(
    located: Tensor, gt_joints_crop: Tensor, sample_weights: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood of joints under a Laplace distribution with the predicted spread.

    Joints outside of the image count too: their heatmaps learn to be wide. Not in the paper.

    Args:
        located: (B, J, 3) x, y and standard deviation, crop frame, from
            `PixelAlignment.locate_joints`.
        gt_joints_crop: (B, J, 2) crop frame.
        sample_weights: (B,) weight of each sample.
    """
    spread = located[..., 2]
    squared = (located[..., :2] - gt_joints_crop).square().sum(dim=-1)
    distance = (squared + TINY_SQUARE).sqrt().clamp(max=LARGEST_DISTANCE)
    return _mean(distance / spread + 2 * spread.log(), sample_weights)


def consistency_loss(
    gt_iuv: Tensor,
    pred_map: Tensor,
    camera: Tensor,
    sample_weights: Tensor | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Requires the surface point of each pixel to project onto that pixel (equation 10).

    The predicted location map is projected with the predicted camera, sampled at the true IUV of
    each pixel, and compared with the pixel's position.

    Args:
        gt_iuv: (B, 3, h, w) true IUV image.
        pred_map: (B, 3, R, R) metres, root frame.
        camera: (B, 3) weak perspective (s, tx, ty).
        sample_weights: (B,) weight of each sample.
        align_corners: position of -1 and 1: False for the outer edges of the image (our crop
            frame), True for the centres of its outer pixels (as in the official code).
    """
    foreground = (gt_iuv[:, :1] > FOREGROUND_THRESHOLD).float()
    projected = project_location_map(pred_map.float(), camera.float())
    texels = (gt_iuv[:, 1:] * 2 - 1).permute(0, 2, 3, 1)
    sampled = F.grid_sample(projected, texels, align_corners=True)
    pixels = _pixel_grid(gt_iuv, align_corners)
    return _mean(((sampled - pixels) * foreground).square(), sample_weights)


def total_variation_loss(pred_map: Tensor, sample_weights: Tensor | None = None) -> Tensor:
    """Summed differences of adjacent texels (B, 3, R, R), divided by their number per sample.

    As in the official code, the value is a sum over the batch, so its weight (1e-4) depends on
    the batch size.
    """
    corner = pred_map[:, :, :-1, :-1]
    right = (corner - pred_map[:, :, :-1, 1:]).abs()
    down = (corner - pred_map[:, :, 1:, :-1]).abs()
    per_sample = (right + down).sum(dim=(1, 2, 3)) / corner[0, 0].numel()
    return (per_sample if sample_weights is None else per_sample * sample_weights).sum()


def project_to_crop(points: Tensor, camera: Tensor) -> Tensor:
    """Projects points into the crop by weak perspective.

    Args:
        points: (B, K, 3) metres, root frame.
        camera: (B, 3) weak perspective (s, tx, ty): crop_xy = s * (xy + t).

    Returns:
        (B, K, 2) crop frame.
    """
    return camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])


def _pixel_grid(images: Tensor, align_corners: bool) -> Tensor:
    """(1, 2, h, w) x, y of each pixel centre, crop frame."""
    axes = []
    for size in images.shape[-1], images.shape[-2]:
        index = torch.arange(size, dtype=images.dtype, device=images.device)
        axes.append(index * 2 / (size - 1) - 1 if align_corners else (2 * index + 1) / size - 1)
    x_crop, y_crop = torch.meshgrid(axes[0], axes[1], indexing='xy')
    return torch.stack((x_crop, y_crop))[None]


def _resize(images: Tensor, like: Tensor, mode: str) -> Tensor:
    if images.shape[-2:] == like.shape[-2:]:
        return images
    corners = {'align_corners': False} if mode == 'bilinear' else {}
    return F.interpolate(images, size=like.shape[-2:], mode=mode, **corners)


def _confident(errors: Tensor, confidence: Tensor | None) -> Tensor:
    return errors if confidence is None else errors * confidence[..., None]


def _foregrounds(pred_iuv: Tensor, gt_iuv: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted and true foreground, both (B, 1, h', w') as the target, in [0, 1]."""
    true = gt_iuv[:, :1]
    return _resize(pred_iuv[:, :1].float(), true, 'bilinear').clamp(0, 1), true


def _mean(errors: Tensor, sample_weights: Tensor | None) -> Tensor:
    per_sample = errors.flatten(1).mean(dim=1)
    return (per_sample if sample_weights is None else per_sample * sample_weights).mean()
