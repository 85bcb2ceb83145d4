"""Image encoders: a ResNet as in the paper, and two pose networks with pretrained weights."""

from __future__ import annotations

from decomr_core.networks.encoders.blazepose import BlazePoseEncoder
from decomr_core.networks.encoders.movenet import MoveNetEncoder
from decomr_core.networks.encoders.resnet import ResNetEncoder

__all__ = ['PRETRAINED', 'PretrainedEncoder', 'ResNetEncoder']

PretrainedEncoder = BlazePoseEncoder | MoveNetEncoder

PRETRAINED: dict[str, type[PretrainedEncoder]] = {
    'blazepose': BlazePoseEncoder,
    'movenet': MoveNetEncoder,
}
"""The pose networks by the names of the encoders in `NetworkConfig`. Their features have a method
`for_decoder`; the attributes `grids` and `summary` give the sizes of what it returns, and
`keypoint_of_joint` tells which of its keypoints are joints of the body."""
