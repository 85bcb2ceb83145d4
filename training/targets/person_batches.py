"""Converts stacked samples of photographs to training batches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from decomr_core.body_models import NUM_JOINTS, BodyModel
from decomr_core.body_models.joint_sets import annotated_regressor
from decomr_core.uv.uv_map import UVMap
from training.records.person_batch import PersonBatch
from training.records.posed_bodies import PosedBodies
from training.targets.mesh_target import MeshTargetRenderer, pixels_in_image

__all__ = ['PersonBatchMaker']


class PersonBatchMaker(nn.Module):
    """Poses the bodies of stacked samples and renders their IUV targets, on any device.

    Args:
        bodies: body models by gender, including the neutral one.
        uv_map: the UV map of the neutral one.
        size: S, side of the crops, px.
    """

    regressor: Tensor
    is_known: Tensor

    def __init__(self, bodies: Mapping[str, BodyModel], uv_map: UVMap, size: int) -> None:
        super().__init__()
        self.posed_bodies = PosedBodies(bodies)
        neutral = self.posed_bodies.neutral
        self.renderer = MeshTargetRenderer(neutral, uv_map, size)
        regressor, is_known = annotated_regressor(neutral)
        self.register_buffer('regressor', torch.from_numpy(regressor), persistent=False)
        self.register_buffer('is_known', torch.from_numpy(is_known).float(), persistent=False)

    @torch.no_grad()
    def forward(self, samples: Mapping[str, Tensor]) -> PersonBatch:
        """Makes the batch of B samples.

        Args:
            samples: stacked samples of `PeopleDataset`, on this module's device. If they have
                no `iuv`, targets are rendered with a camera fitted to the annotated joints.
        """
        weights = samples['mesh_weight']
        vertices, joints = self.posed_bodies(samples['pose'], samples['shape'], samples['gender'])
        is_known = (weights > 0).float()[:, None, None]
        iuv, iuv_weights = self._targets(vertices, samples)
        return PersonBatch(
            images=samples['image'],
            iuv=iuv,
            iuv_weights=iuv_weights * weights,
            vertices=vertices * is_known,
            joints=joints * is_known,
            mesh_weights=weights,
            joints_2d=joints.new_zeros(len(joints), NUM_JOINTS, 3),
            keypoints_2d=samples['keypoints_2d'],
            keypoints_3d=samples['keypoints_3d'],
        )

    def _targets(self, vertices: Tensor, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """IUV targets (B, 3, h, w) and their weights (B,)."""
        if 'iuv' in samples:
            return samples['iuv'], samples['iuv_weight']
        keypoints = samples['keypoints_2d'].clone()
        keypoints[..., 2] *= self.is_known * (samples['mesh_weight'] > 0)[:, None]
        inside = pixels_in_image(
            samples['crop_from_image'], samples['image_size'], self.renderer.size
        )
        target = self.renderer(vertices, self.regressor @ vertices, keypoints, inside)
        return target.iuv, target.weights
