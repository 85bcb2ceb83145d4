"""Warps image features to UV space by the IUV image (paper section 3.3).

Each foreground pixel adds its features to the texel to which its predicted (u, v) rounds; the
pixels of a texel are averaged. Two implementations with static shapes can be exported: one
`scatter_add`, the fastest on a CPU, and one matrix product with the assignment of pixels to
texels, which needs only a comparison and a product of a GPU compiler. Gradients flow to the
features, not to the IUV image, whose threshold and rounding are step functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decomr_core.base.structures import FOREGROUND_THRESHOLD, check_shape
from decomr_core.uv.location_map import project_location_map

__all__ = [
    'FOREGROUND_THRESHOLD',
    'WARP_CHANNELS',
    'WARP_FORMS',
    'pixel_positions',
    'reprojection_error',
    'warp_to_uv',
]

WARP_CHANNELS = 3
"""Channels that the warp appends to the features: x, y and mask."""

WARP_FORMS = ('scatter', 'dense')
"""`dense` needs r * r * h * w numbers per person: 4 MB for preset `rt`, 51 MB for `paper`."""


def warp_to_uv(features: Tensor, iuv: Tensor, resolution: int, form: str = 'scatter') -> Tensor:
    """Features of foreground pixels, averaged on a UV grid.

    Args:
        features: (B, C, h, w) features of the image.
        iuv: (B, 3, h, w) foreground probability, u, v, all in [0, 1].
        resolution: r, side of the UV grid, texels.
        form: the implementation, one of `WARP_FORMS`; all give the same result.

    Returns:
        (B, C + 3, r, r): the mean features of each texel, the mean x and y of its pixels (-1 at
        the first and 1 at the last column or row) and 1 where a texel has pixels; zeros elsewhere.

    Raises:
        ValueError: the shapes do not fit, or the form is unknown.
    """
    batch, channels, height, width = features.shape
    check_shape('iuv', iuv, (batch, 3, height, width))
    if form not in WARP_FORMS:
        raise ValueError(f'form is {form!r}, expected one of: {", ".join(WARP_FORMS)}')
    input_type = features.dtype
    features = features.to(torch.promote_types(input_type, torch.float32))  # for precise sums
    sum_on_texels = _sum_by_scatter if form == 'scatter' else _sum_by_product
    sums = sum_on_texels(features, iuv, resolution)
    count = sums[:, -1:]
    # Not `count + 1e-8`: the ONNX optimizer drops such a small summand as zero.
    means = sums[:, :-1] / count.clamp(min=1)
    warped = torch.cat([means, (count > 0).to(means.dtype)], dim=1)
    return warped.reshape(batch, channels + 3, resolution, resolution).to(input_type)


def reprojection_error(uv_features: Tensor, location_map: Tensor, camera: Tensor) -> Tensor:
    """Offset from the projected texels to the mean positions of the pixels warped to them.

    Args:
        uv_features: (B, C + 3, r, r) from `warp_to_uv`.
        location_map: (B, 3, r, r) metres, root frame.
        camera: (B, 3) weak perspective (s, tx, ty).

    Returns:
        (B, 2, r, r) crop x and y; 0 for texels without pixels.
    """
    observed, has_pixels = uv_features[:, -WARP_CHANNELS:-1], uv_features[:, -1:]
    return (observed - project_location_map(location_map, camera)) * has_pixels


def _sum_by_scatter(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """(B, C + 3, r * r): sums of features, x, y and 1 over the pixels of each texel."""
    batch, channels = features.shape[:2]
    positions = pixel_positions(features).expand(batch, -1, -1)
    values = torch.cat([features.flatten(2), positions], dim=1)  # (B, C + 3, h * w)
    values = values * _is_foreground(iuv).to(values.dtype)
    index = _texel_index(iuv, resolution).expand(-1, channels + 3, -1)
    return values.new_zeros(batch, channels + 3, resolution**2).scatter_add(2, index, values)


def _sum_by_product(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """Same as `_sum_by_scatter`, by a product with the assignment matrix of pixels to texels."""
    texels = torch.arange(resolution**2, device=iuv.device)
    # Background pixels get an index beyond the texels, which is cheaper than masking the matrix.
    index = torch.where(_is_foreground(iuv), _texel_index(iuv, resolution), resolution**2)
    assignment = (index.transpose(1, 2) == texels).to(features.dtype)  # (B, h * w, r * r)
    return torch.cat(
        [features.flatten(2) @ assignment, pixel_positions(features) @ assignment], dim=1
    )


def pixel_positions(features: Tensor) -> Tensor:
    """(1, 3, h * w) x, y and 1 of each pixel of features (B, C, h, w)."""
    # int() makes the sizes, and thus the result, constants in a traced graph.
    height, width = int(features.shape[2]), int(features.shape[3])
    x = torch.linspace(-1, 1, width, dtype=features.dtype, device=features.device)
    y = torch.linspace(-1, 1, height, dtype=features.dtype, device=features.device)
    return torch.stack(
        [x.repeat(height), y.repeat_interleave(width), torch.ones_like(x).repeat(height)]
    ).unsqueeze(0)


def _is_foreground(iuv: Tensor) -> Tensor:
    """(B, 1, h * w) bool, True where a pixel shows the person."""
    return iuv[:, :1].flatten(2) > FOREGROUND_THRESHOLD


def _texel_index(iuv: Tensor, resolution: int) -> Tensor:
    """(B, 1, h * w) int64 flat index of the texel to which each pixel's (u, v) rounds."""
    texel = (iuv.detach()[:, 1:] * (resolution - 1)).round().clamp(0, resolution - 1).long()
    return (texel[:, 1:] * resolution + texel[:, :1]).flatten(2)


def _warp_to_uv_naive(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """`warp_to_uv` pixel by pixel, as a reference for tests."""
    batch, channels, height, width = features.shape
    sums = features.new_zeros(batch, channels + 2, resolution, resolution)
    counts = features.new_zeros(batch, 1, resolution, resolution)
    for person in range(batch):
        for row in range(height):
            for column in range(width):
                foreground, u, v = iuv[person, :, row, column].tolist()
                if foreground <= FOREGROUND_THRESHOLD:
                    continue
                place = features.new_tensor(
                    [2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1]
                )
                pixel = torch.cat([features[person, :, row, column], place])
                texel_row = min(max(round(v * (resolution - 1)), 0), resolution - 1)
                texel_column = min(max(round(u * (resolution - 1)), 0), resolution - 1)
                sums[person, :, texel_row, texel_column] += pixel
                counts[person, 0, texel_row, texel_column] += 1
    return torch.cat([sums / counts.clamp(min=1), (counts > 0).to(sums.dtype)], dim=1)
