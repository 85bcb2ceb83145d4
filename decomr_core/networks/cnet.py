"""CNet, the correspondence network (paper section 3.3): images to IUV images and features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from decomr_core.base.config import ENCODER_STRIDE, NetworkConfig
from decomr_core.body_models.joints import NUM_JOINTS
from decomr_core.networks.blocks import (
    BottleneckBlock,
    LinearResidual,
    OutputHead,
    RunningNorm,
    UpsamplingBlock,
)
from decomr_core.networks.encoders import PRETRAINED, PretrainedEncoder, ResNetEncoder

__all__ = ['CNet', 'DenseOutput']

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's RGB values in [0, 1]."""
# Channels of the last feature map after squeezing, before it is flattened.
SQUEEZED_CHANNELS = 64
# Rank of the matrix from a pretrained encoder's summary to the global feature; at full rank it
# would have 2 to 3 million weights.
SUMMARY_RANK = 256


class DenseOutput(NamedTuple):
    """What CNet predicts for B crops of S px; h and w are S / 4.

    Attributes:
        iuv: (B, 3, h, w) float32: foreground probability, u and v, all in [0, 1].
        local_features: (B, C, h, w) of each pixel.
        global_features: (B, G) of the whole crop.
        joint_heatmaps: (B, J, h, w) float32: logit of the position of each of the body's J joints;
            None unless `NetworkConfig.locates_joints`.
    """

    iuv: Tensor
    local_features: Tensor
    global_features: Tensor
    joint_heatmaps: Tensor | None


