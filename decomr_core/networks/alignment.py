"""The last step to the mesh: a posed surface is moved onto the pixels that show it.

The warp tells of every seen texel where its pixels lie. The surface moves within LNet's pose
components, as far as needed for its texels to project there: a regularised least squares problem,
whose solution every runtime can compute, since it takes matrix products alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from decomr_core.uv.warp import WARP_CHANNELS, reprojection_error

__all__ = ['PixelAlignment']

WRONG_BY = 0.1
"""Crop frame. A texel that lies so far from its pixels counts half (Cauchy weights): u and v may
be wrong, left taken for right."""
ROUNDS = 2
"""Of weighing the texels anew."""
STEPS = 5
"""Of conjugate gradients in each round; more change the result by less than a tenth of a mm."""
FIRST_STIFFNESS = 0.3
SMALLEST = 1e-12


class PixelAlignment(nn.Module):
    """Iteratively reweighted least squares, each round solved by conjugate gradients.

    It finds the amounts a of the pose components that minimise the sum of
    w |s (X + t) - x|^2 over the seen texels, X moved by the components and x where the pixels
    are, plus the sum of e^stiffness a^2 over the components.

    Attributes:
        stiffness: (K,) logarithm of each component's regularisation; it is learnt.
    """

    def __init__(self, num_components: int) -> None:
        """Starts with the same stiffness for all components."""
        super().__init__()
        self.stiffness = nn.Parameter(torch.full((num_components,), math.log(FIRST_STIFFNESS)))

    def forward(self, location_map: Tensor, uv_features: Tensor, camera: Tensor,
                components: Tensor) -> Tensor:
        """The location map, moved.

        Args:
            location_map: (B, 3, r, r) float32, metres, root frame.
            uv_features: (B, C + 3, r, r) from the warp.
            camera: (B, 3) weak perspective (s, tx, ty).
            components: (3 r r, K) what one unit of each component adds to the map.

        Returns:
            (B, 3, r, r) float32, metres.
        """
        with torch.autocast(location_map.device.type, enabled=False):
            return self._align(location_map, uv_features[:, -WARP_CHANNELS:].float(), camera,
                               components.float())

    def _align(self, location_map: Tensor, warped: Tensor, camera: Tensor,
               components: Tensor) -> Tensor:
        side = int(location_map.shape[3])  # in a traced graph a constant
        num_texels = side ** 2
        in_image = components[:2 * num_texels]  # x and y
        is_seen = warped[:, -1:].flatten(2)
        error = reprojection_error(warped, location_map, camera).flatten(2)
        scale, stiffness = camera[:, :1], self.stiffness.exp()

        def moved_by(amounts: Tensor) -> Tensor:
            """(B, K) to the change of the projected texels (B, 2, r r), crop frame."""
            return (scale * (amounts @ in_image.T)).reshape(-1, 2, num_texels)

        def pulled_by(forces: Tensor) -> Tensor:
            """(B, 2, r r) to what they add up to in each component (B, K): the transpose."""
            return scale * (forces.flatten(1) @ in_image)

        amounts = torch.zeros_like(stiffness)[None]
        for _ in range(ROUNDS):
            left = error - moved_by(amounts)
            weights = is_seen / (1 + left.square().sum(dim=1, keepdim=True) / WRONG_BY ** 2)
            residual = pulled_by(weights * left) - stiffness * amounts
            direction, size = residual, residual.square().sum(dim=1, keepdim=True)
            for _ in range(STEPS):
                bent = pulled_by(weights * moved_by(direction)) + stiffness * direction
                step = size / (direction * bent).sum(dim=1, keepdim=True).clamp_min(SMALLEST)
                amounts = amounts + step * direction
                residual = residual - step * bent
                size_before, size = size, residual.square().sum(dim=1, keepdim=True)
                direction = residual + size / size_before.clamp_min(SMALLEST) * direction
        return location_map + (amounts @ components.T).reshape(-1, 3, side, side)
