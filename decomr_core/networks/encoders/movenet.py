"""MoveNet Thunder as an image encoder.

MoveNet is a pose network by Google: a MobileNetV2 (Sandler et al., CVPR 2018), a feature pyramid
back up to a quarter of the crop (Lin et al., CVPR 2017), and heads that locate the 17 keypoints of
COCO for the person in the centre of the crop (Zhou et al., "Objects as Points", 2019). It was
trained on photographs of people. Its weights come from a published file (`tools/bake_movenet.py`),
with batch normalisation already folded into the convolutions. The head that refines keypoints
within a cell is omitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.body_models.joints import ANKLES, ELBOWS, HIPS, KNEES, SHOULDERS, WRISTS
from decomr_core.geometry.heatmaps import as_rows
from decomr_core.networks.encoders.decoder_inputs import DecoderInputs
from decomr_core.networks.encoders.mobile_blocks import Separable, conv_relu6, doubled, make_stages

__all__ = ['NUM_KEYPOINTS', 'MoveNetEncoder', 'MoveNetFeatures']

NUM_OF_FACE = 5
LIMBS = (*SHOULDERS, *ELBOWS, *WRISTS, *HIPS, *KNEES, *ANKLES)
"""The body's joints that are keypoints, in the order of the keypoints behind those of the face."""
NUM_KEYPOINTS = NUM_OF_FACE + len(LIMBS)
STEM = 56, 32
"""Channels at half of the crop's resolution: of the first convolution, and behind its block."""
STAGES = (
    ((40, 192, 3), (40, 240, 3)),
    ((56, 240, 3), (56, 336, 3), (56, 336, 3)),
    ((112, 336, 3), *[(112, 672, 3)] * 3, (168, 672, 3), *[(168, 1008, 3)] * 2),
    ((280, 1008, 3), *[(280, 1680, 3)] * 2, (560, 1680, 3)),
)
"""(channels, hidden channels, kernel side) of each inverted residual block; the first of a stage
halves the resolution."""
PYRAMID_TAP = 3
"""The pyramid reads stage 3 behind its block of this number, before its channels grow."""
LAST_CHANNELS = 1280
PYRAMID = ((64, 32), (32, 24), (24, 24))
"""Channels of the pyramid at 1/16, 1/8 and 1/4 of the crop, before and behind its convolution."""
HEAD_CHANNELS = 96
CLOSE_CELLS = 1.8
"""Distance of a cell from the expected position at which a keypoint there counts half, cells."""
TINY_SQUARE = 1e-6
"""Smallest squared distance, cells: at 0 the square root has no gradient."""
LOWEST_SCORE = -8.0
"""Smallest logarithm of a score for the decoder. Where a keypoint is so improbable, differences
say nothing, and an exported graph may compute the logarithm of 0."""
SHARPNESS = 3.0
"""Exponent of the keypoint scores in the averages under them. The heatmaps are wide: their mean
would be drawn to the middle of the crop."""


@dataclass(frozen=True)
class MoveNetFeatures:
    """Outputs of the encoder for crops of S px.

    Attributes:
        levels: encoder features, with fine detail at S/4, with context at S/32: (B, 40, S/4, S/4),
            (B, 56, S/8, S/8), (B, 168, S/16, S/16), (B, 1280, S/32, S/32).
        pyramid: (B, 24, S/4, S/4) features of the pyramid, with context.
        heatmaps: (B, 17, S/4, S/4) logit of each keypoint, of all people in the crop.
        expected: (B, 17, 2) float32: position of each keypoint of the person in the centre,
            regressed from there; x and y, cells.
    """

    levels: tuple[Tensor, ...]
    pyramid: Tensor
    heatmaps: Tensor
    expected: Tensor

    def for_decoder(self) -> DecoderInputs:
        """Grids, summary, and the scores that are lower far from what is expected."""
        kind = self.pyramid.dtype
        # bfloat16 would round a position to half a cell.
        with torch.autocast(self.pyramid.device.type, enabled=False):
            own = self._own_scores()
            summary = self._summary(own).to(kind)
        scores = torch.cat([self.heatmaps.sigmoid(), own.exp().to(kind)], dim=1)
        pixels = torch.cat([self.levels[0], self.pyramid, scores], dim=1)
        return DecoderInputs((pixels, *self.levels[1:]), summary, own.clamp_min(LOWEST_SCORE))

    def _own_scores(self) -> Tensor:
        """(B, 17, h, w) float32: logarithms of the scores, lower far from what is expected."""
        side = int(self.heatmaps.shape[3])
        gap = _cells(side, self.heatmaps) - self.expected[:, :, None]  # (B, 17, h w, 2)
        distance = gap.square().sum(dim=3).clamp_min(TINY_SQUARE).sqrt()
        closeness = -(distance / CLOSE_CELLS + 1).log()
        scores = functional.logsigmoid(self.heatmaps.float())
        return scores + closeness.unflatten(2, (side, side))

    def _summary(self, own: Tensor) -> Tensor:
        """(B, `MoveNetEncoder.summary`): what the keypoints show, and the mean of the crop."""
        side = int(own.shape[3])
        weights = (own.flatten(2) * SHARPNESS).softmax(dim=2)
        found = weights @ _cells(side, own)
        positions = torch.cat([found, self.expected], dim=1).flatten(1)
        weights = weights.unflatten(2, (side, side))
        confidence = (weights * self.heatmaps.float().sigmoid()).sum(dim=(2, 3))
        seen = [
            _averages(weights, torch.cat([self.pyramid, self.levels[0]], dim=1)),
            _averages(functional.avg_pool2d(weights, 2) * 4, self.levels[1]),
            _averages(functional.avg_pool2d(weights, 4) * 16, self.levels[2]),
        ]
        in_crop = (positions + 0.5) * (2 / side) - 1
        mean = self.levels[3].float().mean(dim=(2, 3))
        return torch.cat([in_crop, confidence, *seen, mean], dim=1)


