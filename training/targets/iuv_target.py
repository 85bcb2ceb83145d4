"""The target of CNet: the IUV image of a rendered body, at a quarter of the crop's size."""

from __future__ import annotations

import torch
from torch import Tensor

from decomr_core.geometry.rasterizer import Fragments

__all__ = ['IUV_STRIDE', 'flip_iuv', 'iuv_target', 'shrink_iuv']

IUV_STRIDE = 4
"""Pixels of the crop per pixel of the IUV image, along each side."""


def iuv_target(
    fragments: Fragments, mask: Tensor, uv: Tensor, uv_faces: Tensor, stride: int = IUV_STRIDE
) -> Tensor:
    """The IUV image of rendered people, without interpolation between surface points.

    Args:
        fragments: the rasterized people, (B, S, S).
        mask: (B, S, S) 1 where the person is visible, else 0; a subset of the body's pixels.
        uv: (N, 2) positions on the UV map, in [0, 1].
        uv_faces: (F, 3) corners of the faces, indices into `uv`.
        stride: crop pixels per cell, along each side; 1 gives the full size.

    Returns:
        (B, 3, S / stride, S / stride) float32: the share of the cell that is foreground, and u, v
        of the foreground pixel nearest to the cell's centre (the mean over two limbs would be a
        point on neither); 0 in cells without foreground.
    """
    share, cell, (image, y, x) = _central_pixels(mask, stride)
    corners = uv[uv_faces[fragments.face_index[image, y, x]]]  # (M, 3, 2)
    weights = fragments.barycentric[image, y, x]
    return _filled(share, cell, (corners * weights[..., None]).sum(1).clamp(0, 1))


def shrink_iuv(iuv: Tensor, stride: int = IUV_STRIDE) -> Tensor:
    """Downsamples an IUV image of the crop's size to an IUV target, as `iuv_target` does.

    Args:
        iuv: (B, 3, S, S) float32; above 0 in the first channel where the person is visible.
        stride: crop pixels per cell, along each side.

    Returns:
        (B, 3, S / stride, S / stride) float32.
    """
    share, cell, (image, y, x) = _central_pixels((iuv[:, 0] > 0).to(torch.uint8), stride)
    return _filled(share, cell, iuv[image, 1:, y, x])


def flip_iuv(iuv: Tensor) -> Tensor:
    """The IUV image of the mirrored image.

    The UV map is symmetric: the mirror image of the surface point at (u, v) is at (1 - u, v). A
    left hand therefore gets the coordinates of a right hand, which it is in the mirrored image.

    Args:
        iuv: (..., 3, h, w), 0 in the first channel for the background.

    Returns:
        (..., 3, h, w), 0 for the background.
    """
    share, u, v = iuv.flip(-1).unbind(-3)
    return torch.stack([share, torch.where(share > 0, 1 - u, 0.0), v], dim=-3)


def _central_pixels(mask: Tensor, stride: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The foreground pixel nearest to the centre of each cell.

    Args:
        mask: (B, S, S) 1 where the person is visible, else 0.
        stride: pixels per cell, along each side.

    Returns:
        The share of foreground (B, h, w); image, row and column of the M cells with foreground,
        each (M,); image, y and x of the foreground pixel nearest to their centres, each (M,).
    """
    batch, size, _ = mask.shape
    small = size // stride
    cells = mask.view(batch, small, stride, small, stride).permute(0, 1, 3, 2, 4)
    cells = cells.reshape(batch, small, small, stride * stride)
    order = _offsets_from_center(stride).to(mask.device)
    nearest = order[(cells[..., order] > 0).to(torch.uint8).argmax(-1)]  # (B, h, w)
    share = cells.float().mean(-1)
    image, row, column = (share > 0).nonzero(as_tuple=True)
    inner = nearest[image, row, column]
    y, x = row * stride + inner // stride, column * stride + inner % stride
    return share, [image, row, column], [image, y, x]


def _filled(share: Tensor, cell: list[Tensor], uv: Tensor) -> Tensor:
    """The IUV image (B, 3, h, w) from shares (B, h, w) and the u, v (M, 2) of M cells."""
    target = share.new_zeros(*share.shape, 3)
    target[..., 0] = share
    image, row, column = cell
    target[image, row, column, 1:] = uv.to(target)
    return target.permute(0, 3, 1, 2).contiguous()


def _offsets_from_center(stride: int) -> Tensor:
    """Row-major indices of the pixels of a cell (stride^2,), sorted by distance to its centre."""
    offset = torch.arange(stride) - (stride - 1) / 2
    distance = (offset[:, None] ** 2 + offset[None, :] ** 2).flatten()
    return distance.argsort(stable=True)
