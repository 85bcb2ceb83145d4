"""Residual blocks that every part of the network is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ['BasicBlock', 'BottleneckBlock', 'LinearResidual', 'OutputHead', 'RunningNorm',
           'UpsamplingBlock', 'WideBlock', 'make_norm', 'make_vector_norm']

# Channels that share statistics in group normalisation (the official network's number).
CHANNELS_PER_GROUP = 8
# Of a batch of vectors in running statistics.
NEW_SHARE = 0.01


def make_norm(kind: str, channels: int) -> nn.Module:
    """Group or batch normalisation of (B, channels, height, width)."""
    if kind == 'group':
        return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)
    return nn.BatchNorm2d(channels)


def make_vector_norm(kind: str, channels: int) -> nn.Module:
    """Layer or batch normalisation of vectors (B, channels)."""
    return nn.LayerNorm(channels) if kind == 'layer' else nn.BatchNorm1d(channels)


class RunningNorm(nn.BatchNorm1d):
    """Batch normalisation of vectors (B, c) by its running statistics, in training too.

    For inputs whose distribution stays as it is. A batch has one vector per person, and the
    statistics of a dozen of them are so noisy that a regression behind them learns little.
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, c) to (B, c)."""
        if self.training:
            self._observe(vectors.detach().float())
        return functional.batch_norm(vectors, self.running_mean, self.running_var, self.weight,
                                     self.bias, False, 0.0, self.eps)

    @torch.no_grad()
    def _observe(self, vectors: Tensor) -> None:
        """Moves the statistics towards a batch's; the first hundred batches count alike."""
        self.num_batches_tracked.add_(1)
        share = (1 / self.num_batches_tracked.float()).clamp_min(NEW_SHARE)
        self.running_mean.lerp_(vectors.mean(dim=0), share)
        self.running_var.lerp_((vectors - self.running_mean).square().mean(dim=0), share)


class LinearResidual(nn.Module):
    """Two linear layers around a skip (Martinez et al., ICCV 2017): (B, c) to (B, c)."""

    def __init__(self, channels: int) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        self.layers = nn.Sequential(*(
            layer for _ in range(2) for layer in (
                nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels),
                nn.ReLU(inplace=True))))

    def forward(self, features: Tensor) -> Tensor:
        """(B, c) to (B, c)."""
        return features + self.layers(features)


class OutputHead(nn.Sequential):
    """Layers of which the last computes in float32, whatever is around it.

    In half precision a metre would be rounded to 0.5 mm (float16) or 4 mm (bfloat16), and a place
    on the UV map to a hundredth of a texel or a tenth.
    """

    def forward(self, features: Tensor) -> Tensor:
        """What the layers give, float32."""
        *layers, last = self
        for layer in layers:
            features = layer(features)
        if features.dtype != torch.float32:  # a cast that changes nothing would stay in the export
            features = features.float()
        with torch.autocast(features.device.type, enabled=False):
            return last(features)


class BottleneckBlock(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a half-width middle: (B, in, h, w) to (B, out, h, w).

    The block of everything behind the encoder; the skip is a 1x1 convolution where the number of
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
        self.skip_conv = (nn.Identity() if in_channels == out_channels else
                          nn.Conv2d(in_channels, out_channels, kernel_size=1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h, w)."""
        change = self.relu(self.norm1(self.conv1(features)))
        change = self.relu(self.norm2(self.conv2(change)))
        change = self.norm3(self.conv3(change))
        return self.relu(change + self.skip_conv(features))


class UpsamplingBlock(nn.Sequential):
    """Upsampling by two, then a `BottleneckBlock`: (B, in, h, w) to (B, out, 2 h, 2 w).

    Both 1x1 convolutions of the block run before the upsampling, where there are a quarter of
    the pixels: a convolution over single pixels commutes with an interpolation, whose weights
    add up to one. Where pixels are only repeated the statistics of the first normalisation stay
    too, and so do its zeros; interpolated ones are normalised afterwards, as without the swap.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str,
                 mode: str = 'nearest') -> None:
        """Makes the layers; `norm` is `group` or `batch`, `mode` `nearest` or `bilinear`."""
        super().__init__(nn.Upsample(scale_factor=2, mode=mode),
                         BottleneckBlock(in_channels, out_channels, norm))

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, 2 h, 2 w)."""
        upsample, block = self
        change = block.conv1(features)
        if upsample.mode == 'nearest':
            change = upsample(block.relu(block.norm1(change)))
        else:
            change = block.relu(block.norm1(upsample(change)))
        change = block.relu(block.norm2(block.conv2(change)))
        change = block.norm3(block.conv3(change))
        return block.relu(change + upsample(block.skip_conv(features)))

    def _forward_naive(self, features: Tensor) -> Tensor:
        """`forward` in the order of the paper, to test it against."""
        return super().forward(features)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions of ResNet-18: (B, in, h, w) to (B, width, h / stride, w / stride)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        """Makes the layers; the last normalisation starts at zero, so the block as identity."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.bn2.weight)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _make_downsample(in_channels, width, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, width, h / stride, w / stride)."""
        change = self.relu(self.bn1(self.conv1(features)))
        change = self.bn2(self.conv2(change))
        return self.relu(change + self.downsample(features))


class WideBlock(nn.Module):
    """ResNet-50's block: (B, in, h, w) to (B, 4 width, h / stride, w / stride)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        """Makes the layers; the last normalisation starts at zero, so the block as identity."""
        super().__init__()
        out_channels = self.expansion * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(self.bn3.weight)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _make_downsample(in_channels, out_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, 4 width, h / stride, w / stride)."""
        change = self.relu(self.bn1(self.conv1(features)))
        change = self.relu(self.bn2(self.conv2(change)))
        change = self.bn3(self.conv3(change))
        return self.relu(change + self.downsample(features))


def _make_downsample(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels))
