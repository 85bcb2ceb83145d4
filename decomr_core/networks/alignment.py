"""The last step to the mesh: aligns the posed surface with the pixels that show it.

The warp gives the position of the pixels of every visible texel. The surface moves within LNet's
pose components so that its texels project there. This is a regularised least squares problem.
Solving it takes matrix products only, so every runtime can do it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from decomr_core.uv.warp import WARP_CHANNELS, reprojection_error

__all__ = ['PixelAlignment']

CAUCHY_SCALE = 0.1
"""Residual at which a texel has half weight, crop frame. Outliers come from wrong u and v, as
where left is taken for right."""
NUM_REWEIGHTINGS = 2
"""Rounds of iteratively reweighted least squares."""
NUM_CG_STEPS = 5
"""Conjugate gradient steps per round; more steps change the result by less than 0.1 mm."""
INITIAL_STIFFNESS = 0.3
MIN_DENOMINATOR = 1e-12


class PixelAlignment(nn.Module):
    """Iteratively reweighted least squares, each round solved by conjugate gradients.

    It finds the coefficients a of the pose components that minimise the sum of
    w |s (X(a) + t) - x|^2 over the visible texels plus the sum of e^stiffness a^2 over the
    components. X(a) is the moved surface point and x the position of the texel's pixels.

    Attributes:
        stiffness: (K,) logarithm of each component's regularisation weight; learnt.
    """

    def __init__(self, num_components: int) -> None:
        """Starts with the same stiffness for all components."""
        super().__init__()
        self.stiffness = nn.Parameter(torch.full((num_components,), math.log(INITIAL_STIFFNESS)))

    def forward(
        self, location_map: Tensor, uv_features: Tensor, camera: Tensor, components: Tensor
    ) -> Tensor:
        """The aligned location map.

        Args:
            location_map: (B, 3, r, r) float32, metres, root frame.
            uv_features: (B, C + 3, r, r) from the warp.
            camera: (B, 3) weak perspective (s, tx, ty).
            components: (3 r r, K) change of the map per unit of each component.

        Returns:
            (B, 3, r, r) float32, metres.
        """
        with torch.autocast(location_map.device.type, enabled=False):
            return self._align(
                location_map, uv_features[:, -WARP_CHANNELS:].float(), camera, components.float()
            )

    def _align(
        self, location_map: Tensor, warped: Tensor, camera: Tensor, components: Tensor
    ) -> Tensor:
        side = int(location_map.shape[3])  # a constant in a traced graph
        num_texels = side**2
        jacobian = components[: 2 * num_texels]  # x and y, (2 r r, K)
        is_visible = warped[:, -1:].flatten(2)
        error = reprojection_error(warped, location_map, camera).flatten(2)
        scale, stiffness = camera[:, :1], self.stiffness.exp()

        def project(coefficients: Tensor) -> Tensor:
            """(B, K) to the shift of the projected texels (B, 2, r r), crop frame."""
            return (scale * (coefficients @ jacobian.T)).reshape(-1, 2, num_texels)

        def project_transposed(shifts: Tensor) -> Tensor:
            """(B, 2, r r) to (B, K): the transpose of `project`."""
            return scale * (shifts.flatten(1) @ jacobian)

        coefficients = torch.zeros_like(stiffness)[None]
        for _ in range(NUM_REWEIGHTINGS):
            gap = error - project(coefficients)
            weights = is_visible / (1 + gap.square().sum(dim=1, keepdim=True) / CAUCHY_SCALE**2)
            residual = project_transposed(weights * gap) - stiffness * coefficients
            direction, norm = residual, residual.square().sum(dim=1, keepdim=True)
            for _ in range(NUM_CG_STEPS):
                product = project_transposed(weights * project(direction)) + stiffness * direction
                curvature = (direction * product).sum(dim=1, keepdim=True)
                step = norm / curvature.clamp_min(MIN_DENOMINATOR)
                coefficients = coefficients + step * direction
                residual = residual - step * product
                old_norm, norm = norm, residual.square().sum(dim=1, keepdim=True)
                direction = residual + norm / old_norm.clamp_min(MIN_DENOMINATOR) * direction
        return location_map + (coefficients @ components.T).reshape(-1, 3, side, side)
