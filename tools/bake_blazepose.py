"""Converts the weights of BlazePose's landmark network for `BlazePoseEncoder`.

    npm pack @mediapipe/pose@0.5.1675469404 && tar xzf mediapipe-pose-*.tgz
    python -m tools.bake_blazepose package/pose_landmark_full.tflite

The file is Google's, under the Apache License 2.0. Changes: the weights are stored as
safetensors with the names of our modules and in PyTorch's order of axes, and the layers behind the
mask features are omitted. The weights stay float16 as in the file. Needs
`pip install tflite==2.18.0`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from decomr_core.networks.encoders.blazepose import BlazePoseEncoder
from tools.encoder_baking import bake_command, convolutions_of
from tools.tflite_file import TfliteFile

SHA256 = 'e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f'
CONVOLUTIONS = ('CONV_2D', 'DEPTHWISE_CONV_2D')
MASK_LAYERS_LEFT_OUT = 5
"""Number of convolutions between the mask features and the mask, which our module omits."""


def convolutions(source: TfliteFile) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the kernel, in PyTorch's order of axes, and the bias of each convolution."""
    halves = {}  # float16 constants by the float32 tensors they are dequantised to
    for operator in source.operators():
        if operator.name == 'DEQUANTIZE':
            halves[operator.outputs[0]] = operator.inputs[0]
        elif operator.name in CONVOLUTIONS:
            kernel, bias = (source.constant(halves[index]) for index in operator.inputs[1:3])
            yield (
                kernel.transpose((0, 3, 1, 2) if operator.name == 'CONV_2D' else (3, 0, 1, 2)),
                bias,
            )


def in_file_order(encoder: BlazePoseEncoder) -> list[nn.Conv2d | None]:
    """Our convolutions in the order of the file, None for those that are omitted."""
    stages = [convolutions_of(stage) for stage in encoder.stages]
    laterals = [convolutions_of(lateral) for lateral in encoder.laterals]
    order: list[nn.Conv2d | None] = [*convolutions_of(encoder.stem)]
    # The lateral of a level follows the first layer of the next stage.
    for stage, lateral in zip(
        stages, [convolutions_of(encoder.mask_lateral), *laterals], strict=False
    ):
        order += [stage[0], *lateral, *stage[1:]]
    order += [
        *laterals[-1],
        *convolutions_of(encoder.mask_top),
        *convolutions_of(encoder.mask_blocks),
        *[None] * MASK_LAYERS_LEFT_OUT,
        encoder.heatmap_head,
        *convolutions_of(encoder.tail),
        encoder.landmark_head,
        encoder.world_head,
        None,
    ]  # the last one is the presence of a person
    return order


def bake(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of `BlazePoseEncoder`, float16.

    Args:
        path: the file.

    Raises:
        ValueError: the file has another hash.
    """
    source = TfliteFile(path, SHA256)
    encoder = BlazePoseEncoder()
    for layer, (kernel, bias) in zip(in_file_order(encoder), convolutions(source), strict=True):
        if layer is not None:
            assert layer.bias is not None  # all convolutions of the encoder have one
            layer.weight.data.copy_(torch.from_numpy(kernel.astype(np.float32)))
            layer.bias.data.copy_(torch.from_numpy(bias.astype(np.float32)))
    return {name: tensor.half() for name, tensor in encoder.state_dict().items()}


def main() -> int:
    """Runs the command line; returns the exit code."""
    return bake_command('blazepose', __doc__.splitlines()[0], 'pose_landmark_full.tflite', bake)


if __name__ == '__main__':
    raise SystemExit(main())
