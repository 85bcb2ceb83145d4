"""Small networks with the parts of the presets, whose outputs depend on the image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from decomr_core.base.config import NetworkConfig, network_config
from decomr_core.body_models import BodyModel
from decomr_core.geometry.crop import network_input
from decomr_core.measures.parity import parity_crops
from decomr_core.networks.checkpoint import save_checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.uv_map import UVMap

SIZES = {
    # With a ResNet: the pretrained encoder has one size.
    'rt': {
        'encoder': 'resnet',
        'crop_size': 64,
        'encoder_width': 8,
        'global_features': 32,
        'head_channels': 8,
        'hidden_features': 16,
        'uv_resolution': 16,
        'uv_channels': (64, 32),
        'location_map_resolution': 32,
        'pose_components': 0,
        'squeezed_channels': 5,
    },
    'paper': {
        'crop_size': 64,
        'encoder_width': 8,
        'global_features': 256,
        'head_channels': 32,
        'encoder_depths': (1, 1, 1, 1),
        'hidden_features': 16,
        'uv_resolution': 16,
        'broadcast_features': 16,
        'projection_channels': (32, 32),
        'hourglass_channels': (32, 48, 48),
        'uv_channels': (32, 32),
        'location_map_resolution': 32,
    },
}


# What a network needs to pose its reference map.
POSED = {'uv_channels': (64,), 'location_map_resolution': 16, 'pose_components': 8}


def resnet_config(**changes: Any) -> NetworkConfig:
    """The parts of `rt` at 128 px, behind a trainable ResNet, with a fully detailed map."""
    return dataclasses.replace(
        network_config('rt'),
        **{
            'encoder': 'resnet',
            'crop_size': 128,
            'is_detailed': False,
            'rigidity': 0.0,
            'uv_channels': (64, 32),
            'pose_components': 0,
            'location_map_resolution': 64,
            **changes,
        },
    )


def small_config(preset: str, **changes: Any) -> NetworkConfig:
    """A preset, small: the same parts, fewer and thinner."""
    return dataclasses.replace(network_config(preset), **{**SIZES[preset], **changes})


def lively_network(config: NetworkConfig, body: BodyModel, uv_map: UVMap) -> DecoMR:
    """A random network in eval mode whose outputs show differences, unlike fresh layers.

    The last ones start near zero, and normalisation with the statistics of nothing lets the
    signal die out.
    """
    torch.manual_seed(0)
    network = DecoMR(config, body, uv_map)
    for name, parameter in network.named_parameters():
        if 'head' in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.train()(network_input(torch.from_numpy(parity_crops(config.crop_size, 16))))
    return network.eval()


def save_network(folder: Path, network: DecoMR, body: BodyModel, uv_map: UVMap) -> dict[str, str]:
    """A network with its body and UV map in a folder, as the options of a runtime."""
    paths = {
        'weights': str(folder / 'tiny.safetensors'),
        'body': str(folder / 'body.npz'),
        'uv_map': str(folder / 'uv.npz'),
    }
    body.save(paths['body'])
    uv_map.save(paths['uv_map'])
    save_checkpoint(paths['weights'], network, {})
    return paths
