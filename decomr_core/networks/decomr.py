"""DecoMR: the only place that runs CNet -> warp -> LNet -> alignment -> vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.base.config import LOCAL_STRIDE, NetworkConfig
from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models.frames import in_root_frame
from decomr_core.networks.alignment import PixelAlignment
from decomr_core.networks.cnet import CNet
from decomr_core.networks.lnet import LNet
from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.surface_detail import SurfaceDetail
from decomr_core.uv.warp import warp_to_uv

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel
    from decomr_core.uv.uv_map import UVMap

__all__ = ['DecoMR']


class DecoMR(nn.Module):
    """Image crops to IUV images, meshes and weak-perspective cameras.

    Tensors derived from the body and its UV map (reference map, joint regressor, sampling tables)
    are non-persistent buffers; a checkpoint records the hashes of body and UV map instead.

    Attributes:
        config: the sizes of this network.
        body_name, body_hash, uv_hash: the body and the UV map it was made for.
        location_mapper: vertices to location maps of R texels and back.
        surface_detail: adds the template's detail to vertices read from the map, or None.
        joint_regressor: (J, V).
        warp_form: how the warp is computed, one of `WARP_FORMS`; all give the same result.
    """

    joint_regressor: Tensor

    def __init__(self, config: NetworkConfig, body: BodyModel, uv_map: UVMap) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        self.config = config
        self.warp_form = 'scatter'
        self.body_name, self.body_hash, self.uv_hash = body.name, body.hash, uv_map.hash
        template = torch.as_tensor(body.v_template).detach().float()
        template = in_root_frame(template).unsqueeze(0)  # (1, V, 3)
        num_vertices = template.shape[1]
        coarse = LocationMapper(uv_map, config.uv_resolution, num_vertices)
        self.location_mapper = LocationMapper(uv_map, config.location_map_resolution, num_vertices)
        self.register_buffer(
            'joint_regressor',
            torch.as_tensor(body.joint_regressor).detach().float().clone(),
            persistent=False,
        )
        reference = self.location_mapper.location_map_from_vertices(template)
        self.surface_detail = (
            None
            if not config.is_detailed
            else SurfaceDetail(
                self.location_mapper.vertices_from_location_map(reference)[0], template[0]
            )
        )
        self.cnet = CNet(config)
        self.lnet = LNet(config, coarse.location_map_from_vertices(template), reference)
        self.alignment = PixelAlignment(config.pose_components) if config.is_posed else None

    def forward(self, images: Tensor, guide_iuv: Tensor | None = None) -> NetworkOutput:
        """Runs the whole network.

        Args:
            images: (B, 3, S, S) RGB normalised.
            guide_iuv: (B, 3, h, w) IUV image that guides the warp instead of the predicted one,
                for training and comparisons.

        Returns:
            IUV image, vertices, joints, camera and location map; see `NetworkOutput`.
        """
        return self.predict_mesh(images, *self.predict_iuv(images), guide_iuv)

    def predict_iuv(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Runs CNet only, as in the first stage of training.

        Args:
            images: (B, 3, S, S) RGB normalised.

        Returns:
            `iuv` (B, 3, h, w), `local_features` (B, C, h, w), `global_features` (B, G).
        """
        return self.cnet(images)

    def predict_mesh(
        self,
        images: Tensor,
        iuv: Tensor,
        local_features: Tensor,
        global_features: Tensor,
        guide_iuv: Tensor | None = None,
    ) -> NetworkOutput:
        """Runs the part after `predict_iuv`, with its results as inputs; see `forward`."""
        guide = iuv if guide_iuv is None else guide_iuv
        uv_features = self._warp(images, local_features, guide)
        location_map, camera = self.lnet(uv_features, global_features)
        if self.alignment is not None and self.lnet.posed_head is not None:
            location_map = self.alignment(
                location_map, uv_features, camera, self.lnet.posed_head.last.weight
            )
        vertices, joints = self.read_surface(location_map)
        return NetworkOutput(iuv, vertices, joints, camera, location_map)

    def read_surface(self, location_map: Tensor) -> tuple[Tensor, Tensor]:
        """A location map (B, 3, R, R) to vertices (B, V, 3) and joints (B, J, 3), metres."""
        with torch.autocast(location_map.device.type, enabled=False):  # float32 for mm accuracy
            vertices = self.location_mapper.vertices_from_location_map(location_map)
            if self.surface_detail is not None:
                vertices = self.surface_detail(vertices)
            return vertices, self.joint_regressor @ vertices

    def _warp(self, images: Tensor, local_features: Tensor, guide_iuv: Tensor) -> Tensor | None:
        """The image features of `lnet_input` on the UV grid: (B, C + 3, r, r), or None."""
        if not self.config.warped_channels:
            return None
        is_raw = self.config.lnet_input == 'raw+global'
        features = functional.avg_pool2d(images, LOCAL_STRIDE) if is_raw else local_features
        return warp_to_uv(features, guide_iuv, self.config.uv_resolution, self.warp_form)
