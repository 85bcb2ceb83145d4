"""Image features carried to UV space by the IUV image (paper section 3.3).

Each foreground pixel drops its features on the texel that its predicted (u, v) rounds to; several
pixels on one texel are averaged. Two forms with static shapes compute it, so that it exports:
one `scatter_add`, the fastest on a CPU, and one matrix product with the assignment of pixels to
texels, which asks a GPU compiler for nothing but a comparison and that product. Gradients flow to
the features, not to the IUV image, whose gate and rounding are steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decomr_core.base.structures import FOREGROUND_THRESHOLD, check_shape
from decomr_core.uv.location_map import project_location_map

__all__ = ['FOREGROUND_THRESHOLD', 'WARP_CHANNELS', 'WARP_FORMS', 'reprojection_error',
           'warp_to_uv']

WARP_CHANNELS = 3
"""x, y and mask, which the warp adds to the features."""

WARP_FORMS = ('scatter', 'dense')
"""`dense` takes r * r * h * w numbers per person: 4 MB in the preset rt, 51 MB in paper."""


def warp_to_uv(features: Tensor, iuv: Tensor, resolution: int, form: str = 'scatter') -> Tensor:
    """Features of foreground pixels, averaged on a UV grid.

    Args:
        features: (B, C, h, w) features of the image.
        iuv: (B, 3, h, w) foreground probability, u, v, all in [0, 1].
        resolution: r, side of the UV grid, texels.
        form: how it is computed, one of `WARP_FORMS`; the result is the same.

    Returns:
        (B, C + 3, r, r): the mean features of each texel, the mean x and y of its pixels (-1 in
        the first, 1 in the last column or row) and 1 where any pixel landed; zeros elsewhere.

    Raises:
        ValueError: the shapes do not fit, or there is no such form.
    """
    batch, channels, height, width = features.shape
    check_shape('iuv', iuv, (batch, 3, height, width))
    if form not in WARP_FORMS:
        raise ValueError(f'form is {form!r}, expected one of: {", ".join(WARP_FORMS)}')
    given_type = features.dtype
    features = features.to(torch.promote_types(given_type, torch.float32))  # sums need it
    sum_on_texels = _sum_by_scatter if form == 'scatter' else _sum_by_product
    sums = sum_on_texels(features, iuv, resolution)
    count = sums[:, -1:]
    # Not `count + 1e-8`: the ONNX optimizer takes so small a summand for zero and drops it.
    means = sums[:, :-1] / count.clamp(min=1)
    warped = torch.cat([means, (count > 0).to(means.dtype)], dim=1)
    return warped.reshape(batch, channels + 3, resolution, resolution).to(given_type)


def reprojection_error(uv_features: Tensor, location_map: Tensor, camera: Tensor) -> Tensor:
    """How far a location map lies from the pixels that were warped to its texels.

    Args:
        uv_features: (B, C + 3, r, r) from `warp_to_uv`.
        location_map: (B, 3, r, r) metres, root frame.
        camera: (B, 3) weak perspective (s, tx, ty).

    Returns:
        (B, 2, r, r) crop x and y; 0 where no pixel was warped to.
    """
    seen, is_seen = uv_features[:, -WARP_CHANNELS:-1], uv_features[:, -1:]
    return (seen - project_location_map(location_map, camera)) * is_seen


def _sum_by_scatter(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """(B, C + 3, r * r): sums of the features, of x, of y and of 1 over the pixels of a texel."""
    batch, channels = features.shape[:2]
    places = _pixel_places(features).expand(batch, -1, -1)
    values = torch.cat([features.flatten(2), places], dim=1)  # (B, C + 3, h * w)
    values = values * _is_foreground(iuv).to(values.dtype)
    index = _texel_index(iuv, resolution).expand(-1, channels + 3, -1)
    return values.new_zeros(batch, channels + 3, resolution ** 2).scatter_add(2, index, values)


def _sum_by_product(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """What `_sum_by_scatter` gives, by a matrix of ones where a pixel belongs to a texel."""
    texels = torch.arange(resolution ** 2, device=iuv.device)
    # One index of no texel, for the background: cheaper than to mask the matrix.
    index = torch.where(_is_foreground(iuv), _texel_index(iuv, resolution), resolution ** 2)
    assignment = (index.transpose(1, 2) == texels).to(features.dtype)  # (B, h * w, r * r)
    return torch.cat([features.flatten(2) @ assignment,
                      _pixel_places(features) @ assignment], dim=1)


def _pixel_places(features: Tensor) -> Tensor:
    """(1, 3, h * w) x, y and 1 of each pixel of features (B, C, h, w)."""
    # int: in a traced graph the sizes are constants, so that this is one as well.
    height, width = int(features.shape[2]), int(features.shape[3])
    x = torch.linspace(-1, 1, width, dtype=features.dtype, device=features.device)
    y = torch.linspace(-1, 1, height, dtype=features.dtype, device=features.device)
    return torch.stack([x.repeat(height), y.repeat_interleave(width),
                        torch.ones_like(x).repeat(height)]).unsqueeze(0)


def _is_foreground(iuv: Tensor) -> Tensor:
    """(B, 1, h * w) bool, True where a pixel shows the person."""
    return iuv[:, :1].flatten(2) > FOREGROUND_THRESHOLD


def _texel_index(iuv: Tensor, resolution: int) -> Tensor:
    """(B, 1, h * w) int64 flat texel that each pixel's (u, v) rounds to."""
    texel = (iuv.detach()[:, 1:] * (resolution - 1)).round().clamp(0, resolution - 1).long()
    return (texel[:, 1:] * resolution + texel[:, :1]).flatten(2)


def _warp_to_uv_naive(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """`warp_to_uv` pixel by pixel, to test it against."""
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
                    [2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1])
                pixel = torch.cat([features[person, :, row, column], place])
                texel_row = min(max(round(v * (resolution - 1)), 0), resolution - 1)
                texel_column = min(max(round(u * (resolution - 1)), 0), resolution - 1)
                sums[person, :, texel_row, texel_column] += pixel
                counts[person, 0, texel_row, texel_column] += 1
    return torch.cat([sums / counts.clamp(min=1), (counts > 0).to(sums.dtype)], dim=1)
