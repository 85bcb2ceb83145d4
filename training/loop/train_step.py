"""The losses of one training step, by name. Only this module distinguishes the two stages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import PELVIS_OF_LSP, annotated_regressor
from decomr_core.geometry.crop import normalize_images
from decomr_core.measures import losses
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.fitted_map import FittedLocationMap
from decomr_core.uv.location_map import weight_map
from decomr_core.uv.uv_map import UVMap
from training.loop.train_config import LossWeights
from training.records.person_batch import PersonBatch

__all__ = ['NonFiniteLossError', 'TrainStep']


# Each step computes the edge losses on every FACE_STRIDE-th face.
FACE_STRIDE = 4
REMEDY = (
    'lower optimizer.learning_rate or set optimizer.clip_norm, then continue from the last '
    'checkpoint with --resume'
)


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


class TrainStep(nn.Module):
    """Computes the losses of a batch.

    Args:
        network: the network in training.
        body: its body.
        uv_map: its UV map.
        weights: factor of each loss.
        precision: `fp32` or `bf16`.
    """

    texel_weights: Tensor
    faces: Tensor
    annotated_regressor: Tensor
    is_annotation_known: Tensor

    def __init__(
        self, network: DecoMR, body: BodyModel, uv_map: UVMap, weights: LossWeights, precision: str
    ) -> None:
        super().__init__()
        self.network = network
        network.cnet.register_forward_hook(_check_finite)
        self.weights = weights
        self.precision = precision
        resolution = network.config.location_map_resolution
        # A network with surface detail needs no fitted map: the detail corrects the vertices.
        self.true_location_map: Callable[[Tensor], Tensor] = (
            network.location_mapper.location_map_from_vertices
            if network.config.is_detailed
            else FittedLocationMap(body, uv_map, resolution)
        )
        regressor, is_known = annotated_regressor(body)
        for name, value in (
            ('texel_weights', weight_map(body, uv_map, resolution)),
            ('faces', torch.as_tensor(body.faces)),
            ('annotated_regressor', torch.from_numpy(regressor)),
            ('is_annotation_known', torch.from_numpy(is_known).float()),
        ):
            self.register_buffer(name, value, persistent=False)

    def forward(self, batch: PersonBatch, is_first_stage: bool) -> dict[str, Tensor]:
        """Computes the weighted losses by name.

        Stage 1 has the losses of the IUV image and of the posed reference map, stage 2 all of
        them (section 3.4, which trains CNet alone first).

        Raises:
            NonFiniteLossError: a loss is NaN or infinite.
        """
        images = normalize_images(batch.images).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            iuv, local_features, global_features = self.network.predict_iuv(images)
        terms = self._iuv_losses(iuv.float(), batch)
        has_posed_loss = bool(self.weights.posed) and self.network.config.is_posed
        if is_first_stage and not has_posed_loss:
            return _checked(terms)
        true_map = self.true_location_map(batch.vertices)
        if has_posed_loss:
            terms['posed'] = self.weights.posed * self._posed_loss(
                global_features, batch, true_map
            )
        if is_first_stage:
            return _checked(terms)
        with self._autocast():
            output = self.network.predict_mesh(images, iuv, local_features, global_features)
        terms |= self._surface_losses(output, batch, true_map)
        terms['joints_3d'], terms['joints_2d'] = self._joint_losses(
            output.vertices, output.joints, output.camera, batch
        )
        return _checked(terms)

    def _posed_loss(self, global_features: Tensor, batch: PersonBatch, true_map: Tensor) -> Tensor:
        """Loss of the reference map posed by the global feature (B, G), without corrections."""
        with self._autocast():
            change, camera = self.network.lnet.pose(global_features)
        assert change is not None  # the network is posed
        location_map = self.network.lnet.reference_location_map + change
        joints_3d, joints_2d = self._joint_losses(
            *self.network.read_surface(location_map), camera, batch
        )
        return (
            joints_3d
            + joints_2d
            + self.weights.location_map
            * losses.location_map_loss(
                location_map, true_map, self.texel_weights, batch.mesh_weights
            )
        )

    def _iuv_losses(self, iuv: Tensor, batch: PersonBatch) -> dict[str, Tensor]:
        sample_weights = batch.iuv_weights
        return {
            'mask': self.weights.mask * losses.mask_loss(iuv, batch.iuv, sample_weights),
            'uv': self.weights.uv * losses.uv_loss(iuv, batch.iuv, sample_weights),
        }

    def _surface_losses(
        self, output: NetworkOutput, batch: PersonBatch, true_map: Tensor
    ) -> dict[str, Tensor]:
        weights, location_map = self.weights, output.location_map
        terms = {
            'location_map': weights.location_map
            * losses.location_map_loss(
                location_map, true_map, self.texel_weights, batch.mesh_weights
            ),
            'consistency': weights.consistency
            * losses.consistency_loss(batch.iuv, location_map, output.camera, batch.iuv_weights),
        }
        if weights.vertices:
            terms['vertices'] = weights.vertices * losses.vertex_loss(
                output.vertices, batch.vertices, batch.mesh_weights
            )
        if weights.edges or weights.normals:
            faces = self._sampled_faces()
            edges, true_edges = (
                losses.mesh_edges(vertices, faces)
                for vertices in (output.vertices, batch.vertices)
            )
            for name, loss in (
                ('edges', losses.edge_length_loss),
                ('normals', losses.edge_normal_loss),
            ):
                if getattr(weights, name):
                    terms[name] = getattr(weights, name) * loss(
                        edges, true_edges, batch.mesh_weights
                    )
        if weights.total_variation:
            terms['total_variation'] = weights.total_variation * losses.total_variation_loss(
                location_map
            )
        return terms

    def _joint_losses(
        self, vertices: Tensor, joints: Tensor, camera: Tensor, batch: PersonBatch
    ) -> tuple[Tensor, Tensor]:
        """3D and 2D joint losses: SMPL's joints of known meshes, plus annotated joints."""
        annotated = self.annotated_regressor @ vertices.float()
        confidence_3d = batch.keypoints_3d[..., 3] * self.is_annotation_known
        confidence_2d = batch.keypoints_2d[..., 2] * self.is_annotation_known
        of_mesh_3d = losses.joints_3d_loss(joints, batch.joints, sample_weights=batch.mesh_weights)
        of_annotation_3d = losses.joints_3d_loss(
            annotated, batch.keypoints_3d[..., :3], confidence_3d, PELVIS_OF_LSP
        )
        of_mesh_2d = losses.joints_2d_loss(
            losses.project_to_crop(joints, camera),
            batch.joints_2d[..., :2],
            batch.joints_2d[..., 2],
        )
        of_annotation_2d = losses.joints_2d_loss(
            losses.project_to_crop(annotated, camera),
            batch.keypoints_2d[..., :2],
            confidence_2d,
        )
        return (
            self.weights.joints_3d * (of_mesh_3d + of_annotation_3d),
            self.weights.joints_2d * (of_mesh_2d + of_annotation_2d),
        )

    def _sampled_faces(self) -> Tensor:
        """Different faces in each step, (F / 4, 3); the losses of adjacent faces are similar."""
        start = int(torch.randint(FACE_STRIDE, ()))
        return self.faces[start::FACE_STRIDE]

    def _autocast(self) -> torch.autocast:
        device = self.texel_weights.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == 'bf16')


def _check_finite(_: nn.Module, __: tuple, outputs: tuple[Tensor, ...]) -> None:
    """Raises an error before the warp converts NaN in u and v to texel indices."""
    if not torch.isfinite(outputs[0]).all():
        raise NonFiniteLossError(f'the predicted IUV image is not finite; {REMEDY}')


def _checked(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    bad = [name for name, value in terms.items() if not torch.isfinite(value)]
    if bad:
        raise NonFiniteLossError(f'loss {", ".join(bad)} is not finite; {REMEDY}')
    return terms
