"""Image features carried to UV space by the IUV image (paper section 3.3).

Each foreground pixel drops its features on the texel that its predicted (u, v) rounds to; several
pixels on one texel are averaged. Written as one `scatter_add` with static shapes, so that it
exports; gradients flow to the features, not to the IUV image, whose gate and rounding are steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from decomr_core.structures import check_shape

__all__ = ['FOREGROUND_THRESHOLD', 'warp_to_uv']

# A pixel belongs to the person above this probability.
FOREGROUND_THRESHOLD = 0.5


def warp_to_uv(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """Features of foreground pixels, averaged on a UV grid.

    Args:
        features: (B, C, h, w) features of the image.
        iuv: (B, 3, h, w) foreground probability, u, v, all in [0, 1].
        resolution: r, side of the UV grid, texels.

    Returns:
        (B, C + 3, r, r): the mean features of each texel, the mean x and y of its pixels (-1 in
        the first, 1 in the last column or row) and 1 where any pixel landed; zeros elsewhere.
    """
    batch, channels, height, width = features.shape
    check_shape('iuv', iuv, (batch, 3, height, width))
    given_type = features.dtype
    features = features.to(torch.promote_types(given_type, torch.float32))  # sums need it
    x = torch.linspace(-1, 1, width, dtype=features.dtype, device=features.device)
    y = torch.linspace(-1, 1, height, dtype=features.dtype, device=features.device)
    extra = torch.stack([x.expand(height, width), y[:, None].expand(height, width),
                         torch.ones_like(x).expand(height, width)])  # (3, h, w)
    values = torch.cat([features, extra.expand(batch, -1, -1, -1)], dim=1)
    is_foreground = iuv[:, :1] > FOREGROUND_THRESHOLD
    values = (values * is_foreground.to(values.dtype)).flatten(2)  # (B, C + 3, h * w)
    index = _texel_index(iuv, resolution).expand(-1, channels + 3, -1)
    sums = values.new_zeros(batch, channels + 3, resolution ** 2).scatter_add(2, index, values)
    count = sums[:, -1:]
    # Not `count + 1e-8`: the ONNX optimizer takes so small a summand for zero and drops it.
    means = sums[:, :-1] / count.clamp(min=1)
    warped = torch.cat([means, (count > 0).to(means.dtype)], dim=1)
    return warped.reshape(batch, channels + 3, resolution, resolution).to(given_type)


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
