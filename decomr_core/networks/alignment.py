"""The last step to the mesh: aligns the posed surface with the image.

The warp gives the position of the pixels of every visible texel, and the joint heatmaps give the
positions of the joints. The surface moves within LNet's pose components so that its texels and
joints project there. This is a regularised least squares problem. Solving it takes matrix products
only, so every runtime can do it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from decomr_core.geometry.heatmaps import averages_under_heatmaps
from decomr_core.uv.location_map import project_location_map
from decomr_core.uv.warp import WARP_CHANNELS, pixel_positions, reprojection_error

__all__ = ['PixelAlignment', 'joint_reliability']

OUTLIER_SCALE = 0.25
"""Residual at which a texel or joint has a quarter of its weight (Geman and McClure's estimator),
crop frame. Outliers come from wrong u and v, as where left is taken for right."""
NUM_REWEIGHTINGS = 4
"""Rounds of iteratively reweighted least squares."""
NUM_CG_STEPS = 3
"""Conjugate gradient steps per round. The vertices of rendered people are then 7.1 mm (mean) from
those of many rounds of many steps. With 4 steps it is 4.2 mm, but no more joints are right on
photographs. The pose's errors are larger."""
INITIAL_STIFFNESS = 0.3
MIN_DENOMINATOR = 1e-12
JOINT_WEIGHT = 70.0
"""Weight of a joint with a narrow heatmap; that of a texel is 1. It is not learnt: on renderings a
smaller weight is best, but on photographs the pose before the alignment is less certain."""
JOINT_DEVIATION = 0.03
"""Spread of a heatmap at which its joint has half weight, crop frame."""
MIN_VARIANCE = 1e-4
"""Smallest variance of a heatmap, crop frame."""


class PixelAlignment(nn.Module):
    """Iteratively reweighted least squares, each round solved by conjugate gradients.

    It finds the coefficients a of the pose components that minimise the sum of
    w |s (X(a) + t) - x|^2 over the visible texels and the joints plus the sum of e^stiffness a^2
    over the components. X(a) is the moved surface point or joint, and x the position of the
    texel's pixels or of the joint in the image.

    Attributes:
        stiffness: (K,) logarithm of each component's regularisation weight; learnt.
        joints_of_texels: (J, r r) weights of the texels in each joint.
        joint_offsets: (J, 3) joints minus the weighted sums of the texels, metres: the detail
            that the location map does not hold, as in the template.
    """

    joints_of_texels: Tensor | None
    joint_offsets: Tensor | None

    def __init__(
        self,
        num_components: int,
        joints_of_texels: Tensor | None = None,
        joint_offsets: Tensor | None = None,
    ) -> None:
        """Starts with the same stiffness for all components.

        Args:
            num_components: K.
            joints_of_texels: see the attribute; None aligns with pixels alone.
            joint_offsets: see the attribute.
        """
        super().__init__()
        self.stiffness = nn.Parameter(torch.full((num_components,), math.log(INITIAL_STIFFNESS)))
        self.register_buffer('joints_of_texels', joints_of_texels, persistent=False)
        self.register_buffer('joint_offsets', joint_offsets, persistent=False)

    def forward(
        self,
        location_map: Tensor,
        uv_features: Tensor,
        camera: Tensor,
        components: Tensor,
        located: Tensor | None = None,
    ) -> Tensor:
        """The aligned location map.

        Args:
            location_map: (B, 3, r, r) float32, metres, root frame.
            uv_features: (B, C + 3, r, r) from the warp.
            camera: (B, 3) weak perspective (s, tx, ty).
            components: (3 r r, K) change of the map per unit of each component.
            located: (B, J, 3) from `locate_joints`; None aligns with pixels alone.

        Returns:
            (B, 3, r, r) float32, metres.
        """
        with torch.autocast(location_map.device.type, enabled=False):
            return self._align(
                location_map,
                uv_features[:, -WARP_CHANNELS:].float(),
                camera,
                components.float(),
                located,
            )

    @staticmethod
    def locate_joints(heatmaps: Tensor) -> Tensor:
        """Mean and spread of heatmaps.

        Args:
            heatmaps: (B, J, h, w) logits.

        Returns:
            (B, J, 3) float32, crop frame: x, y, and the standard deviation along an axis.
        """
        heatmaps = heatmaps.float()
        x, y, _ = pixel_positions(heatmaps)[0]
        moments = torch.stack([x, y, x.square() + y.square()], dim=1)  # (h * w, 3)
        with torch.autocast(heatmaps.device.type, enabled=False):
            found = averages_under_heatmaps(heatmaps, moments[None])
        positions = found[..., :2]
        variance = (found[..., 2:] - positions.square().sum(dim=-1, keepdim=True)) / 2
        # Rounding may make a variance negative.
        return torch.cat([positions, (variance.clamp_min(0) + MIN_VARIANCE).sqrt()], dim=-1)

    def _align(
        self,
        location_map: Tensor,
        warped: Tensor,
        camera: Tensor,
        components: Tensor,
        located: Tensor | None,
    ) -> Tensor:
        side = int(location_map.shape[3])  # a constant in a traced graph
        num_points = side**2
        jacobian = components[: 2 * num_points]  # x and y, (2 r r, K)
        reliability = warped[:, -1:].flatten(2)  # 1 for a visible texel, 0 for the others
        error = reprojection_error(warped, location_map, camera).flatten(2)
        if located is not None:
            jacobian = self._with_joints(jacobian)
            of_joints = JOINT_WEIGHT * joint_reliability(located)[:, None]
            reliability = torch.cat([reliability, of_joints], dim=2)
            joint_error = self._joint_error(location_map, camera, located)
            error = torch.cat([error, joint_error], dim=2)
            num_points += int(located.shape[1])
        scale, stiffness = camera[:, :1], self.stiffness.exp()

        def project(coefficients: Tensor) -> Tensor:
            """(B, K) to the shift of the projected points (B, 2, r r + J), crop frame."""
            return (scale * (coefficients @ jacobian.T)).reshape(-1, 2, num_points)

        def project_transposed(shifts: Tensor) -> Tensor:
            """(B, 2, r r + J) to (B, K): the transpose of `project`."""
            return scale * (shifts.flatten(1) @ jacobian)

        coefficients = torch.zeros_like(stiffness)[None]
        for _ in range(NUM_REWEIGHTINGS):
            gap = error - project(coefficients)
            squared = gap.square().sum(dim=1, keepdim=True)
            weights = reliability / (1 + squared / OUTLIER_SCALE**2).square()
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

    def _with_joints(self, jacobian: Tensor) -> Tensor:
        """(2 r r, K) of the texels to (2 (r r + J), K) of texels and joints."""
        assert self.joints_of_texels is not None  # a network with heatmaps has joints
        texels = jacobian.reshape(2, -1, jacobian.shape[1])
        return torch.cat([texels, self.joints_of_texels @ texels], dim=1).flatten(0, 1)

    def _joint_error(self, location_map: Tensor, camera: Tensor, located: Tensor) -> Tensor:
        """(B, 2, J): from the projected to the located joints, crop frame."""
        assert self.joints_of_texels is not None and self.joint_offsets is not None
        joints = location_map.flatten(2) @ self.joints_of_texels.T + self.joint_offsets.T
        projected = project_location_map(joints[..., None], camera)[..., 0]
        return located[..., :2].transpose(1, 2) - projected


def joint_reliability(located: Tensor) -> Tensor:
    """How certain the positions of joints are.

    Args:
        located: (B, J, 3) from `PixelAlignment.locate_joints`.

    Returns:
        (B, J): near 1 for a joint with a narrow heatmap, near 0 for one with a wide heatmap.
    """
    return 1 / (1 + (located[..., 2] / JOINT_DEVIATION).square())
