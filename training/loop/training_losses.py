"""The losses of training, which differ between its two stages.

Stage 1 trains CNet alone, in presets with pose components together with LNet's heads for pose and
camera. Stage 2 trains the whole network (Zeng et al., CVPR 2020, section 3.4).
`decomr_core/base/structures.py` defines the frames and the shape letters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import PELVIS_OF_LSP, annotated_regressor
from decomr_core.geometry.crop import network_input
from decomr_core.measures import losses
from decomr_core.networks.alignment import PixelAlignment
from decomr_core.networks.cnet import DenseOutput
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.fitted_map import FittedLocationMap
from decomr_core.uv.location_map import weight_map
from decomr_core.uv.uv_map import UVMap
from training.loop.train_config import LossWeights
from training.records.person_batch import PersonBatch

__all__ = ['NonFiniteLossError', 'TrainingLosses']


# Each step computes the edge losses on every FACE_STRIDE-th face.
FACE_STRIDE = 4
REMEDY = (
    'lower optimizer.learning_rate or set optimizer.clip_norm, then continue from the last '
    'checkpoint with --resume'
)


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


class TrainingLosses(nn.Module):
    """Runs the network in training on a batch and computes the losses.

    It is a module that contains the network, so that one wrapper (for several processes, say)
    covers both, and its constants move to the device of the network.

    Args:
        network: the network in training.
        body: its body.
        uv_map: its UV map.
        weights: factor of each loss.
        precision: `fp32`, or `bf16` for autocast of the network. The losses are in float32.

    Attributes:
        network: as given.
        weights: as given.
        precision: as given.
        location_map_from_vertices: makes the true location maps (B, 3, R, R) of true vertices
            (B, V, 3), metres.
        texel_weights: (R, R) weight of each texel in the loss of the location map.
        faces: (F, 3) int64.
        annotated_regressor: (24, V) from vertices to the annotated joints (`ANNOTATED_JOINTS`).
        is_regressed: (24,) float32, 1 for annotated joints that the regressor gives, 0 for the
            others (eyes and ears), which have no loss.
    """

    texel_weights: Tensor
    faces: Tensor
    annotated_regressor: Tensor
    is_regressed: Tensor

    def __init__(
        self, network: DecoMR, body: BodyModel, uv_map: UVMap, weights: LossWeights, precision: str
    ) -> None:
        super().__init__()
        self.network = network
        # The warp would convert NaN in u and v to texel indices, before any loss is checked.
        network.cnet.register_forward_hook(_check_predicted_iuv)
        self.weights = weights
        self.precision = precision
        resolution = network.config.location_map_resolution
        # A location map of surface points alone loses the detail between its texels. A network
        # with surface detail adds it afterwards. For other networks the map is fitted so that the
        # vertices read from it are exact.
        self.location_map_from_vertices: Callable[[Tensor], Tensor] = (
            network.location_mapper.location_map_from_vertices
            if network.config.is_detailed
            else FittedLocationMap(body, uv_map, resolution)
        )
        regressor, is_regressed = annotated_regressor(body)
        for name, value in (
            ('texel_weights', weight_map(body, uv_map, resolution)),
            ('faces', torch.as_tensor(body.faces)),
            ('annotated_regressor', torch.from_numpy(regressor)),
            ('is_regressed', torch.from_numpy(is_regressed).float()),
        ):
            self.register_buffer(name, value, persistent=False)

    def forward(self, batch: PersonBatch, is_first_stage: bool) -> dict[str, Tensor]:
        """Computes the losses of a batch.

        Args:
            batch: B people.
            is_first_stage: whether to compute only the losses of stage 1: those of the IUV image
                and, in presets with pose components, of the reference map as LNet's pose head
                poses it.

        Returns:
            Scalars by name of the loss, each multiplied by its weight. The total loss is their
            sum.

        Raises:
            NonFiniteLossError: a loss or the predicted IUV image is NaN or infinite.
        """
        terms = self._terms(batch, is_first_stage)
        _check_terms(terms)
        return terms

    def _terms(self, batch: PersonBatch, is_first_stage: bool) -> dict[str, Tensor]:
        """The weighted losses by name, unchecked."""
        images = network_input(batch.images).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            dense = self.network.predict_iuv(images)
        terms = self._iuv_losses(dense.iuv.float(), batch)
        if dense.joint_heatmaps is not None:
            # Not their confidences, which are 0 outside of the image.
            terms['joint_locations'] = self.weights.joint_locations * losses.joint_location_loss(
                PixelAlignment.locate_joints(dense.joint_heatmaps),
                batch.joints_2d[..., :2],
                batch.mesh_weights,
            )
        has_posed_loss = bool(self.weights.posed) and self.network.config.is_posed
        if is_first_stage and not has_posed_loss:
            return terms  # the other losses need the true location map, this one does not
        true_map = self.location_map_from_vertices(batch.vertices)
        if has_posed_loss:
            terms['posed'] = self.weights.posed * self._posed_loss(
                dense.global_features, batch, true_map
            )
        if not is_first_stage:
            with self._autocast():
                output = self.network.predict_mesh(images, dense)
            terms |= self._surface_losses(output, batch, true_map)
            terms['joints_3d'], terms['joints_2d'] = self._joint_losses(
                output.vertices, output.joints, output.camera, batch
            )
        return terms

    def _posed_loss(self, global_features: Tensor, batch: PersonBatch, true_map: Tensor) -> Tensor:
        """The loss of the mesh that LNet's pose head alone predicts.

        The head changes the reference map by the global feature. What LNet and the alignment
        change afterwards does not count here.

        Args:
            global_features: (B, G) from CNet.
            batch: B people.
            true_map: (B, 3, R, R) metres, root frame.
        """
        with self._autocast():
            pose = self.network.lnet.pose(global_features)
        assert pose.coefficients is not None  # the network is posed
        location_map = self.network.lnet.posed_map(pose.coefficients)
        vertices, joints = self.network.read_surface(location_map)
        joints_3d, joints_2d = self._joint_losses(vertices, joints, pose.camera, batch)
        return (
            joints_3d
            + joints_2d
            + self.weights.location_map
            * losses.location_map_loss(
                location_map, true_map, self.texel_weights, batch.mesh_weights
            )
        )

    def _iuv_losses(self, iuv: Tensor, batch: PersonBatch) -> dict[str, Tensor]:
        """The losses of predicted IUV images (B, 3, h, w)."""
        weights, sample_weights = self.weights, batch.iuv_weights
        terms = {
            'mask': weights.mask * losses.mask_loss(iuv, batch.iuv, sample_weights),
            'uv': weights.uv * losses.uv_loss(iuv, batch.iuv, sample_weights),
        }
        if weights.mask_overlap:
            terms['mask_overlap'] = weights.mask_overlap * losses.mask_overlap_loss(
                iuv, batch.iuv, sample_weights
            )
        return terms

    def _surface_losses(
        self, output: NetworkOutput, batch: PersonBatch, true_map: Tensor
    ) -> dict[str, Tensor]:
        """The losses of location map and mesh; those not in the paper only if their weight is set.

        Args:
            output: the network's output.
            batch: B people.
            true_map: (B, 3, R, R) metres, root frame.
        """
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
            terms |= self._edge_losses(output.vertices, batch)
        if weights.total_variation:
            terms['total_variation'] = weights.total_variation * losses.total_variation_loss(
                location_map
            )
        return terms

    def _edge_losses(self, vertices: Tensor, batch: PersonBatch) -> dict[str, Tensor]:
        """The losses of the mesh's edges, for vertices (B, V, 3), metres, root frame."""
        weights, sample_weights = self.weights, batch.mesh_weights
        faces = self._sampled_faces()
        edges = losses.mesh_edges(vertices, faces)
        true_edges = losses.mesh_edges(batch.vertices, faces)
        terms = {}
        if weights.edges:
            terms['edges'] = weights.edges * losses.edge_length_loss(
                edges, true_edges, sample_weights
            )
        if weights.normals:
            terms['normals'] = weights.normals * losses.edge_normal_loss(
                edges, true_edges, sample_weights
            )
        return terms

    def _joint_losses(
        self, vertices: Tensor, joints: Tensor, camera: Tensor, batch: PersonBatch
    ) -> tuple[Tensor, Tensor]:
        """The 3D and the 2D joint loss, each the sum over two sets of joints.

        People with a true mesh have SMPL's joints. People with annotated keypoints have those,
        which are compared with the same joints of the predicted mesh.

        Args:
            vertices: (B, V, 3) metres, root frame.
            joints: (B, 24, 3) SMPL's joints, metres, root frame.
            camera: (B, 3) weak perspective (s, tx, ty).
            batch: B people.
        """
        annotated = self.annotated_regressor @ vertices.float()
        confidence_3d = batch.keypoints_3d[..., 3] * self.is_regressed
        confidence_2d = batch.keypoints_2d[..., 2] * self.is_regressed
        of_mesh_3d = losses.joints_3d_loss(joints, batch.joints, sample_weights=batch.mesh_weights)
        of_annotation_3d = losses.joints_3d_loss(
            annotated, batch.keypoints_3d[..., :3], confidence_3d, pelvis=PELVIS_OF_LSP
        )
        of_mesh_2d = losses.joints_2d_loss(
            losses.project_to_crop(joints, camera),
            batch.joints_2d[..., :2],
            batch.joints_2d[..., 2],
        )
        of_annotation_2d = losses.joints_2d_loss(
            losses.project_to_crop(annotated, camera), batch.keypoints_2d[..., :2], confidence_2d
        )
        return (
            self.weights.joints_3d * (of_mesh_3d + of_annotation_3d),
            self.weights.joints_2d * (of_mesh_2d + of_annotation_2d),
        )

    def _sampled_faces(self) -> Tensor:
        """Samples a part of the faces (F / 4, 3), another in each step.

        A part is enough, because the losses of adjacent faces are similar.
        """
        start = int(torch.randint(FACE_STRIDE, ()))
        return self.faces[start::FACE_STRIDE]

    def _autocast(self) -> torch.autocast:
        device = self.texel_weights.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == 'bf16')


def _check_predicted_iuv(_cnet: nn.Module, _inputs: tuple, dense: DenseOutput) -> None:
    """Forward hook of CNet: raises `NonFiniteLossError` if its IUV image is not finite."""
    if not torch.isfinite(dense.iuv).all():
        raise NonFiniteLossError(f'the predicted IUV image is not finite; {REMEDY}')


def _check_terms(terms: dict[str, Tensor]) -> None:
    """Raises `NonFiniteLossError`, with the names, if losses are not finite."""
    bad = [name for name, value in terms.items() if not torch.isfinite(value)]
    if bad:
        raise NonFiniteLossError(f'loss {", ".join(bad)} is not finite; {REMEDY}')
