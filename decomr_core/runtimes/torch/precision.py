"""Half precision in PyTorch, and the precision of float32 products on a GPU.

Convolutions and linear layers store their weights in half precision, and autocast converts their
inputs. As in exports, counting, positions, normalisation and the last layer of each head stay
float32.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from decomr_core.base.assets import file_hash
from decomr_core.base.cache import cache_folder
from decomr_core.measures.parity import Parity, measure_parity, parity_crops
from decomr_core.networks.blocks import OutputHead
from decomr_core.networks.decomr import DecoMR

__all__ = ['PRECISIONS', 'arithmetic', 'cached_parity', 'check_precision', 'mixed_network']

PRECISIONS = ('f32', 'tf32', 'bf16', 'fp16')
"""`tf32` rounds the factors of float32 products to 10 bits in a GPU's tensor cores."""

HALF_TYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
AMPERE = (8, 0)
"""The first compute capability that supports tf32 and bf16."""

MEASURE_VERSION = 1
"""Increased when half precision changes, so that it is measured again."""

logger = logging.getLogger(__name__)


def check_precision(precision: str, device: torch.device) -> None:
    """Checks that a device supports a precision.

    Half precision on a CPU is slow; it is supported for comparisons.

    Raises:
        ValueError: the precision is unknown or not supported by the device.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision is {precision!r}, expected auto, {", ".join(PRECISIONS)}')
    if device.type == 'cpu':
        if precision == 'tf32':
            raise ValueError('precision is tf32, but a CPU has no such arithmetic; use f32')
    elif precision in ('tf32', 'bf16'):
        capability = torch.cuda.get_device_capability(device)
        if capability < AMPERE:
            raise ValueError(
                f'precision is {precision}, but {torch.cuda.get_device_name(device)} (compute '
                f'capability {capability[0]}.{capability[1]}) has no such arithmetic; use fp16 '
                'or f32'
            )


@contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """Applies PyTorch's settings for a precision in this block, without gradients.

    PyTorch's default is tf32 in convolutions and float32 in matrix products. These two settings
    are global, so they also affect networks that other threads run on a GPU meanwhile.

    Args:
        device: device of the network.
        precision: one of `PRECISIONS`.
    """
    half = HALF_TYPES.get(precision)
    # Without the cache, whose tensors would be in the memory of a graph that is being recorded.
    with (
        torch.inference_mode(),
        _float32_products(device, precision == 'tf32'),
        torch.autocast(device.type, half, enabled=half is not None, cache_enabled=False),
    ):
        yield


@contextmanager
def _float32_products(device: torch.device, allow_tf32: bool) -> Iterator[None]:
    """Sets whether float32 products use tf32 on a GPU, and enables kernel benchmarking."""
    if device.type != 'cuda':
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=True, deterministic=False, allow_tf32=allow_tf32
    ):
        matmul.allow_tf32 = allow_tf32
        try:
            yield
        finally:
            matmul.allow_tf32 = before


def mixed_network(network: DecoMR, precision: str) -> DecoMR:
    """A copy of a network in half precision for `arithmetic`; otherwise the network itself.

    Args:
        network: float32, in eval mode.
        precision: one of `PRECISIONS`.

    Raises:
        ValueError: a weight is out of the range of float16.
    """
    if precision not in HALF_TYPES:
        return network
    network = copy.deepcopy(network)
    kept = {id(part.last) for part in network.modules() if isinstance(part, OutputHead)}
    for name, layer in network.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and id(layer) not in kept:
            layer.to(HALF_TYPES[precision])
            if not all(weights.isfinite().all() for weights in layer.parameters()):
                raise ValueError(
                    f'the weights {name} are out of the range of {precision}; use '
                    "precision='f32' or 'bf16'"
                )
    return network


def cached_parity(
    weights: Path,
    gpu: str,
    measure: Callable[[str, np.ndarray], dict[str, np.ndarray]],
    crop_size: int,
) -> Parity:
    """Parity of fp16 with f32 on a GPU, measured once and then read from the cache.

    Args:
        weights: the weights file.
        gpu: name of the GPU.
        measure: takes a precision and crops (B, S, S, 3) uint8 RGB, returns the outputs.
        crop_size: S, px.
    """
    key = f'{file_hash(weights)} {gpu} {torch.__version__} {MEASURE_VERSION}'
    key = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache_folder() / 'torch' / f'{weights.stem}-{key}.json'
    try:
        return Parity(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # not measured yet, or damaged
        pass
    crops = parity_crops(crop_size)
    parity = measure_parity(measure('fp16', crops), measure('f32', crops))
    logger.info('fp16 is %.3f mm from f32 on %s', parity.vertices_mean_mm, gpu)
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(parity.to_dict()))
    except OSError as error:
        logger.warning(
            'cannot cache the parity of fp16, which is measured at every start instead: %s', error
        )
    return parity
