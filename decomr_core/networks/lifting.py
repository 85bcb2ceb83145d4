"""The step from 2D to 3D: the positions of the joints in the image improve the pose.

The pose that LNet's head predicts from the global feature and the positions of the joints under
the heatmaps come from different features of the image. A small network that has seen both beside
the true pose of many people knows which depth belongs to which positions ("lifting"; Martinez et
al., "A Simple yet Effective Baseline for 3D Human Pose Estimation", ICCV 2017). It takes so few
numbers that it can be trained with people who were never rendered (`training/lifting.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomr_core.body_models.joints import NUM_JOINTS
from decomr_core.networks.alignment import joint_reliability
from decomr_core.networks.blocks import LinearResidual, OutputHead
from decomr_core.networks.lnet import Pose

__all__ = ['LiftingHead']

NUM_BLOCKS = 2
NUM_CAMERA = 3


class LiftingHead(nn.Module):
    """Joints in the image and a first pose to a change of this pose.

    Args:
        num_components: K, number of pose components.
        width: of the hidden layers.
    """

    def __init__(self, num_components: int, width: int) -> None:
        super().__init__()
        self.num_components = num_components
        self.head = OutputHead(
            nn.Linear(3 * NUM_JOINTS + num_components + NUM_CAMERA, width),
            nn.LayerNorm(width),
            nn.ReLU(inplace=True),
            *(LinearResidual(width) for _ in range(NUM_BLOCKS)),
            nn.Linear(width, num_components + NUM_CAMERA),
        )
        for value in self.head.last.parameters():
            nn.init.zeros_(value)  # the first pose passes through unchanged

    def forward(self, pose: Pose, located: Tensor) -> Pose:
        """A better pose.

        Args:
            pose: of B people, with coefficients.
            located: (B, J, 3) from `PixelAlignment.locate_joints`: x, y and spread, crop frame.
        """
        assert pose.coefficients is not None  # a network with a lifting head has components
        known = torch.cat([located[..., :2].flatten(1), joint_reliability(located)], dim=1)
        change = self.head(torch.cat([known, pose.coefficients, pose.camera], dim=1))
        return Pose(
            pose.coefficients + change[:, : self.num_components],
            pose.camera + change[:, self.num_components :],
        )
