"""The residual image encoder (He et al., 2016): features at four scales."""

from __future__ import annotations

from torch import Tensor, nn

from decomr_core.base.config import NetworkConfig
from decomr_core.networks.blocks import BasicBlock, WideBlock

__all__ = ['ResNetEncoder']

BLOCKS: dict[str, type[BasicBlock | WideBlock]] = {'basic': BasicBlock, 'bottleneck': WideBlock}


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
