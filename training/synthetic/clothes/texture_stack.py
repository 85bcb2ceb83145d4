"""Textures with mipmaps of three levels, sampled at rasterized pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ['TextureStack']

NUM_LEVELS = 3


class TextureStack:
    """Square textures with mipmaps at half and a quarter of their size, against aliasing.

    Args:
        textures: (T, side, side, 4) uint8 RGBA; side is a multiple of 4.
    """

    def __init__(self, textures: Tensor) -> None:
        self._levels = [textures]
        for _ in range(NUM_LEVELS - 1):
            # Weighted by alpha, because transparent texels have arbitrary colours.
            parts = self._levels[-1].split(8)
            self._levels.append(torch.cat([_halved(part) for part in parts]))

    def sample(self, row: Tensor, uv: Tensor, level: int) -> Tensor:
        """Samples textures bilinearly.

        Args:
            row: (M,) index of the texture.
            uv: (M, 2) positions, v pointing down; the texture repeats outside [0, 1).
            level: 0 for the full size, 1 for half, 2 for a quarter.

        Returns:
            (M, 4) float32 RGBA, 0 to 1.
        """
        textures = self._levels[min(max(level, 0), NUM_LEVELS - 1)]
        side = textures.shape[1]
        place = uv * side - 0.5
        first = place.floor()
        share = place - first
        first = first.long()
        low, high = first % side, (first + 1) % side
        flat = textures.view(-1, 4)
        base = row * (side * side)
        total = uv.new_zeros(())
        for x, share_x in ((low[:, 0], 1 - share[:, 0]), (high[:, 0], share[:, 0])):
            for y, share_y in ((low[:, 1], 1 - share[:, 1]), (high[:, 1], share[:, 1])):
                texel = flat.index_select(0, base + y * side + x).float()
                total = total + texel * (share_x * share_y)[:, None]
        return total / 255

    def alpha(self, row: Tensor, uv: Tensor) -> Tensor:
        """The opacity (M,) at the nearest texel of the full size, 0 to 1."""
        textures = self._levels[0]
        side = textures.shape[1]
        texel = (uv * side).floor().long() % side
        flat = textures.view(-1, 4)[:, 3]
        return (
            flat.index_select(0, row * (side * side) + texel[:, 1] * side + texel[:, 0]).float()
            / 255
        )

    def mean_colors(self) -> Tensor:
        """The mean colour (T, 3) of the opaque texels of each texture, 0 to 1."""
        small = self._levels[-1].float() / 255
        alpha = small[..., 3:]
        return (small[..., :3] * alpha).sum((1, 2)) / alpha.sum((1, 2)).clamp(min=1e-6)


def _halved(textures: Tensor) -> Tensor:
    """Textures (n, side, side, 4) uint8 at half their size."""
    values = textures.float().permute(0, 3, 1, 2)
    alpha = functional.avg_pool2d(values[:, 3:], 2)
    color = functional.avg_pool2d(values[:, :3] * values[:, 3:], 2) / alpha.clamp(min=1e-6)
    color = torch.where(alpha > 0, color, functional.avg_pool2d(values[:, :3], 2))
    return (
        torch.cat([color, alpha], 1)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        .permute(0, 2, 3, 1)
        .contiguous()
    )
