"""The network in the structure of the authors' code, with the weights of this repository.

It differs from `DecoMR.forward` in three points. The global features are copied to every texel,
and one 1x1 convolution reads the concatenation. Decoders upsample before their 1x1 convolutions.
The warp selects the person's pixels by a boolean index, image by image, so that the host must wait
for the GPU to know their number.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.base.structures import NetworkOutput
from decomr_core.geometry.crop import network_input
from decomr_core.networks.blocks import UpsamplingBlock
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.lnet import TexelProjection
from decomr_core.uv.warp import FOREGROUND_THRESHOLD

__all__ = ['OfficialStructure', 'warp_image_by_image']


class OfficialStructure(nn.Module):
    """Crops to outputs, step by step; the outputs are those of `DecoMR`."""

    def __init__(self, network: DecoMR) -> None:
        """Copies a network.

        Raises:
            ValueError: the inputs of its LNet differ from the published ones.
        """
        super().__init__()
        if network.config.lnet_input != 'global+local':
            raise ValueError(
                f'lnet_input is {network.config.lnet_input!r}, expected '
                "'global+local', as in the published network"
            )
        self.network = copy.deepcopy(network)
        _replace(self.network, '_warp', self._warp)
        lnet = self.network.lnet
        _replace(lnet, 'projection', _ConcatenatedProjection(lnet.projection))
        for block in self.modules():
            if isinstance(block, UpsamplingBlock):
                _replace(block, 'forward', block._forward_naive)

    def forward(self, images: Tensor) -> NetworkOutput:
        """The outputs for crops (B, S, S, 3) uint8 RGB."""
        return self.network(network_input(images))

    def _warp(self, _: Tensor, local_features: Tensor, iuv: Tensor) -> Tensor:
        """Replaces `DecoMR._warp`: (B, C, h, w) and (B, 3, h, w) to (B, C + 3, r, r)."""
        features = self.network.lnet.squeeze(local_features)
        return warp_image_by_image(features, iuv, self.network.config.uv_resolution)


def _replace(module: nn.Module, name: str, value: object) -> None:
    """Replaces a method or a submodule of one instance."""
    setattr(module, name, value)


def warp_image_by_image(features: Tensor, iuv: Tensor, resolution: int) -> Tensor:
    """The result of `warp_to_uv`, computed from the pixels that a boolean index selects.

    Args:
        features: (B, C, h, w).
        iuv: (B, 3, h, w).
        resolution: r, texels.

    Returns:
        (B, C + 3, r, r).
    """
    height, width = features.shape[2:]
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=features.device),
        torch.linspace(-1, 1, width, device=features.device),
        indexing='ij',
    )
    warped = []
    for image, (foreground, u, v) in zip(features, iuv, strict=True):
        is_shown = foreground > FOREGROUND_THRESHOLD  # (h, w)
        values = torch.cat([image[:, is_shown], x[is_shown][None], y[is_shown][None]])
        column, row = (
            (part[is_shown] * (resolution - 1)).round().clamp(0, resolution - 1).long()
            for part in (u, v)
        )
        texel = row * resolution + column
        sums = values.new_zeros(len(values), resolution**2).index_add(1, texel, values)
        counts = values.new_zeros(resolution**2).index_add(0, texel, torch.ones_like(values[0]))
        warped.append(torch.cat([sums / counts.clamp(min=1), (counts > 0).float()[None]]))
    return torch.stack(warped).unflatten(2, (resolution, resolution))


class _ConcatenatedProjection(nn.Module):
    """`TexelProjection` over copies of the global features and of the reference map."""

    def __init__(self, projection: TexelProjection) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, uv_features: Tensor, code: Tensor, reference_map: Tensor) -> Tensor:
        """(B, C + 3, r, r), (B, code) and (1, 3, r, r) to (B, channels, r, r)."""
        batch, _, height, width = uv_features.shape
        features = torch.cat(
            [
                uv_features,
                code[..., None, None].expand(-1, -1, height, width),
                reference_map.expand(batch, -1, -1, -1),
            ],
            dim=1,
        )
        first, *others = self.projection
        assert isinstance(first, nn.Conv2d)  # as built by TexelProjection
        features = functional.conv2d(features, first.weight, first.bias)
        for layer in others:
            features = layer(features)
        return features
