"""BlazePose's landmark network as an image encoder.

A MobileNetV2-like encoder (inverted residuals, Sandler et al., CVPR 2018), a feature pyramid back
up to a quarter of the crop, and a tail that regresses the landmarks (Bazarevsky et al.,
"BlazePose: On-device Real-time Body Pose Tracking", 2020; Grishchenko et al., "BlazePose GHUM
Holistic", 2022). It was trained on photographs of people. Its weights come from a published file
(`tools/bake_blazepose.py`), with batch normalisation already folded into the convolutions. The
head that draws the mask at full resolution is omitted; its coarser half provides features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.geometry.heatmaps import as_rows, averages_under_heatmaps
from decomr_core.networks.encoders.decoder_inputs import DecoderInputs
from decomr_core.networks.encoders.mobile_blocks import (
    SamePadded,
    Separable,
    conv_relu6,
    doubled,
    make_stages,
)

__all__ = ['NUM_LANDMARKS', 'BlazePoseEncoder', 'BlazePoseFeatures']

PYRAMID_CHANNELS = 48
MASK_CHANNELS = 8
NUM_LANDMARKS = 39
"""33 body landmarks and 6 auxiliary ones."""
LANDMARK_VALUES, WORLD_VALUES = 5, 3
"""x, y, z, visibility and presence in the crop; x, y, z in metres."""
TAIL_CHANNELS, TAIL_SIDE = 288, 2
EXPANSION = 6
"""Channels of the last level, relative to those of the last stage."""
STEM_CHANNELS = 16
STAGES = (
    ((24, 64, 3), (24, 144, 3)),
    ((32, 144, 5), (32, 192, 5)),
    ((64, 192, 3), *[(64, 384, 3)] * 2, (88, 384, 5), *[(88, 528, 5)] * 2),
    ((144, 528, 5), *[(144, 864, 5)] * 3),
)
"""(channels, hidden channels, kernel side) of each inverted residual block; the first of a stage
halves the resolution."""
LEVELS = 24, 32, 88, EXPANSION * 144
"""Channels of the features at 1/4, 1/8, 1/16 and 1/32 of the crop."""
TAIL_BLOCKS = 5, 6
"""Residual blocks of the tail at 1/64 and 1/128 of the crop, whose first ones halve the
resolution."""


@dataclass(frozen=True)
class BlazePoseFeatures:
    """Outputs of the encoder for crops of S px.

    Attributes:
        levels: encoder features, with fine detail at S/4, with context at S/32: (B, 24, S/4, S/4),
            (B, 32, S/8, S/8), (B, 88, S/16, S/16), (B, 864, S/32, S/32).
        pyramid: (B, 48, S/4, S/4) features of the pyramid, with context.
        heatmaps: (B, 39, S/4, S/4) a logit per landmark and pixel.
        mask: (B, 8, S/2, S/2) features of the mask head.
        tail: (B, 288, 2, 2) features from which the landmarks are regressed.
        landmarks: (B, 195) x, y, z (px of the crop), visibility and presence (logits) of each.
        world: (B, 117) x, y, z of each landmark, metres, origin between the hips.
    """

    levels: tuple[Tensor, ...]
    pyramid: Tensor
    heatmaps: Tensor
    mask: Tensor
    tail: Tensor
    landmarks: Tensor
    world: Tensor

    def for_decoder(self) -> DecoderInputs:
        """Grids and summary."""
        pixels = torch.cat(
            [
                self.levels[0],
                self.pyramid,
                self.heatmaps.sigmoid(),
                functional.avg_pool2d(self.mask, 2),
            ],
            dim=1,
        )
        summary = [
            self.tail.flatten(1),
            self.landmarks,
            self.world,
            self._around_landmarks().flatten(1),
        ]
        return DecoderInputs((pixels, *self.levels[1:]), torch.cat(summary, dim=1))

    def _around_landmarks(self) -> Tensor:
        """(B, 39, c): features at each landmark, weighted by its heatmap."""
        features = as_rows(torch.cat([self.pyramid, self.levels[0]], dim=1))
        averages = averages_under_heatmaps(self.heatmaps.float(), features.float())
        return averages.to(features.dtype)


class BlazePoseEncoder(nn.Module):
    """BlazePose's landmark network, 256 px, without the end of its mask head."""

    grids = (LEVELS[0] + PYRAMID_CHANNELS + NUM_LANDMARKS + MASK_CHANNELS, *LEVELS[1:])
    """Channels of the four grids of `DecoderInputs`."""
    summary = TAIL_CHANNELS * TAIL_SIDE**2 + NUM_LANDMARKS * (
        LANDMARK_VALUES + WORLD_VALUES + PYRAMID_CHANNELS + LEVELS[0]
    )
    """Length of the summary of `DecoderInputs`."""
    keypoint_of_joint: ClassVar[dict[int, int]] = {}
    """As in `MoveNetEncoder`; the landmarks of this encoder have no such scores."""

    def __init__(self) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        self.stem = nn.Sequential(conv_relu6(3, 24, 3, stride=2), Separable(24, STEM_CHANNELS))
        stages, last = make_stages(STEM_CHANNELS, STAGES), LEVELS[-1]
        stages[-1].append(conv_relu6(STAGES[-1][-1][0], last, 1))
        stages[-1].append(conv_relu6(last, last, 3, groups=last))
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(
            Separable(channels, PYRAMID_CHANNELS, has_relu=True) for channels in LEVELS
        )
        self.heatmap_head = nn.Conv2d(PYRAMID_CHANNELS, NUM_LANDMARKS, 1)
        self.mask_lateral = Separable(STEM_CHANNELS, MASK_CHANNELS, has_relu=True)
        self.mask_top = Separable(PYRAMID_CHANNELS, MASK_CHANNELS, has_relu=True)
        self.mask_blocks = nn.Sequential(*(SeparableResidual(MASK_CHANNELS) for _ in range(2)))
        self.tail = nn.Sequential(
            Separable(LEVELS[-1], TAIL_CHANNELS, has_relu=True),
            *(block for count in TAIL_BLOCKS for block in _halving(TAIL_CHANNELS, count)),
        )
        self.landmark_head = nn.Conv2d(TAIL_CHANNELS, NUM_LANDMARKS * LANDMARK_VALUES, TAIL_SIDE)
        self.world_head = nn.Conv2d(TAIL_CHANNELS, NUM_LANDMARKS * WORLD_VALUES, TAIL_SIDE)

    def forward(self, images: Tensor) -> BlazePoseFeatures:
        """(B, 3, 256, 256) RGB in [0, 1] to features."""
        half = self.stem(images)
        levels, features = [], half
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        pyramid = self.laterals[-1](features)
        for lateral, level in zip(
            reversed(self.laterals[:-1]), reversed(levels[:-1]), strict=True
        ):
            pyramid = doubled(pyramid) + lateral(level)
        mask = self.mask_blocks(doubled(self.mask_top(pyramid)) + self.mask_lateral(half))
        tail = self.tail(levels[-1])
        return BlazePoseFeatures(
            tuple(levels),
            pyramid,
            self.heatmap_head(pyramid),
            mask,
            tail,
            self.landmark_head(tail).flatten(1),
            self.world_head(tail).flatten(1),
        )


class SeparableResidual(nn.Module):
    """A separable convolution with a skip connection; at stride 2 the skip is a max pooling."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = (
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
            if stride == 1
            else SamePadded(channels, channels, 3, stride, groups=channels)
        )
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, c, h, w) to (B, c, h / stride, w / stride)."""
        skip = features if self.stride == 1 else functional.max_pool2d(features, 2)
        change = self.pointwise(functional.relu6(self.depthwise(features)))
        return functional.relu6(skip + change)


def _halving(channels: int, num_blocks: int) -> nn.Sequential:
    """Residual blocks, of which the first halves the resolution."""
    return nn.Sequential(
        SeparableResidual(channels, 2),
        *(SeparableResidual(channels) for _ in range(num_blocks - 1)),
    )
