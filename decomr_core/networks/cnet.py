"""CNet, the correspondence network (paper section 3.3): image to IUV image and features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomr_core.config import ENCODER_STRIDE, NetworkConfig
from decomr_core.networks.backbone import ResNetEncoder
from decomr_core.networks.blocks import BottleneckBlock, UpsamplingBlock

__all__ = ['CNet']

# Channels that the last feature map is squeezed to before it is flattened.
SQUEEZED_CHANNELS = 64


class CNet(nn.Module):
    """An encoder, a decoder with skips up to 1/4 of the crop, and two dense outputs."""

    def __init__(self, config: NetworkConfig) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        channels = config.encoder_channels
        self.encoder = ResNetEncoder(config)
        self.global_head = _make_global_head(config)
        self.decoder = nn.ModuleList(
            UpsamplingBlock(channels[level + 1], channels[level], config.norm)
            for level in range(len(channels) - 1))
        self.uv_head = _make_dense_head(config, 2)
        self.mask_head = _make_dense_head(config, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the pixels say, before anything is carried to UV space.

        Args:
            images: (B, 3, S, S) RGB normalised.

        Returns:
            `iuv` (B, 3, h, w), float32: foreground probability, u, v, all in [0, 1];
            `local_features` (B, C, h, w); `global_features` (B, G).
        """
        skips = self.encoder(images)
        local_features = skips[-1]
        for level in range(len(self.decoder) - 1, -1, -1):
            local_features = self.decoder[level](local_features) + skips[level]
        iuv = torch.cat([self.mask_head(local_features), self.uv_head(local_features)], dim=1)
        return iuv.float().sigmoid(), local_features, self.global_head(skips[-1])


def _make_dense_head(config: NetworkConfig, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        BottleneckBlock(config.encoder_channels[0], config.head_channels, config.norm),
        nn.Conv2d(config.head_channels, out_channels, kernel_size=1))


def _make_global_head(config: NetworkConfig) -> nn.Sequential:
    """(B, channels, S / 32, S / 32) to (B, G)."""
    channels = config.encoder_channels[-1]
    if config.global_pool == 'mean':
        if channels != config.global_features:
            raise ValueError(f'global_features is {config.global_features}, but the mean of the '
                             f'last feature map has {channels} channels')
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    side = config.crop_size // ENCODER_STRIDE
    return nn.Sequential(
        nn.Conv2d(channels, SQUEEZED_CHANNELS, kernel_size=1, bias=False),
        nn.BatchNorm2d(SQUEEZED_CHANNELS), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(SQUEEZED_CHANNELS * side ** 2, config.global_features, bias=False),
        nn.BatchNorm1d(config.global_features), nn.ReLU(inplace=True))
