"""Weights files: safetensors with the network's config and the hashes of body and UV map.

Loading is strict: config, body, UV map and tensors must match the saved network exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from decomr_core.base.assets import BUILTIN, check_made_for, find_weights
from decomr_core.base.config import NetworkConfig
from decomr_core.base.files import replacing
from decomr_core.body_models import BodyModel, load_body
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap, load_uv_map

__all__ = [
    'ENCODER',
    'copy_part',
    'load_network',
    'load_part',
    'load_with_topology',
    'read_metadata',
    'save_checkpoint',
    'tensor_problems',
]

# Written into every file; files with another version are rejected.
FORMAT_VERSION = 1
# Metadata of every file, set by `save_checkpoint`.
OWN_KEYS = ('format_version', 'config', 'body_name', 'body_hash', 'uv_hash')
# The only part that does not depend on body and UV map.
ENCODER = 'cnet.encoder.'
KEYS_SHOWN = 5


def save_checkpoint(
    path: str | Path, network: DecoMR, metadata: Mapping[str, Any], half: bool = False
) -> None:
    """Writes a network as one safetensors file; replaces an existing file atomically.

    Args:
        path: the file to write.
        network: the network to save.
        metadata: additional metadata (training, scores); the values must be valid in JSON.
        half: store matrices and kernels as float16, at half the size. Vectors (biases, means and
            variances) stay float32: they are small, and variances exceed float16's range.

    Raises:
        ValueError: a stored value is not finite, or `metadata` uses a key of the format.
    """
    reserved = set(OWN_KEYS) & set(metadata)
    if reserved:
        raise ValueError(f'metadata uses keys of the file format: {sorted(reserved)}; rename them')
    tensors = {key: _as_stored(key, tensor, half) for key, tensor in network.state_dict().items()}
    values = {
        **metadata,
        'format_version': FORMAT_VERSION,
        'config': network.config.to_dict(),
        'body_name': network.body_name,
        'body_hash': network.body_hash,
        'uv_hash': network.uv_hash,
    }
    # save_file would make the file readable by its owner only, regardless of the umask.
    with replacing(path) as part:
        part.write_bytes(save(tensors, {key: json.dumps(value) for key, value in values.items()}))


def read_metadata(name_or_path: str | Path = 'rt') -> dict[str, Any]:
    """The metadata of a weights file: `OWN_KEYS` and the `metadata` of `save_checkpoint`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not a weights file of decomr.
    """
    return _read(find_weights(name_or_path))[0]


def load_network(
    name_or_path: str | Path = 'rt', body: BodyModel | None = None, uv_map: UVMap | None = None
) -> DecoMR:
    """A trained network, in eval mode, float32, on the CPU.

    Args:
        name_or_path: a shipped network by name, or a file from `save_checkpoint`.
        body: the body it was trained for; None takes the built-in one.
        uv_map: the UV map it was trained for; None takes the built-in one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not a weights file of decomr, or it belongs to another
            body, UV map or network.
    """
    path = find_weights(name_or_path)
    metadata, tensors = _read(path)
    body = load_body() if body is None else body
    check_made_for(path, 'body', metadata['body_hash'], body.hash, metadata['body_name'])
    uv_map = load_uv_map() if uv_map is None else uv_map
    check_made_for(path, 'uv_map', metadata['uv_hash'], uv_map.hash, metadata['body_name'])
    if metadata['config'].get('preset') == 'rt' and 'encoder' not in metadata['config']:
        raise ValueError(
            f'{path} holds the rt network of an earlier version (128 px, ResNet), '
            'which is no longer supported; take the shipped weights (rt), or train '
            'again: python -m training.train --config config/training/train_rt.yaml'
        )
    try:
        config = NetworkConfig.from_dict(metadata['config'])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{path} was saved by another version of this package: {error}; '
            'use that version, or train again'
        ) from error
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random state unchanged
        network = DecoMR(config, body, uv_map)
    _check_tensors(path, network.state_dict(), tensors)
    network.load_state_dict(tensors)
    return network.eval()


def load_with_topology(
    weights: str | Path = 'rt', body: str | Path = BUILTIN, uv_map: str | Path = BUILTIN
) -> tuple[DecoMR, Topology]:
    """A trained network and the topology of its body.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is damaged, or the three do not belong together.
    """
    loaded_body = load_body(body)
    loaded_map = load_uv_map(uv_map, loaded_body)
    network = load_network(weights, loaded_body, loaded_map)
    return network, Topology.from_body(loaded_body, loaded_map)


def load_part(network: DecoMR, name_or_path: str | Path, prefix: str) -> None:
    """Copies the weights of one part of a trained network into another network.

    Args:
        network: the network to change; its other parts stay as they are.
        name_or_path: a shipped network by name, or a file from `save_checkpoint`.
        prefix: prefix of the names of the part's tensors, such as `cnet.`. Only `ENCODER` may
            come from a network for another body or UV map.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not a weights file of decomr, the part has other sizes
            there, or the body or the UV map differs.
    """
    path = find_weights(name_or_path)
    metadata, tensors = _read(path)
    if not prefix.startswith(ENCODER):
        for kind, own_hash in (('body', network.body_hash), ('uv_map', network.uv_hash)):
            key = 'body_hash' if kind == 'body' else 'uv_hash'
            check_made_for(path, kind, metadata[key], own_hash, metadata['body_name'])
    problems = copy_part(
        network, prefix, {key: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    )
    if problems:
        raise ValueError(
            f'{prefix.rstrip(".")} in {path} has other sizes than the '
            f'{network.config.preset!r} network: {problems}; take weights of the '
            'same sizes'
        )


def copy_part(network: DecoMR, prefix: str, part: Mapping[str, Tensor]) -> str:
    """Copies the tensors of one part into a network if all of them fit.

    Args:
        network: the network to change; its other parts stay as they are.
        prefix: prefix of the names of the part's tensors.
        part: its tensors by their names in the network.

    Returns:
        The problems of `tensor_problems`; empty if the part was copied.
    """
    state = network.state_dict()
    problems = tensor_problems(
        {key: tensor for key, tensor in state.items() if key.startswith(prefix)}, part
    )
    if not problems:
        network.load_state_dict({**state, **part})
    return problems


def tensor_problems(expected: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> str:
    """Lists tensors that are missing, unknown or of another shape; empty if all fit."""
    missing, unknown = sorted(set(expected) - set(loaded)), sorted(set(loaded) - set(expected))
    reshaped = sorted(
        key for key in set(expected) & set(loaded) if expected[key].shape != loaded[key].shape
    )
    return '; '.join(
        f'{len(keys)} {what} ({", ".join(keys[:KEYS_SHOWN])}'
        f'{", ..." if len(keys) > KEYS_SHOWN else ""})'
        for what, keys in (
            ('missing', missing),
            ('unknown', unknown),
            ('of another shape', reshaped),
        )
        if keys
    )


def _as_stored(key: str, tensor: Tensor, half: bool) -> Tensor:
    stored = tensor.detach().cpu().contiguous()
    if half and stored.ndim >= 2 and stored.is_floating_point():
        stored = stored.half()
    if not stored.isfinite().all():
        size = tensor.detach().abs().max().item()
        raise ValueError(
            f'{key} holds values up to {size:g}, which are not finite as '
            f'{stored.dtype}; the training diverged: take an earlier checkpoint'
        )
    return stored


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a weights file."""
    remedy = (
        'get the file again, or train: python -m training.train --config '
        'config/training/train_rt.yaml'
    )
    try:
        with safe_open(path, framework='pt') as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} is damaged or not a weights file ({error}); {remedy}') from error
    missing = set(OWN_KEYS) - set(metadata)
    if missing:
        raise ValueError(
            f'{path} is not a DecoMR weights file: its metadata lacks {sorted(missing)}; {remedy}'
        )
    if metadata['format_version'] != FORMAT_VERSION:
        raise ValueError(
            f'{path} has format version {metadata["format_version"]}, this package '
            f'reads {FORMAT_VERSION}; install the matching version'
        )
    return metadata, tensors


def _check_tensors(
    path: Path, expected: Mapping[str, Tensor], loaded: Mapping[str, Tensor]
) -> None:
    problems = tensor_problems(expected, loaded)
    if problems:
        raise ValueError(
            f'the tensors in {path} do not fit its config: {problems}; another '
            'version of this package saved it: use that version, or train again'
        )
