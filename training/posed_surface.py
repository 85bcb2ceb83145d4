"""The surface that pose components alone give, and the losses on it.

LNet's corrections, the alignment and the rigid surface come afterwards and do not count here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from decomr_core.body_models import BodyModel
from decomr_core.measures import losses
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.lnet import Pose
from decomr_core.uv.location_map import weight_map
from decomr_core.uv.uv_map import UVMap

__all__ = ['Posed', 'PosedSurface', 'texel_edge_loss']

JOINTS_2D_WEIGHT = 10.0
"""As in config/training/train_rt.yaml."""
TEXEL_EDGES_WEIGHT = 10.0
"""As the edges of the mesh in config/training/train_rt.yaml."""


class Posed(NamedTuple):
    """Posed surfaces of B people.

    Attributes:
        location_map: (B, 3, R, R) the posed reference map, metres, root frame.
        camera: (B, 3) weak perspective.
        joints: (B, 24, 3) metres, root frame.
    """

    location_map: Tensor
    camera: Tensor
    joints: Tensor


class PosedSurface(nn.Module):
    """From the coefficients of a network's pose components to location map and joints.

    Joints are computed from the location map by one matrix. The network itself first reads
    vertices, which texels carry with the template's detail. The joints of the built-in body are
    3.5 mm apart on average.

    Args:
        network: has pose components; its layers are used, not copied.
        body: its body.
        uv_map: its UV map.

    Raises:
        ValueError: the network has no pose components.
    """

    network: DecoMR
    texel_weights: Tensor
    joints_of_texels: Tensor
    joints_offset: Tensor

    def __init__(self, network: DecoMR, body: BodyModel, uv_map: UVMap) -> None:
        super().__init__()
        if network.lnet.posed_head is None:
            raise ValueError('the network has no pose components; use weights of the preset rt')
        self.network = network
        self.register_buffer(
            'texel_weights', weight_map(body, uv_map, network.config.uv_resolution)
        )
        with torch.no_grad():
            weights, offsets = network.joints_of_texels(network.lnet.reference_location_map)
        self.register_buffer('joints_of_texels', weights)
        self.register_buffer('joints_offset', offsets)

    def forward(self, pose: Pose) -> Posed:
        """Surfaces of poses with coefficients."""
        assert pose.coefficients is not None
        location_map = self.network.lnet.posed_map(pose.coefficients)
        return Posed(location_map, pose.camera, self._joints(location_map))

    def losses(self, posed: Posed, true_maps: Tensor, joints: Tensor, joints_2d: Tensor) -> Tensor:
        """The loss that `training.train` calls `posed`, and `texel_edge_loss`; a scalar.

        Args:
            posed: predicted surfaces.
            true_maps: (B, 3, R, R) location maps, metres, root frame.
            joints: (B, 24, 3) true joints, metres, root frame.
            joints_2d: (B, 24, 3) true x and y in the crop frame, and 1 inside the image, else 0.
        """
        projected = losses.project_to_crop(posed.joints, posed.camera)
        return (
            self.map_losses(posed, true_maps)
            + losses.joints_3d_loss(posed.joints, joints)
            + JOINTS_2D_WEIGHT
            * losses.joints_2d_loss(projected, joints_2d[..., :2], joints_2d[..., 2])
        )

    def map_losses(self, posed: Posed, true_maps: Tensor) -> Tensor:
        """The part of `losses` that compares location maps; a scalar."""
        true_maps = true_maps.float()
        return losses.location_map_loss(
            posed.location_map, true_maps, self.texel_weights
        ) + TEXEL_EDGES_WEIGHT * texel_edge_loss(
            posed.location_map.float(), true_maps, self.texel_weights > 0
        )

    def _joints(self, location_map: Tensor) -> Tensor:
        # float32: bfloat16 would round a metre to 4 mm.
        with torch.autocast('cpu', enabled=False):
            joints = torch.einsum(
                'jt,bct->bjc', self.joints_of_texels, location_map.float().flatten(2)
            )
        return joints + self.joints_offset


def texel_edge_loss(pred: Tensor, truth: Tensor, is_inside: Tensor) -> Tensor:
    """l1 between the distances of neighbouring texels in two location maps, metres.

    Without it the heads learn poses whose surface is stretched.

    Args:
        pred: (B, 3, R, R) location maps, metres.
        truth: (B, 3, R, R) the true ones.
        is_inside: (R, R) bool, the texels of the UV map. Both neighbours must be inside.
    """
    differences = []
    for dim in (-2, -1):
        last = is_inside.shape[dim] - 1
        both = is_inside.narrow(dim, 0, last) & is_inside.narrow(dim, 1, last)
        lengths = [values.diff(dim=dim).norm(dim=1)[:, both] for values in (pred, truth)]
        differences.append((lengths[0] - lengths[1]).abs())
    return torch.cat(differences, dim=1).mean()