class CNet(nn.Module):
    """An encoder, a decoder up to 1/4 of the crop's resolution, and dense output heads."""

    image_mean: Tensor
    image_std: Tensor
    encoder: PretrainedEncoder | ResNetEncoder
    decoder: GridDecoder | SkipDecoder

    def __init__(self, config: NetworkConfig) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        self.is_pretrained = config.is_pretrained
        for name, values in (('mean', IMAGE_MEAN), ('std', IMAGE_STD)):
            of_channels = torch.tensor(values)[:, None, None]
            self.register_buffer(f'image_{name}', of_channels, persistent=False)
        if self.is_pretrained:
            self.encoder = PRETRAINED[config.encoder]()
            self.global_head = _make_summary_head(config)
            self.decoder = GridDecoder(config)
        else:
            self.encoder = ResNetEncoder(config)
            self.global_head = _make_global_head(config)
            self.decoder = SkipDecoder(config)
        self.uv_head = _make_dense_head(config, 2)
        self.mask_head = _make_dense_head(config, 1)
        self.joint_head = JointHead(config) if config.locates_joints else None

    def forward(self, images: Tensor) -> DenseOutput:
        """Image-space outputs, before the warp to UV space, of images (B, 3, S, S) in [0, 1]."""
        keypoint_scores = None
        if self.is_pretrained:
            grids, summary, keypoint_scores = self.encoder(images).for_decoder()
            global_features = self.global_head(summary)
            # Dense losses must not change the features that pose the mesh.
            local_features = self.decoder(grids, global_features.detach())
        else:
            skips = self.encoder(self.standardize(images))
            global_features = self.global_head(skips[-1])
            local_features = self.decoder(skips)
        iuv = torch.cat([self.mask_head(local_features), self.uv_head(local_features)], dim=1)
        head = self.joint_head
        heatmaps = None if head is None else head(local_features, keypoint_scores)
        return DenseOutput(iuv.sigmoid(), local_features, global_features, heatmaps)

    def standardize(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [0, 1] to mean 0 and deviation 1 over ImageNet."""
        return (images - self.image_mean) / self.image_std


class SkipDecoder(nn.ModuleList):
    """Upsampling blocks from a ResNet's last features, with skips from the earlier stages."""

    def __init__(self, config: NetworkConfig) -> None:
        """Makes the layers, randomly initialised."""
        channels = config.encoder_channels
        super().__init__(
            UpsamplingBlock(channels[level + 1], channels[level], config.norm)
            for level in range(len(channels) - 1)
        )

    def forward(self, skips: list[Tensor]) -> Tensor:
        """Features at 1/4, 1/8, 1/16 and 1/32 of the crop to (B, C, S/4, S/4)."""
        features = skips[-1]
        for level in range(len(self) - 1, -1, -1):
            features = self[level](features) + skips[level]
        return features


class GridDecoder(nn.Module):
    """Fuses a pretrained encoder's four grids and the global feature from coarse to fine.

    The finest grid includes the encoder's own feature pyramid. That pyramid has few channels,
    trained for keypoints; predicting a pixel's texel takes more of the encoder's features.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        channels, norm = config.decoder_channels, config.norm
        grids = PRETRAINED[config.encoder].grids
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in grids)
        self.laterals = nn.ModuleList(
            nn.Conv2d(grid, own, kernel_size=1) for grid, own in zip(grids, channels, strict=True)
        )
        self.of_crop = nn.Linear(config.global_features, channels[-1])
        self.coarsest = nn.Sequential(
            *(BottleneckBlock(channels[-1], channels[-1], norm) for _ in range(2))
        )
        self.up_layers = nn.ModuleList(
            UpsamplingBlock(coarse, fine, norm)
            for fine, coarse in zip(channels, channels[1:], strict=False)
        )
        self.blocks = nn.ModuleList(BottleneckBlock(fine, fine, norm) for fine in channels[:-1])

    def forward(self, grids: tuple[Tensor, ...], global_features: Tensor) -> Tensor:
        """Grids of `DecoderInputs` and (B, G) to (B, C, h, w)."""
        skips = [
            lateral(norm(grid))
            for lateral, norm, grid in zip(self.laterals, self.norms, grids, strict=True)
        ]
        features = functional.relu(skips[-1] + self.of_crop(global_features)[..., None, None])
        features = self.coarsest(features)
        for level in reversed(range(len(self.blocks))):
            features = self.blocks[level](self.up_layers[level](features) + skips[level])
        return features


class JointHead(OutputHead):
    """Heatmaps of the body's joints, to which the encoder's own keypoints contribute.

    The sum of logarithms is a product of two estimates. The layers of this head are trained on
    renderings; a pretrained encoder located keypoints on photographs.

    Attributes:
        keypoint_places: (J,) keypoint of each joint, 0 for joints without.
        keypoint_weights: (J, 1, 1) weight of its score, 0 for joints without.
    """

    keypoint_places: Tensor
    keypoint_weights: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__(*_dense_layers(config, NUM_JOINTS))
        known = PRETRAINED[config.encoder].keypoint_of_joint if config.is_pretrained else {}
        self.has_keypoints = bool(known) and config.keypoint_weight > 0
        joints = range(NUM_JOINTS)
        places = torch.tensor([known.get(joint, 0) for joint in joints])
        is_known = torch.tensor([joint in known for joint in joints])
        weights = config.keypoint_weight * is_known[:, None, None].float()
        self.register_buffer('keypoint_places', places, persistent=False)
        self.register_buffer('keypoint_weights', weights, persistent=False)

    def forward(self, local_features: Tensor, keypoint_scores: Tensor | None = None) -> Tensor:
        """Logits of the joints' positions.

        Args:
            local_features: (B, C, h, w).
            keypoint_scores: (B, n, h, w) of `DecoderInputs`; used if the encoder has them and the
                config gives them a weight.

        Returns:
            (B, J, h, w) float32.
        """
        heatmaps = super().forward(local_features)
        if self.has_keypoints:
            assert keypoint_scores is not None  # the encoder has keypoints
            heatmaps = heatmaps + self.keypoint_weights * keypoint_scores[:, self.keypoint_places]
        return heatmaps


def _make_dense_head(config: NetworkConfig, out_channels: int) -> OutputHead:
    return OutputHead(*_dense_layers(config, out_channels))


def _dense_layers(config: NetworkConfig, out_channels: int) -> tuple[nn.Module, nn.Module]:
    return (
        BottleneckBlock(config.local_channels, config.head_channels, config.norm),
        nn.Conv2d(config.head_channels, out_channels, kernel_size=1),
    )


def _make_global_head(config: NetworkConfig) -> nn.Sequential:
    """(B, channels, S / 32, S / 32) to (B, G)."""
    channels = config.encoder_channels[-1]
    if config.global_pool == 'mean':
        if channels != config.global_features:
            raise ValueError(
                f'global_features is {config.global_features}, but the mean of the '
                f'last feature map has {channels} channels'
            )
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    side = config.crop_size // ENCODER_STRIDE
    return nn.Sequential(
        nn.Conv2d(channels, SQUEEZED_CHANNELS, kernel_size=1, bias=False),
        nn.BatchNorm2d(SQUEEZED_CHANNELS),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(SQUEEZED_CHANNELS * side**2, config.global_features, bias=False),
        nn.BatchNorm1d(config.global_features),
        nn.ReLU(inplace=True),
    )


def _make_summary_head(config: NetworkConfig) -> nn.Sequential:
    """A pretrained encoder's summary of the crop, (B, its `summary`), to (B, G)."""
    size, given = config.global_features, PRETRAINED[config.encoder].summary
    return nn.Sequential(
        RunningNorm(given),
        nn.Linear(given, SUMMARY_RANK, bias=False),
        nn.Linear(SUMMARY_RANK, size, bias=False),
        nn.LayerNorm(size),
        nn.ReLU(inplace=True),
        *(LinearResidual(size) for _ in range(config.summary_blocks)),
    )
