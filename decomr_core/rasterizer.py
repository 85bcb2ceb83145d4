"""Which surface point each pixel of a crop shows: a z-buffer rasterizer in pure torch.

Every face lists the pixel centres of its own bounding box, so that the cost follows the covered
pixels, not the number of faces: a body of 26,692 faces at 128 px has mostly faces that hold no
pixel centre at all, and these are dropped before anything is tested. Faces of any size are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from decomr_core.structures import check_shape

__all__ = ['Fragments', 'rasterize']

CANDIDATES_AT_ONCE = 1 << 22
"""Pairs of face and pixel that are tested together: bounds the memory to about 0.5 GB."""

EMPTY_KEY = torch.iinfo(torch.int64).max
"""Larger than the key of any face."""

EDGE_TOLERANCE = 1e-5
"""How far outside a face, in barycentric weight, a pixel centre still belongs to it: closes the
hairlines that rounding opens between neighbouring faces."""


@dataclass(frozen=True)
class Fragments:
    """The nearest surface at each pixel.

    Attributes:
        face_index: (B, S, S) int64, -1 where nothing is seen.
        barycentric: (B, S, S, 3) weights of the face's three corners, sum 1; 0 where empty.
        depth: (B, S, S) depth at the pixel centre, in the unit of the vertices; inf where empty.
    """

    face_index: Tensor
    barycentric: Tensor
    depth: Tensor


def rasterize(vertices: Tensor, faces: Tensor, size: int, *,
              cull_backfaces: bool = False) -> Fragments:
    """Finds the nearest face at every pixel centre of a square crop.

    Weights and depth are linear in the crop plane (no perspective correction inside a face).

    Args:
        vertices: (B, V, 3) x and y in the crop frame, z depth (larger is farther, any sign).
        faces: (F, 3) int64.
        size: S, px.
        cull_backfaces: skip faces that turn away. A face looks at the camera if its corners run
            counter-clockwise on the screen, as those of a closed body with outward normals do.
    """
    check_shape('vertices', vertices, (None, None, 3))
    check_shape('faces', faces, (None, 3))
    batch = vertices.shape[0]
    pixels = torch.stack([(vertices[..., 0] + 1) * (size / 2) - 0.5,
                          (vertices[..., 1] + 1) * (size / 2) - 0.5, vertices[..., 2]], dim=-1)
    with torch.no_grad():
        keys = _nearest_keys(pixels, faces, size, cull_backfaces)
    shown = keys != EMPTY_KEY
    face_index = torch.where(shown, keys & 0xFFFFFFFF, -1)
    where = shown.nonzero()[:, 0]
    weights = pixels.new_zeros(batch * size * size, 3)
    depth = pixels.new_full((batch * size * size,), torch.inf)
    if len(where):
        image, rest = where // (size * size), where % (size * size)
        corners = pixels[image[:, None], faces[face_index[where]]]  # (N, 3, 3)
        inside = _barycentric(corners, (rest % size).to(pixels), (rest // size).to(pixels))
        weights = weights.index_put((where,), inside)
        depth = depth.index_put((where,), (inside * corners[..., 2]).sum(1))
    return Fragments(face_index.view(batch, size, size), weights.view(batch, size, size, 3),
                     depth.view(batch, size, size))


def _nearest_keys(pixels: Tensor, faces: Tensor, size: int, cull: bool) -> Tensor:
    """The smallest (depth, face) of each pixel as one integer.

    Args:
        pixels: (B, V, 3) x and y in px, centre of the first pixel at 0; depth.
        faces: (F, 3).
        size: S, px.
        cull: skip faces that turn away.

    Returns:
        (B S S,) int64; `EMPTY_KEY` where no face is.
    """
    image, face, corners, low, spans = _faces_with_pixels(pixels, faces, size, cull)
    keys = torch.full((len(pixels) * size * size,), EMPTY_KEY, device=pixels.device)
    counts = spans[0] * spans[1]
    chunk = (counts.cumsum(0) - 1).div(CANDIDATES_AT_ONCE, rounding_mode='floor')
    for part in range(int(chunk[-1]) + 1 if len(chunk) else 0):
        some = (chunk == part).nonzero()[:, 0]
        row = some.repeat_interleave(counts[some])
        first = (counts[some].cumsum(0) - counts[some]).repeat_interleave(counts[some])
        step = torch.arange(len(row), device=row.device) - first
        width = spans[0][row]
        x, y = low[0][row] + step % width, low[1][row] + step // width
        weights = _barycentric(corners[row], x.to(pixels), y.to(pixels))
        hit = (weights.amin(1) >= -EDGE_TOLERANCE).nonzero()[:, 0]
        row = row[hit]
        depth = (weights[hit] * corners[row, :, 2]).sum(1)
        target = (image[row] * size + y[hit]) * size + x[hit]
        keys.scatter_reduce_(0, target, _sortable(depth) << 32 | face[row], 'amin')
    return keys


def _faces_with_pixels(
    pixels: Tensor, faces: Tensor, size: int, cull: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """The faces whose bounding box holds a pixel centre.

    Returns:
        image (M,), face (M,), corners (M, 3, 3) in px, and for x and y the first pixel (M,) and
        the number of pixels (M,).
    """
    # (V, B): one gather copies a corner's coordinate for the whole batch.
    columns = [pixels[..., axis].T.contiguous() for axis in range(2)]
    ax, bx, cx, ay, by, cy = (values.index_select(0, faces[:, corner])
                              for values in columns for corner in range(3))  # each (F, B)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    keep = area < 0 if cull else area != 0
    bounds = []
    for a, b, c in ((ax, bx, cx), (ay, by, cy)):
        low = torch.minimum(torch.minimum(a, b), c).sub_(1e-3).ceil_().clamp_(min=0)
        high = torch.maximum(torch.maximum(a, b), c).add_(1e-3).floor_().clamp_(max=size - 1)
        keep &= low <= high
        bounds.append((low, high))
    face, image = keep.nonzero(as_tuple=True)
    corners = pixels[image[:, None], faces[face]]
    low = [first[keep].long() for first, _ in bounds]
    spans = [last[keep].long() - start + 1
             for (_, last), start in zip(bounds, low, strict=True)]
    return image, face, corners, low, spans


def _barycentric(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Weights (M, 3) of the corners (M, 3, 3) at the points x, y (M,), in the screen plane."""
    ax, ay = corners[:, 0, 0] - x, corners[:, 0, 1] - y
    bx, by = corners[:, 1, 0] - x, corners[:, 1, 1] - y
    cx, cy = corners[:, 2, 0] - x, corners[:, 2, 1] - y
    weights = torch.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx], dim=1)
    return weights / weights.sum(1, keepdim=True)


def _sortable(depth: Tensor) -> Tensor:
    """Integers (int64, 32 bits used) in the order of float depths: flips negative floats' bits."""
    bits = depth.float().contiguous().view(torch.int32).long()
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
