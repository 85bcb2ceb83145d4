"""The residual image encoder (He et al., 2016): features at four scales."""

from __future__ import annotations

from torch import Tensor, nn

from decomr_core.base.config import NetworkConfig

__all__ = ['ResNetEncoder']


class BasicBlock(nn.Module):
    """ResNet-18's block: (B, in, h, w) to (B, width, h / stride, w / stride)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        """Makes the layers; the last normalisation starts at zero, the block as the identity."""
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
        """Makes the layers; the last normalisation starts at zero, the block as the identity."""
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


BLOCKS: dict[str, type[BasicBlock | WideBlock]] = {'basic': BasicBlock, 'bottleneck': WideBlock}
"""Blocks by the names in `NetworkConfig.encoder_block`."""


class ResNetEncoder(nn.Module):
    """ResNet without its classifier; its modules are named as in the public ResNet weights."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: NetworkConfig) -> None:
        """Makes the layers, randomly initialised."""
        super().__init__()
        width, kernel = config.encoder_width, config.stem_kernel
        self.conv1 = nn.Conv2d(3, width, kernel, stride=2, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        block = BLOCKS[config.encoder_block]
        channels = width
        for level, depth in enumerate(config.encoder_depths):
            stage_width = width * 2**level
            blocks: list[nn.Module] = []
            for position in range(depth):
                stride = 2 if level > 0 and position == 0 else 1
                blocks.append(block(channels, stage_width, stride))
                channels = stage_width * block.expansion
            self.add_module(f'layer{level + 1}', nn.Sequential(*blocks))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, S, S) RGB of mean 0 and deviation 1 to features at 1/4, 1/8, 1/16, 1/32."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        first = self.layer1(features)
        second = self.layer2(first)
        third = self.layer3(second)
        return [first, second, third, self.layer4(third)]


def _make_downsample(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )
