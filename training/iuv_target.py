"""What CNet should say: the IUV image of a rendered body, at a quarter of the crop's size."""

from __future__ import annotations

import torch
from torch import Tensor

from decomr_core.rasterizer import Fragments

__all__ = ['IUV_STRIDE', 'downsample_iuv', 'iuv_from_fragments', 'pixel_uv']

IUV_STRIDE = 4
"""Pixels of the crop per pixel of the IUV image, along each side."""


def pixel_uv(face_index: Tensor, barycentric: Tensor, uv: Tensor, uv_faces: Tensor) -> Tensor:
    """The chart position of surface points (M, 2).

    Args:
        face_index: (M,) int64, none negative.
        barycentric: (M, 3).
        uv: (N, 2) in [0, 1].
        uv_faces: (F, 3) indices into `uv`.
    """
    return (uv[uv_faces[face_index]] * barycentric[..., None]).sum(-2)


def iuv_from_fragments(fragments: Fragments, uv: Tensor, uv_faces: Tensor) -> Tensor:
    """The IUV image (B, 3, S, S) at the crop's size: 1, u, v on the body, 0 elsewhere.

    Args:
        fragments: the rasterized body.
        uv: (N, 2) in [0, 1].
        uv_faces: (F, 3) indices into `uv`.
    """
    shown = fragments.face_index >= 0
    iuv = fragments.barycentric.new_zeros(*shown.shape, 3)
    seen = pixel_uv(fragments.face_index[shown], fragments.barycentric[shown], uv, uv_faces)
    iuv[shown] = torch.cat([torch.ones_like(seen[:, :1]), seen], dim=1)
    return iuv.permute(0, 3, 1, 2).contiguous()


def downsample_iuv(iuv: Tensor, stride: int = IUV_STRIDE) -> Tensor:
    """Shrinks an IUV image without mixing surface points.

    Args:
        iuv: (B, 3, S, S) 1 or 0, u, v.
        stride: pixels per pixel.

    Returns:
        (B, 3, S / stride, S / stride): the share of foreground pixels in the cell, and u, v of
        the foreground pixel nearest to the cell's centre (the mean of two limbs would be a point
        on neither); 0 where the cell has none.
    """
    batch, _, side, _ = iuv.shape
    small = side // stride
    cells = iuv.view(batch, 3, small, stride, small, stride).permute(0, 2, 4, 3, 5, 1)
    cells = cells.reshape(batch, small, small, stride * stride, 3)
    offset = torch.arange(stride, device=iuv.device) - (stride - 1) / 2
    distance = (offset[:, None] ** 2 + offset[None, :] ** 2).flatten()
    order = distance.argsort(stable=True)
    cells = cells[..., order, :]
    chosen = (cells[..., 0] > 0.5).to(torch.uint8).argmax(-1)
    picked = cells.gather(3, chosen[..., None, None].expand(-1, -1, -1, 1, 3))[..., 0, :]
    share = cells[..., 0].mean(-1)
    return torch.cat([share[..., None], picked[..., 1:] * (share > 0)[..., None]],
                     dim=-1).permute(0, 3, 1, 2).contiguous()
