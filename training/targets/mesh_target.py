"""IUV targets of people in photographs: a mesh rendered at the annotated joints.

As in the paper's implementation, a weak-perspective camera is fitted to the annotated 2D joints,
and the mesh is rendered with it. It is rendered in the augmented crop, which avoids resampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from decomr_core.base.structures import check_shape
from decomr_core.body_models import BodyModel
from decomr_core.geometry.rasterizer import Fragments, rasterize
from decomr_core.uv.uv_map import UVMap
from training.targets.iuv_target import IUV_STRIDE, iuv_target

__all__ = ['CameraFit', 'MeshTarget', 'MeshTargetRenderer', 'fit_camera', 'pixels_in_image']

SMALLEST_SPREAD_M = 0.05
"""Smallest spread of the joints (root mean square, in the image plane) that determines a scale;
annotations have errors of some centimetres."""

NO_FIT_ERROR = 1.0
"""The error if no camera can be fitted, as in the published fits: the person's size."""


@dataclass(frozen=True)
class CameraFit:
    """Weak-perspective cameras that project joints to their annotations.

    Attributes:
        camera: (B, 3) s, tx, ty: crop_xy = s * (root_xy + t), s > 0; zeros if invalid.
        errors: (B,) mean distance between projected and annotated joints, weighted by confidence,
            over the longer side of the box around the annotated ones; 1 if invalid.
        is_valid: (B,) bool: False if the joints do not determine a camera.
    """

    camera: Tensor
    errors: Tensor
    is_valid: Tensor


@dataclass(frozen=True)
class MeshTarget:
    """IUV targets of a batch and their weights.

    Attributes:
        iuv: (B, 3, S / stride, S / stride) float32: share of foreground, u, v; zeros if the
            weight is 0.
        weights: (B,) float32: 1, or 0 if no camera can be fitted or the person is not visible.
        fit: the cameras.
    """

    iuv: Tensor
    weights: Tensor
    fit: CameraFit

    @property
    def num_rejected(self) -> int:
        """Number of people in the batch without a target."""
        return int((self.weights == 0).sum())


def fit_camera(joints: Tensor, keypoints_2d: Tensor) -> CameraFit:
    """Fits weak-perspective cameras to annotated joints by weighted least squares.

    With weighted means p, q of the joints' x, y and of the annotations,
    s = sum w (x - p) . (y - q) / sum w |x - p|^2 and t = q / s - p.

    Args:
        joints: (B, K, 3) metres, root frame.
        keypoints_2d: (B, K, 3) their annotations: x, y, crop frame or image px; confidence, 0
            if unknown.

    Raises:
        ValueError: the shapes differ.
    """
    check_shape('joints', joints, (None, None, 3))
    check_shape('keypoints_2d', keypoints_2d, (*joints.shape[:2], 3))
    weights = keypoints_2d[..., 2:].clamp(min=0)
    is_known = weights > 0
    points = torch.where(is_known, joints[..., :2], 0)
    target = torch.where(is_known, keypoints_2d[..., :2].to(points), 0)
    share = weights / weights.sum(1, keepdim=True)
    mean, target_mean = ((share * xy).sum(1, keepdim=True) for xy in (points, target))
    spread = points - mean
    variance = (share * spread.square()).sum((1, 2))
    scale = (share * spread * (target - target_mean)).sum((1, 2)) / variance
    camera = torch.cat([scale[:, None], (target_mean / scale[:, None, None] - mean)[:, 0]], dim=1)
    distances = (scale[:, None, None] * spread + target_mean - target).norm(dim=-1)
    errors = (share[..., 0] * distances).sum(1) / _longer_side(target, is_known)
    is_valid = (
        torch.isfinite(camera).all(1)
        & torch.isfinite(errors)
        & (scale > 0)
        & (variance > SMALLEST_SPREAD_M**2)
    )
    return CameraFit(
        torch.where(is_valid[:, None], camera, 0),
        torch.where(is_valid, errors, NO_FIT_ERROR),
        is_valid,
    )


