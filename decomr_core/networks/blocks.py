"""Blocks of which every part of the network is built."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    'BottleneckBlock',
    'LinearResidual',
    'OutputHead',
    'RunningNorm',
    'UpsamplingBlock',
    'make_norm',
    'make_vector_norm',
]

# Channels per group in group normalisation, as in the official network.
CHANNELS_PER_GROUP = 8
# Smallest weight of a new batch in `RunningNorm`'s statistics.
MOMENTUM = 0.01


def make_norm(kind: str, channels: int) -> nn.Module:
    """Group or batch normalisation of (B, channels, height, width)."""
    if kind == 'group':
        return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
    return nn.BatchNorm2d(channels)


def make_vector_norm(kind: str, channels: int) -> nn.Module:
    """Layer or batch normalisation of vectors (B, channels)."""
    return nn.LayerNorm(channels) if kind == 'layer' else nn.BatchNorm1d(channels)


class RunningNorm(nn.BatchNorm1d):
    """Batch normalisation of vectors (B, c) by running statistics, also in training.

    For inputs whose distribution does not change. A batch has one vector per person. The
    statistics of a dozen vectors are so noisy that a regression on them learns little.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, c) to (B, c)."""
        if self.training:
            self._update_statistics(vectors.detach().float())
        return functional.batch_norm(
            vectors,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            False,
            0.0,
            self.eps,
        )

    @torch.no_grad()
    def _update_statistics(self, vectors: Tensor) -> None:
        """Moves the statistics towards a batch's; the first 100 batches have equal weight."""
        self.num_batches_tracked.add_(1)
        weight = (1 / self.num_batches_tracked.float()).clamp_min(MOMENTUM)
        self.running_mean.lerp_(vectors.mean(dim=0), weight)
        self.running_var.lerp_((vectors - self.running_mean).square().mean(dim=0), weight)


class LinearResidual(nn.Module):
    """Two linear layers with a skip connection (Martinez et al., ICCV 2017)."""

    def __init__(self, channels: int) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        self.layers = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (
                    nn.Linear(channels, channels, bias=False),
                    nn.LayerNorm(channels),
                    nn.ReLU(inplace=True),
                )
            )
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, c) to (B, c)."""
        return features + self.layers(features)


class OutputHead(nn.Sequential):
    """Layers of which the last one computes in float32, regardless of autocast.

    Half precision would round metres to 0.5 mm (float16) or 4 mm (bfloat16), and UV coordinates
    to a hundredth or a tenth of a texel.
    """

    @property
    def last(self) -> nn.Linear | nn.Conv2d:
        """The layer that computes in float32."""
        return cast('nn.Linear | nn.Conv2d', self[-1])

    def forward(self, features: Tensor) -> Tensor:
        """The output of the last layer, float32."""
        return self.read(self.before_last(features))

    def before_last(self, features: Tensor) -> Tensor:
        """What the last layer reads."""
        for layer in list(self)[:-1]:
            features = layer(features)
        return features

    def read(self, features: Tensor) -> Tensor:
        """The last layer alone, float32."""
        if features.dtype != torch.float32:  # an export would keep a cast without effect
            features = features.float()
        with torch.autocast(features.device.type, enabled=False):
            return self.last(features)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, half width in the middle: (B, in, h, w) to (B, out, h, w).

    All parts after the encoder use this block. The skip is a 1x1 convolution where the number of
    channels changes.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        """Makes the layers; `norm` is `group` or `batch`."""
        super().__init__()
        middle = out_channels // 2
        self.conv1 = nn.Conv2d(in_channels, middle, kernel_size=1)
        self.conv2 = nn.Conv2d(middle, middle, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(middle, out_channels, kernel_size=1)
        self.norm1 = make_norm(norm, middle)
        self.norm2 = make_norm(norm, middle)
        self.norm3 = make_norm(norm, out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.skip_conv = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, kernel_size=1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h, w)."""
        change = self.relu(self.norm1(self.conv1(features)))
        change = self.relu(self.norm2(self.conv2(change)))
        change = self.norm3(self.conv3(change))
        return self.relu(change + self.skip_conv(features))


class UpsamplingBlock(nn.Sequential):
    """Upsampling by two, then a `BottleneckBlock`: (B, in, h, w) to (B, out, 2 h, 2 w).

    Both 1x1 convolutions of the block run before the upsampling, on a quarter of the pixels. A
    1x1 convolution commutes with an interpolation because the interpolation's weights sum to
    one. Nearest upsampling only repeats pixels, so the first normalisation and its ReLU commute
    too; with bilinear upsampling they run after it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: str, mode: str = 'nearest'
    ) -> None:
        """Makes the layers; `norm` is `group` or `batch`, `mode` `nearest` or `bilinear`."""
        super().__init__(
            nn.Upsample(scale_factor=2, mode=mode),
            BottleneckBlock(in_channels, out_channels, norm),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, 2 h, 2 w)."""
        upsample, block = cast(nn.Upsample, self[0]), cast(BottleneckBlock, self[1])
        change = block.conv1(features)
        if upsample.mode == 'nearest':
            change = upsample(block.relu(block.norm1(change)))
        else:
            change = block.relu(block.norm1(upsample(change)))
        change = block.relu(block.norm2(block.conv2(change)))
        change = block.norm3(block.conv3(change))
        return block.relu(change + upsample(block.skip_conv(features)))

    def _forward_naive(self, features: Tensor) -> Tensor:
        """`forward` in the paper's order, as a reference for tests."""
        return super().forward(features)
