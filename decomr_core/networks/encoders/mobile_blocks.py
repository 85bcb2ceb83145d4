"""Blocks of MobileNetV2 (Sandler et al., CVPR 2018), with normalisation already folded."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

__all__ = ['InvertedResidual', 'SamePadded', 'Separable', 'conv_relu6', 'doubled', 'make_stages']


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; with a skip if the shape is kept."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        middle: int,
        kernel: int = 3,
        stride: int = 1,
        is_same_padded: bool = False,
    ) -> None:
        """Makes the layers; see `conv_relu6`."""
        super().__init__()
        self.has_skip = stride == 1 and in_channels == out_channels
        self.expand = conv_relu6(in_channels, middle, 1)
        self.depthwise = conv_relu6(middle, middle, kernel, stride, middle, is_same_padded)
        self.project = nn.Conv2d(middle, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h / stride, w / stride)."""
        change = self.project(self.depthwise(self.expand(features)))
        return features + change if self.has_skip else change


class Separable(nn.Sequential):
    """A depthwise 3x3 and a pointwise convolution: (B, in, h, w) to (B, out, h, w)."""

    def __init__(self, in_channels: int, out_channels: int, has_relu: bool = False) -> None:
        """Makes the layers; `has_relu` says whether the pointwise one has a ReLU6 too."""
        pointwise = (
            conv_relu6(in_channels, out_channels, 1)
            if has_relu
            else nn.Conv2d(in_channels, out_channels, 1)
        )
        super().__init__(conv_relu6(in_channels, in_channels, 3, groups=in_channels), pointwise)


class SamePadded(nn.Conv2d):
    """A 3x3 convolution of stride 2 with TensorFlow's "same" padding: at the bottom and right."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h / 2, w / 2)."""
        return super().forward(functional.pad(features, (0, 1, 0, 1)))


def conv_relu6(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    is_same_padded: bool = False,
) -> nn.Sequential:
    """A convolution and ReLU6.

    Args:
        in_channels: channels before it.
        out_channels: channels behind it.
        kernel: side of the kernel.
        stride: 1 or 2.
        groups: groups of channels.
        is_same_padded: whether a convolution of stride 2 is padded at the bottom and right only,
            as TensorFlow's "same"; otherwise on all sides.
    """
    layer = (
        SamePadded(in_channels, out_channels, kernel, stride, groups=groups)
        if is_same_padded and stride == 2
        else nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups)
    )
    return nn.Sequential(layer, nn.ReLU6(inplace=True))


def make_stages(
    channels: int, stages: Iterable[Iterable[tuple[int, int, int]]], is_same_padded: bool = False
) -> list[nn.Sequential]:
    """Stages of inverted residuals, each of which halves the resolution in its first block.

    Args:
        channels: channels before the first stage.
        stages: (channels, hidden channels, kernel side) of each block.
        is_same_padded: see `conv_relu6`.
    """
    made = []
    for blocks in stages:
        layers = nn.Sequential()
        for index, (out_channels, middle, kernel) in enumerate(blocks):
            stride = 1 if index else 2
            layers.append(
                InvertedResidual(channels, out_channels, middle, kernel, stride, is_same_padded)
            )
            channels = out_channels
        made.append(layers)
    return made


def doubled(features: Tensor) -> Tensor:
    """(B, c, h, w) to (B, c, 2 h, 2 w), bilinear."""
    return functional.interpolate(features, scale_factor=2, mode='bilinear', align_corners=False)