def pixels_in_image(crop_from_image: Tensor, image_sizes: Tensor, size: int) -> Tensor:
    """The pixels of crops that are inside the image, not in the black border around it.

    Args:
        crop_from_image: (B, 2, 3) affine: image px, 1 -> crop frame.
        image_sizes: (B, 2) width and height of the images, px.
        size: S, side of the crops, px.

    Returns:
        (B, S, S) bool.
    """
    check_shape('crop_from_image', crop_from_image, (None, 2, 3))
    check_shape('image_sizes', image_sizes, (len(crop_from_image), 2))
    affine = crop_from_image.double()
    centers = (2 * torch.arange(size, device=affine.device).double() + 1) / size - 1
    y, x = torch.meshgrid(centers, centers, indexing='ij')
    offsets = torch.stack([x, y], dim=-1) - affine[:, None, None, :, 2]
    places = offsets @ torch.linalg.inv(affine[:, None, :, :2]).mT  # (B, S, S, 2), image px
    highest = image_sizes.to(places)[:, None, None] - 0.5
    return ((places >= -0.5) & (places <= highest)).all(-1)


class MeshTargetRenderer(nn.Module):
    """Renders IUV targets of a body's meshes.

    Args:
        body: the body of the meshes.
        uv_map: its UV map.
        size: S, side of the crops, px; a multiple of the stride.
        stride: crop pixels per pixel of the target; 1 for the full size, as in the cache.

    Raises:
        ValueError: the map is for another body, or the size is not a multiple of the stride.
    """

    faces: Tensor
    uv: Tensor
    uv_faces: Tensor

    def __init__(
        self, body: BodyModel, uv_map: UVMap, size: int, stride: int = IUV_STRIDE
    ) -> None:
        super().__init__()
        if uv_map.body_hash != body.hash:
            raise ValueError(
                f'the UV map is for the body {uv_map.body_hash[:12]}, but the body {body.name!r} '
                f'is {body.hash[:12]}; make a map for it: decomr uv build --body FILE --out FILE'
            )
        if size < stride or size % stride:
            raise ValueError(f'size is {size} px; take a multiple of {stride}')
        self.size, self.stride = size, stride
        self.register_buffer('faces', body.faces.clone(), persistent=False)
        self.register_buffer('uv', torch.from_numpy(uv_map.uv.copy()), persistent=False)
        self.register_buffer('uv_faces', torch.from_numpy(uv_map.faces.copy()), persistent=False)

    @torch.no_grad()
    def forward(
        self, vertices: Tensor, joints: Tensor, keypoints_2d: Tensor, visible: Tensor | None = None
    ) -> MeshTarget:
        """Fits cameras and renders the targets.

        Args:
            vertices: (B, V, 3) metres, root frame.
            joints: (B, K, 3) joints of the same bodies, metres, root frame.
            keypoints_2d: (B, K, 3) their annotations: x, y, crop frame; confidence.
            visible: (B, S, S) bool or numbers, above 0 where the person can be visible: inside
                the image (`pixels_in_image`), in the person's mask; None for everywhere.

        Raises:
            ValueError: the shapes do not match.
        """
        check_shape('vertices', vertices, (len(joints), None, 3))
        fit = fit_camera(joints, keypoints_2d)
        fragments = self.fragments(vertices, fit.camera)
        mask = (fragments.face_index >= 0) & fit.is_valid[:, None, None]
        if visible is not None:
            check_shape('visible', visible, (len(vertices), self.size, self.size))
            mask &= visible > 0
        iuv = iuv_target(fragments, mask.to(torch.uint8), self.uv, self.uv_faces, self.stride)
        return MeshTarget(iuv, mask.any(2).any(1).float(), fit)

    def fragments(self, vertices: Tensor, camera: Tensor) -> Fragments:
        """The nearest face at each pixel.

        Args:
            vertices: (B, V, 3) metres, root frame.
            camera: (B, 3) weak perspective; people with s = 0 are not rendered.
        """
        check_shape('camera', camera, (len(vertices), 3))
        crop_xy = camera[:, None, :1] * (vertices[..., :2] + camera[:, None, 1:])
        points = torch.cat([crop_xy, vertices[..., 2:]], dim=-1)
        # On a closed surface the first face on any ray faces the camera; culling back faces saves
        # a third of the time.
        return rasterize(points, self.faces, self.size, cull_backfaces=True)


def _longer_side(points: Tensor, is_known: Tensor) -> Tensor:
    """The longer side (B,) of the box around known points (B, K, 2)."""
    low = torch.where(is_known, points, torch.inf).amin(1)
    high = torch.where(is_known, points, -torch.inf).amax(1)
    return (high - low).amax(1)
