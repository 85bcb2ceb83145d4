"""One training step: batch in, losses by name out. The stages differ only in here."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomr_core import losses
from decomr_core.body_models import BodyModel
from decomr_core.crop import normalize_images
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.fitted_map import FittedLocationMap
from decomr_core.uv.location_map import weight_map
from decomr_core.uv.uv_map import UVMap
from training.datasets.synthetic import SyntheticBatch
from training.train_config import LossWeights

__all__ = ['NonFiniteLossError', 'TrainStep']


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


class TrainStep(nn.Module):
    """Computes the losses of a batch; holds what is constant between batches.

    Args:
        network: the network in training.
        body: its body.
        uv_map: its UV map; the true location maps are fitted to be read back exactly.
        weights: factor of each loss.
        precision: `fp32` or `bf16`.
    """

    def __init__(
        self, network: DecoMR, body: BodyModel, uv_map: UVMap, weights: LossWeights,
        precision: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.weights = weights
        self.precision = precision
        resolution = network.config.location_map_resolution
        self.fitted_location_map = FittedLocationMap(body, uv_map, resolution)
        self.register_buffer(
            'texel_weights', weight_map(body, uv_map, resolution), persistent=False
        )

    def cnet_losses(self, batch: SyntheticBatch) -> dict[str, Tensor]:
        """Weighted losses of stage 1 by name: CNet alone (section 3.4)."""
        images = normalize_images(batch.images).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            iuv, _, _ = self.network.predict_iuv(images)
        return self._checked(self._iuv_losses(iuv.float(), batch))

    def end_to_end_losses(self, batch: SyntheticBatch) -> dict[str, Tensor]:
        """Weighted losses of stage 2 by name: everything (section 3.4)."""
        images = normalize_images(batch.images).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            output = self.network(images)
        iuv, location_map, camera = output.iuv, output.location_map, output.camera
        joints_crop = losses.project_weak_perspective(output.joints, camera)
        gt_map = self.fitted_location_map(batch.vertices)
        weights = self.weights
        terms = self._iuv_losses(iuv, batch)
        terms['location_map'] = weights.location_map * losses.location_map_loss(
            location_map, gt_map, self.texel_weights
        )
        terms['joints_3d'] = weights.joints_3d * losses.joints_3d_loss(
            output.joints, batch.joints
        )
        terms['joints_2d'] = weights.joints_2d * losses.joints_2d_loss(
            joints_crop, batch.joints_2d[..., :2], batch.joints_2d[..., 2]
        )
        terms['consistency'] = weights.consistency * losses.consistency_loss(
            batch.iuv, location_map, camera
        )
        if weights.vertices:
            terms['vertices'] = weights.vertices * losses.vertex_loss(
                output.vertices, batch.vertices
            )
        if weights.total_variation:
            terms['total_variation'] = weights.total_variation * losses.total_variation_loss(
                location_map
            )
        return self._checked(terms)

    def _iuv_losses(self, iuv: Tensor, batch: SyntheticBatch) -> dict[str, Tensor]:
        return {
            'mask': self.weights.mask * losses.mask_loss(iuv, batch.iuv),
            'uv': self.weights.uv * losses.uv_loss(iuv, batch.iuv),
        }

    def _autocast(self) -> torch.autocast:
        device = self.texel_weights.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == 'bf16')

    @staticmethod
    def _checked(terms: dict[str, Tensor]) -> dict[str, Tensor]:
        bad = [name for name, value in terms.items() if not torch.isfinite(value)]
        if bad:
            raise NonFiniteLossError(
                f'loss {", ".join(bad)} is not finite; lower optimizer.learning_rate or set '
                'optimizer.clip_norm, then start again from the last checkpoint with --resume'
            )
        return terms
