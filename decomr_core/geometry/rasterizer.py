"""A z-buffer rasterizer in pure PyTorch: the visible surface point at each pixel of a crop.

Every face lists the pixel centres in its bounding box, so the cost depends on the covered pixels
rather than the number of faces. Most of a body's 26,692 faces contain no pixel centre at 128 px;
they are dropped before any test. The result is exact for faces of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from decomr_core.base.structures import check_shape

__all__ = ['Fragments', 'rasterize']

CANDIDATES_PER_CHUNK = 1 << 22
"""Pairs of face and pixel tested together; bounds the memory to about 0.5 GB."""

EMPTY_KEY = torch.iinfo(torch.int64).max
"""Larger than the key of any face."""

EDGE_TOLERANCE = 1e-5
"""Tolerance of the inside test, in barycentric weight; closes hairline gaps that rounding opens
between adjacent faces."""


@dataclass(frozen=True)
class Fragments:
    """The nearest surface at each pixel.

    Attributes:
        face_index: (B, S, S) int64, -1 for the background.
        barycentric: (B, S, S, 3) weights of the face's three corners, sum 1; 0 in the background.
        depth: (B, S, S) depth at the pixel centre, in the unit of the vertices; inf in the
            background.
    """

    face_index: Tensor
    barycentric: Tensor
    depth: Tensor


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    size: int,
    *,
    cull_backfaces: bool = False,
    is_opaque: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Fragments:
    """Finds the nearest face at every pixel centre of a square crop.

    Weights and depth are linear in the crop plane (no perspective correction inside a face).

    Args:
        vertices: (B, V, 3) x and y in the crop frame, z depth (larger is farther, any sign).
        faces: (F, 3) int64.
        size: S, px.
        cull_backfaces: skip back faces. The corners of a front face run counter-clockwise on the
            screen, as for a closed body with outward normals.
        is_opaque: alpha test: takes faces (M,) and barycentric weights (M, 3), returns (M,) bool;
            by default all points are opaque.
    """
    check_shape('vertices', vertices, (None, None, 3))
    check_shape('faces', faces, (None, 3))
    batch = vertices.shape[0]
    pixels = torch.stack(
        [
            (vertices[..., 0] + 1) * (size / 2) - 0.5,
            (vertices[..., 1] + 1) * (size / 2) - 0.5,
            vertices[..., 2],
        ],
        dim=-1,
    )
    with torch.no_grad():
        keys = _nearest_keys(pixels, faces, size, cull_backfaces, is_opaque)
    is_covered = keys != EMPTY_KEY
    face_index = torch.where(is_covered, keys & 0xFFFFFFFF, -1)
    where = is_covered.nonzero()[:, 0]
    weights = pixels.new_zeros(batch * size * size, 3)
    depth = pixels.new_full((batch * size * size,), torch.inf)
    if len(where):
        image = where.div(size * size, rounding_mode='floor')
        rest = where - image * (size * size)
        y = rest.div(size, rounding_mode='floor')
        corners = _corners(pixels, faces, image, face_index.index_select(0, where))
        origin = torch.stack([rest - y * size, y], dim=1).to(pixels)
        inside = _barycentric([corner[:, :2] - origin for corner in corners])
        weights = weights.index_put((where,), torch.stack(inside, dim=1))
        depth = depth.index_put(
            (where,), _weighted_sum(inside, [corner[:, 2] for corner in corners])
        )
    return Fragments(
        face_index.view(batch, size, size),
        weights.view(batch, size, size, 3),
        depth.view(batch, size, size),
    )


def _nearest_keys(
    pixels: Tensor,
    faces: Tensor,
    size: int,
    cull: bool,
    is_opaque: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """The smallest (depth, face) of each pixel as one integer.

    Args:
        pixels: (B, V, 3) x and y in px, centre of the first pixel at 0; depth.
        faces: (F, 3).
        size: S, px.
        cull: skip back faces.
        is_opaque: the alpha test, or None.

    Returns:
        (B S S,) int64; `EMPTY_KEY` in the background.
    """
    image, face, low, spans = _faces_with_pixels(pixels, faces, size, cull)
    keys = torch.full((len(pixels) * size * size,), EMPTY_KEY, device=pixels.device)
    if not len(face):
        return keys
    corners = _corners(pixels, faces, image, face)
    origin = torch.stack(low, dim=1)
    planes = _planes(
        [corner[:, :2] - origin for corner in corners], [corner[:, 2] for corner in corners]
    )
    first_pixel = (image * size + low[1].long()) * size + low[0].long()
    counts = (spans[0] * spans[1]).long()
    ends = counts.cumsum(0)
    chunk = (ends - 1).div(CANDIDATES_PER_CHUNK, rounding_mode='floor')
    for part in range(int(chunk[-1]) + 1):
        some = (chunk == part).nonzero()[:, 0]
        own = counts.index_select(0, some)
        row = some.repeat_interleave(own)
        starts = (own.cumsum(0) - own).repeat_interleave(own)
        step = (torch.arange(len(row), device=row.device) - starts).to(pixels.dtype)
        width = spans[0].index_select(0, row)
        down = ((step + 0.5) / width).floor_()
        across = step - down * width
        first, second, third = (
            start.index_select(0, row)
            + by_x.index_select(0, row) * across
            + by_y.index_select(0, row) * down
            for start, by_x, by_y in planes[:3]
        )
        hit = (torch.minimum(torch.minimum(first, second), third) >= -EDGE_TOLERANCE).nonzero()
        hit = hit[:, 0]
        if is_opaque is not None:
            weights = torch.stack([first, second, third], dim=1).index_select(0, hit)
            hit = hit[is_opaque(face.index_select(0, row.index_select(0, hit)), weights)]
        row, across, down = (values.index_select(0, hit) for values in (row, across, down))
        start, by_x, by_y = (values.index_select(0, row) for values in planes[3])
        depth = start + by_x * across + by_y * down
        target = first_pixel.index_select(0, row) + (down * size + across).long()
        key = _sortable(depth) << 32 | face.index_select(0, row)
        keys.scatter_reduce_(0, target, key, 'amin')
    return keys


def _faces_with_pixels(
    pixels: Tensor, faces: Tensor, size: int, cull: bool
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """The faces whose bounding box contains a pixel centre.

    Returns:
        Image (M,) and face (M,) int64, and for x and y the first pixel (M,) and the number of
        pixels (M,), integers stored as floats.
    """
    # (V, B): one gather reads a corner's coordinate for the whole batch.
    columns = [pixels[..., axis].T.contiguous() for axis in range(2)]
    ax, bx, cx, ay, by, cy = (
        values.index_select(0, faces[:, corner]) for values in columns for corner in range(3)
    )  # each (F, B)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    keep = area < 0 if cull else area != 0
    bounds = []
    for a, b, c in ((ax, bx, cx), (ay, by, cy)):
        low = torch.minimum(torch.minimum(a, b), c).sub_(1e-3).ceil_().clamp_(min=0)
        high = torch.maximum(torch.maximum(a, b), c).add_(1e-3).floor_().clamp_(max=size - 1)
        keep &= low <= high
        bounds.append((low.flatten(), high.flatten()))
    kept = keep.flatten().nonzero()[:, 0]
    face = kept.div(len(pixels), rounding_mode='floor')
    starts = [first.index_select(0, kept) for first, _ in bounds]
    spans = [
        last.index_select(0, kept) - start + 1
        for (_, last), start in zip(bounds, starts, strict=True)
    ]
    return kept - face * len(pixels), face, starts, spans


def _corners(pixels: Tensor, faces: Tensor, image: Tensor, face: Tensor) -> list[Tensor]:
    """The three corners, each (M, 3) px and depth, of faces (M,) in images (M,)."""
    rows = pixels.reshape(-1, 3)
    first = image * pixels.shape[1]
    return [
        rows.index_select(0, first + faces[:, corner].index_select(0, face)) for corner in range(3)
    ]


def _barycentric(corners: list[Tensor]) -> list[Tensor]:
    """Barycentric weights, each (M,), of the origin in triangles of three corners (M, 2)."""
    (ax, ay), (bx, by), (cx, cy) = (corner.unbind(1) for corner in corners)
    first, second, third = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    total = first + second + third
    return [first / total, second / total, third / total]


def _planes(corners: list[Tensor], depths: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The three weights and the depth of each face as linear functions on the screen.

    Their origin is a pixel near the face, because an origin at the crop's corner would lose
    precision.

    Args:
        corners: three tensors (M, 2), px from the face's first pixel.
        depths: three tensors (M,).

    Returns:
        For each weight, then the depth: value at the first pixel, slope along x, along y; (M,).
    """
    weights = _barycentric(corners)
    (ax, ay), (bx, by), (cx, cy) = (corner.unbind(1) for corner in corners)
    inverse = 1 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    slopes = [
        ((by - cy) * inverse, (cx - bx) * inverse),
        ((cy - ay) * inverse, (ax - cx) * inverse),
        ((ay - by) * inverse, (bx - ax) * inverse),
    ]
    planes = [(weight, by_x, by_y) for weight, (by_x, by_y) in zip(weights, slopes, strict=True)]
    start, by_x, by_y = (
        _weighted_sum([plane[part] for plane in planes], depths) for part in range(3)
    )
    return [*planes, (start, by_x, by_y)]


def _weighted_sum(weights: list[Tensor], values: list[Tensor]) -> Tensor:
    """The sum of three products of tensors (M,)."""
    return weights[0] * values[0] + weights[1] * values[1] + weights[2] * values[2]


def _sortable(depth: Tensor) -> Tensor:
    """Integers (int64, 32 bits used) that sort like float depths; flips bits of negative ones."""
    bits = depth.float().contiguous().view(torch.int32).long()
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
