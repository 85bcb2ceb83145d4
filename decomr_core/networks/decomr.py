"""DecoMR, the whole network, from image crops to meshes.

The parts run in this order, and only here are they put together:

1. CNet, the correspondence network, predicts the IUV image and features of each crop.
2. The warp carries the features of the pixels to the UV grid, by the IUV image.
3. A first pose, in presets with pose components, and the camera follow from the global feature.
   The lifting improves them by the positions of the joints in the image.
4. LNet, the localisation network, predicts the location map from the features and the pose.
5. The alignment, in presets with pose components, moves the surface onto the pixels that show it.
6. The rigid surface, in the same presets, takes the stretch out of the surface.
7. Vertices and joints are read from the location map.

`base/structures.py` defines the frames and the shape letters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.base.config import LOCAL_STRIDE, NetworkConfig
from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models.frames import in_root_frame
from decomr_core.networks.alignment import PixelAlignment
from decomr_core.networks.cnet import CNet, DenseOutput
from decomr_core.networks.lifting import LiftingHead
from decomr_core.networks.lnet import LNet
from decomr_core.networks.rigid_surface import RigidSurface
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
        location_mapper: vertices to location maps of R x R texels and back.
        cnet: images to IUV images and features.
        lnet: features to poses and cameras, and features on the UV grid to location maps.
        lifting: improves the pose by the joints in the image; None without
            `NetworkConfig.lifts`.
        alignment: moves the surface within LNet's pose components so that it projects onto the
            pixels that show it; None without pose components (`NetworkConfig.is_posed`).
        rigid_surface: lessens the stretch of the surface; None without `NetworkConfig.rigidity`.
        surface_detail: reads vertices with the template's detail, which is finer than the texels,
            such as fingers; None if the location map itself holds it (not
            `NetworkConfig.is_detailed`).
        joint_regressor: (J, V) weights of the vertices in each joint.
        warp_form: implementation of the warp, one of `decomr_core.uv.warp.WARP_FORMS`; all give
            the same result. An export to TensorRT needs `dense`.
    """

    joint_regressor: Tensor

    def __init__(self, config: NetworkConfig, body: BodyModel, uv_map: UVMap) -> None:
        """Makes the layers, randomly initialised.

        Args:
            config: the sizes of the network.
            body: the body whose meshes the network predicts.
            uv_map: its UV map.

        Raises:
            ValueError: the UV map does not fit the body.
        """
        super().__init__()
        self.config = config
        self.warp_form = 'scatter'
        self.body_name, self.body_hash, self.uv_hash = body.name, body.hash, uv_map.hash
        template = torch.as_tensor(body.v_template).detach().float()
        template = in_root_frame(template).unsqueeze(0)  # (1, V, 3)
        num_vertices = template.shape[1]
        # LNet works on the UV grid of r texels, and its location map has R: it needs the template
        # in both resolutions. Only location maps of R texels are read later.
        grid_mapper = LocationMapper(uv_map, config.uv_resolution, num_vertices)
        self.location_mapper = LocationMapper(uv_map, config.location_map_resolution, num_vertices)
        self.register_buffer(
            'joint_regressor',
            torch.as_tensor(body.joint_regressor).detach().float().clone(),
            persistent=False,
        )
        reference = self.location_mapper.location_map_from_vertices(template)
        self.surface_detail = (
            SurfaceDetail(self.location_mapper, template[0]) if config.is_detailed else None
        )
        self.cnet = CNet(config)
        self.lnet = LNet(config, grid_mapper.location_map_from_vertices(template), reference)
        self.lifting = (
            LiftingHead(config.pose_components, config.lifting_features) if config.lifts else None
        )
        self.alignment = self._make_alignment(reference)
        faces = torch.as_tensor(body.faces).long()
        self.rigid_surface = None
        if config.rigidity:
            weights = self.location_mapper.texel_weights(self.joint_regressor)
            self.rigid_surface = RigidSurface(
                self.location_mapper, template[0], faces, weights, config.rigidity
            )

    @property
    def pose_layers(self) -> list[nn.Module]:
        """The layers that compute the global feature, and pose and camera before LNet."""
        layers = [self.cnet.global_head, self.lnet.camera_head, self.lnet.posed_head, self.lifting]
        return [layer for layer in layers if layer is not None]

    def forward(self, images: Tensor, guide_iuv: Tensor | None = None) -> NetworkOutput:
        """Runs the whole network.

        Args:
            images: (B, 3, S, S) RGB, from `decomr_core.geometry.crop.network_input`.
            guide_iuv: (B, 3, h, w) IUV image that guides the warp instead of the predicted one,
                to compare networks under the same correspondences.

        Returns:
            IUV image, vertices, joints, camera and location map; see `NetworkOutput`.
        """
        return self.predict_mesh(images, self.predict_iuv(images), guide_iuv)

    def predict_iuv(self, images: Tensor) -> DenseOutput:
        """Runs CNet only, as in the first stage of training.

        Args:
            images: (B, 3, S, S) RGB, from `decomr_core.geometry.crop.network_input`.
        """
        return self.cnet(images)

    def predict_mesh(
        self, images: Tensor, dense: DenseOutput, guide_iuv: Tensor | None = None
    ) -> NetworkOutput:
        """Runs the parts after CNet.

        Args:
            images: (B, 3, S, S), the images given to `predict_iuv`.
            dense: from `predict_iuv`.
            guide_iuv: see `forward`.

        Returns:
            See `forward`; its IUV image is that of `dense`, also with a guide.
        """
        iuv, local_features, global_features, heatmaps = dense
        guide = iuv if guide_iuv is None else guide_iuv
        uv_features = self._warp(images, local_features, guide)
        located = None if heatmaps is None else PixelAlignment.locate_joints(heatmaps)
        pose = self.lnet.pose(global_features)
        if self.lifting is not None:
            pose = self.lifting(pose, located)
        location_map = self.lnet(uv_features, global_features, pose)
        if self.alignment is not None:
            location_map = self.alignment(
                location_map, uv_features, pose.camera, self.lnet.pose_components, located
            )
        if self.rigid_surface is not None:
            location_map = self.rigid_surface(location_map)
        vertices, joints = self.read_surface(location_map)
        return NetworkOutput(iuv, vertices, joints, pose.camera, location_map)

    def read_surface(self, location_map: Tensor) -> tuple[Tensor, Tensor]:
        """Reads the mesh from a location map.

        Args:
            location_map: (B, 3, R, R) metres, root frame.

        Returns:
            Vertices (B, V, 3) and joints (B, J, 3), metres, root frame.
        """
        # bf16 has steps of several millimetres at the size of a person.
        with torch.autocast(location_map.device.type, enabled=False):
            read = self.surface_detail or self.location_mapper.vertices_from_location_map
            vertices = read(location_map)
            return vertices, self.joint_regressor @ vertices

    def joints_of_texels(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        """The linear part of the way from location maps to joints.

        Args:
            reference: (1, 3, R, R) location map of the template, metres.

        Returns:
            (J, R R) weights of the texels in each joint, and (J, 3) the template's joints minus
            their weighted sums, metres: the detail that the location map does not hold.
        """
        weights = self.location_mapper.texel_weights(self.joint_regressor)
        sums = reference[0].flatten(1) @ weights.T  # (3, J)
        return weights, self.read_surface(reference)[1][0] - sums.T

    def _make_alignment(self, reference: Tensor) -> PixelAlignment | None:
        """The alignment, for a reference map (1, 3, R, R), metres."""
        if not self.config.is_posed:
            return None
        joints = self.joints_of_texels(reference) if self.config.locates_joints else ()
        return PixelAlignment(self.config.pose_components, *joints)

    def _warp(self, images: Tensor, local_features: Tensor, guide_iuv: Tensor) -> Tensor | None:
        """Warps the image features that LNet takes to the UV grid.

        Args:
            images: (B, 3, S, S), whose pixels are the features for `raw+global`.
            local_features: (B, C, h, w), the features for `local` and `global+local`.
            guide_iuv: (B, 3, h, w).

        Returns:
            (B, channels + 3, r, r), as of `warp_to_uv`: the features, then x, y and mask of the
            pixels. None if `config.lnet_input` has no image features.
        """
        if not self.config.warped_channels:
            return None
        if self.config.lnet_input == 'raw+global':
            features = functional.avg_pool2d(self.cnet.standardize(images), LOCAL_STRIDE)
        else:
            features = self.lnet.squeeze(local_features)
        return warp_to_uv(features, guide_iuv, self.config.uv_resolution, self.warp_form)