class MoveNetEncoder(nn.Module):
    """MoveNet Thunder, 256 px, without the offsets of its keypoints within a cell."""

    grids = (40 + PYRAMID[-1][1] + 2 * NUM_KEYPOINTS, 56, 168, LAST_CHANNELS)
    """Channels of the four grids of `DecoderInputs`."""
    summary = NUM_KEYPOINTS * (5 + PYRAMID[-1][1] + 40 + 56 + 168) + LAST_CHANNELS
    """Length of the summary of `DecoderInputs`."""
    keypoint_of_joint: ClassVar[dict[int, int]] = {
        joint: NUM_OF_FACE + place for place, joint in enumerate(LIMBS)
    }
    """Keypoint in `DecoderInputs` of each of the body's joints that is one."""

    def __init__(self) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        self.stem = nn.Sequential(
            conv_relu6(3, STEM[0], 3, 2, is_same_padded=True), Separable(*STEM)
        )
        stages = make_stages(STEM[1], STAGES, is_same_padded=True)
        stages[-1].append(conv_relu6(STAGES[-1][-1][0], LAST_CHANNELS, 1))
        self.stages = nn.ModuleList(stages)
        self.top = nn.Conv2d(LAST_CHANNELS, PYRAMID[0][0], 1)
        tapped = STAGES[2][PYRAMID_TAP][0], STAGES[1][-1][0], STAGES[0][-1][0]
        self.laterals = nn.ModuleList(
            nn.Conv2d(level, before, 1) for level, (before, _) in zip(tapped, PYRAMID, strict=True)
        )
        self.mixers = nn.ModuleList(Smoothing(before, behind) for before, behind in PYRAMID)
        self.center_head = _make_head(1)
        self.heatmap_head = _make_head(NUM_KEYPOINTS)
        self.regression_head = _make_head(2 * NUM_KEYPOINTS)

    def forward(self, images: Tensor) -> MoveNetFeatures:
        """(B, 3, 256, 256) RGB in [0, 1] to features."""
        to_4, to_8, to_16, to_32 = (cast('nn.Sequential', stage) for stage in self.stages)
        at_4 = to_4(self.stem(images * 2 - 1))
        at_8 = to_8(at_4)
        tapped = to_16[: PYRAMID_TAP + 1](at_8)
        at_16 = to_16[PYRAMID_TAP + 1 :](tapped)
        at_32 = to_32(at_16)
        pyramid = self.top(at_32)
        levels = tapped, at_8, at_4
        for lateral, mixer, level in zip(self.laterals, self.mixers, levels, strict=True):
            pyramid = mixer(doubled(pyramid) + lateral(level))
        return MoveNetFeatures(
            (at_4, at_8, at_16, at_32),
            pyramid,
            self.heatmap_head(pyramid),
            self._expected(pyramid),
        )

    def _expected(self, pyramid: Tensor) -> Tensor:
        """(B, 17, 2): the regression of the cells that are the person's centre, x and y, cells."""
        center = self.center_head(pyramid).float().flatten(1)
        shifts = as_rows(self.regression_head(pyramid).float())  # y and x of each keypoint
        side = int(pyramid.shape[3])
        cells = _cells(side, center)
        distance = (cells - (side - 1) / 2).square().sum(dim=1).sqrt()
        # MoveNet's own rule: the score of a cell over its distance from the middle of the crop.
        weights = (center - (distance + CLOSE_CELLS * side / 4).log()).softmax(dim=1)[:, None]
        with torch.autocast(pyramid.device.type, enabled=False):
            shift = (weights @ shifts).unflatten(2, (NUM_KEYPOINTS, 2))[:, 0]
            return shift.flip(2) + weights @ cells


class Smoothing(nn.Sequential):
    """A depthwise convolution without activation, and a pointwise one with ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1),
            nn.ReLU(),
        )


def _make_head(out_channels: int) -> nn.Sequential:
    channels = PYRAMID[-1][1]
    return nn.Sequential(
        Smoothing(channels, HEAD_CHANNELS), nn.Conv2d(HEAD_CHANNELS, out_channels, 1)
    )


def _averages(weights: Tensor, features: Tensor) -> Tensor:
    """(B, 17 c): features (B, c, h, w) under weights (B, 17, h, w), which sum to 1."""
    return (weights.flatten(2) @ as_rows(features.float())).flatten(1)


def _cells(side: int, like: Tensor) -> Tensor:
    """(side^2, 2) float32: x and y of each cell, row by row, on the device of another tensor."""
    line = torch.arange(side, dtype=torch.float32, device=like.device)
    y, x = torch.meshgrid(line, line, indexing='ij')
    return torch.stack([x.flatten(), y.flatten()], dim=1)
