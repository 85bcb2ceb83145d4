"""The stored official network: weights by rule, an image and the outputs of each stage."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from decomr_core.geometry.crop import network_input
from decomr_core.networks import DecoMR
from decomr_core.uv.warp import warp_to_uv

DATA = Path(__file__).parents[1] / 'data' / 'parity'
# Relative error: float32 through 60 layers, other kernels; `local_feature` is stored in float16.
NETWORK_TOLERANCE = 1e-3
OFFICIAL_KEYS = json.loads((DATA / 'official_state_dict.json').read_text())


def stored_stages() -> dict[str, torch.Tensor]:
    """The seed of the weights, the image, the IUV image of the warp and the official outputs."""
    with np.load(DATA / 'parity_network.npz') as data:
        return {key: torch.from_numpy(data[key]) for key in data}


def official_checkpoint(stored: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The state dicts under `CNet` and `LNet` that the stored outputs were made with."""
    seed = int(stored['seed'])
    return {
        name: {key: official_weights(key, shape, seed) for key, shape in keys.items()}
        for name, keys in OFFICIAL_KEYS.items()
    }


def official_weights(key: str, shape: list[int], seed: int) -> torch.Tensor:
    """The tensor that the weight rule gives a key; the rule keeps activations near one."""
    random = np.random.RandomState((zlib.crc32(key.encode()) ^ seed) & 0xFFFFFFFF)
    noise = np.float32(random.standard_normal(shape))
    if key.endswith('num_batches_tracked'):
        values = np.int64(0)
    elif key.endswith('running_var'):
        values = np.exp(0.2 * noise)
    elif key.endswith('running_mean'):
        values = 0.1 * noise
    elif key.endswith('bn3.weight'):
        values = 0.3 * (1 + 0.1 * noise)
    elif len(shape) >= 2:
        values = noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    elif key.endswith('weight'):
        values = 1 + 0.1 * noise
    else:
        values = 0.02 * noise
    return torch.as_tensor(values)


def stage_outputs(network: DecoMR, stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The outputs of each stage for the stored image, in the layout of the stored outputs.

    The warp takes the stored IUV image, so that the later stages do not depend on the first.
    """
    with torch.inference_mode():
        dense = network.predict_iuv(network_input(stored['image']))
        iuv, local_features, global_features, _ = dense
        warped = warp_to_uv(local_features, stored['iuv'], network.config.uv_resolution)
        pose = network.lnet.pose(global_features)
        location_map = network.lnet(warped, global_features, pose)
    return {
        'iuv': iuv,
        'local_feature': local_features,
        'global_feature': global_features,
        'warped_mean': warped.mean(dim=(2, 3)),
        'warped_abs_mean': warped.abs().mean(dim=(2, 3)),
        'warped_mask': warped[:, -1],
        'location_map': location_map.permute(0, 2, 3, 1),
        'camera': pose.camera,
    }
