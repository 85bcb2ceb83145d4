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
from safetensors.torch import load_file, save
from torch import Tensor

from decomr_core.base.assets import (
    BUILTIN,
    ENCODER_REMEDY,
    check_made_for,
    find_encoder,
    find_weights,
)
from decomr_core.base.config import NetworkConfig
from decomr_core.base.files import replacing
from decomr_core.body_models import BodyModel, load_body
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap, load_uv_map

__all__ = [
    'load_blazepose',
    'load_classifier',
    'load_network',
    'load_official',
    'load_part',
    'load_with_topology',
    'official_name',
    'read_metadata',
    'save_checkpoint',
    'state_dict_from_official',
    'tensor_problems',
]

# Written into every file; files with another version are rejected.
FORMAT_VERSION = 1
# Metadata of every file, set by `save_checkpoint`.
OWN_KEYS = ('format_version', 'config', 'body_name', 'body_hash', 'uv_hash')
# The only part that does not depend on body and UV map.
ENCODER = 'cnet.encoder.'
KEYS_SHOWN = 5
# Module names of the official release -> ours; a name precedes its own prefixes.
OFFICIAL_NAMES = {
    'CNet': {
        'resnet': 'cnet.encoder',
        'dp_layers': 'cnet.decoder',
        'dp_uv_end': 'cnet.uv_head',
        'dp_mask_end': 'cnet.mask_head',
    },
    'LNet': {
        'fc_head': 'lnet.global_head',
        'camera': 'lnet.camera_head',
        'uv_conv1': 'lnet.projection',
        'hg': 'lnet.hourglass',
        'uv_conv2': 'lnet.uv_conv',
        'decoder': 'lnet.decoder',
        'uv_end': 'lnet.location_head',
    },
}
# The ImageNet classifier, which the official encoder contains but never runs.
UNUSED_OFFICIAL = 'resnet.fc.'


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
    problems = _copy_part(
        network, prefix, {key: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    )
    if problems:
        raise ValueError(
            f'{prefix.rstrip(".")} in {path} has other sizes than the '
            f'{network.config.preset!r} network: {problems}; take weights of the '
            'same sizes'
        )


def load_classifier(network: DecoMR, path: str | Path) -> None:
    """Initialises the encoder with the layers of an image classifier, as in the paper.

    Args:
        network: a network of the preset `paper`; its other parts stay as they are.
        path: state dict of torchvision's ResNet-50 (`resnet50-*.pth`). Its last layer is not used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a state dict, or it belongs to another network.
    """
    state = _read_torch(path)
    if not isinstance(state, Mapping) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise ValueError(f"{path} is not a state dict; take torchvision's resnet50-*.pth")
    problems = _copy_part(
        network,
        ENCODER,
        {f'{ENCODER}{key}': tensor for key, tensor in state.items() if not key.startswith('fc.')},
    )
    if problems:
        raise ValueError(
            f'{path} does not fit the encoder of the {network.config.preset!r} '
            f"network: {problems}; torchvision's ResNet-50 fits preset 'paper'"
        )


def load_blazepose(network: DecoMR) -> None:
    """Copies the shipped weights of BlazePose into the encoder.

    Args:
        network: a network with the encoder `blazepose`; its other parts stay as they are.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged or its tensors do not fit the encoder.
    """
    path = find_encoder()
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f'{path} is damaged ({error}); recreate it: {ENCODER_REMEDY}') from error
    problems = _copy_part(
        network, ENCODER, {f'{ENCODER}{key}': tensor.float() for key, tensor in tensors.items()}
    )
    if problems:
        raise ValueError(
            f'{path} does not fit the encoder: {problems}; recreate it: {ENCODER_REMEDY}'
        )


def load_official(path: str | Path) -> dict[str, Tensor]:
    """The state dict of our `paper` network, read from a file of the official release.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an official checkpoint.
    """
    official = _read_torch(path)
    if not isinstance(official, Mapping):
        raise ValueError(
            f'{path} holds a {type(official).__name__}, expected a dict with the '
            f'state dicts {sorted(OFFICIAL_NAMES)}'
        )
    return state_dict_from_official(official)


def _copy_part(network: DecoMR, prefix: str, part: Mapping[str, Tensor]) -> str:
    """Copies a part if it fits; returns the problems of `tensor_problems`, empty if none."""
    state = network.state_dict()
    problems = tensor_problems(
        {key: tensor for key, tensor in state.items() if key.startswith(prefix)}, part
    )
    if not problems:
        network.load_state_dict({**state, **part})
    return problems


def _read_torch(path: str | Path) -> Any:
    """The content of a PyTorch file; executes no code from it."""
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:
        # Damaged files raise many types of errors, which mean the same to the user. PyTorch's
        # own text suggests unsafe loading.
        raise ValueError(
            f'{path} is not a PyTorch checkpoint that can be read safely '
            f'({type(error).__name__}); download it again'
        ) from error


def state_dict_from_official(official: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state dict of our `paper` network, from an official checkpoint.

    Args:
        official: the state dicts `CNet` and `LNet`.

    Returns:
        The same tensors under our names, without the unused classifier.

    Raises:
        ValueError: a network is missing or a key is unknown.
    """
    missing = set(OFFICIAL_NAMES) - set(official)
    if missing:
        raise ValueError(
            f'not an official DecoMR checkpoint: it lacks {sorted(missing)}; '
            f'found: {sorted(official)}'
        )
    renamed = {}
    for network, names in OFFICIAL_NAMES.items():
        if not isinstance(official[network], Mapping):
            raise ValueError(
                f'{network} of the official checkpoint is a '
                f'{type(official[network]).__name__}, expected a state dict'
            )
        for key, tensor in official[network].items():
            if str(key).startswith(UNUSED_OFFICIAL):
                continue
            module, _, rest = str(key).partition('.')
            if not isinstance(tensor, Tensor):
                raise ValueError(
                    f'{network} of the official checkpoint holds a '
                    f'{type(tensor).__name__} as {key!r}, expected only tensors'
                )
            if module not in names:
                raise ValueError(
                    f'{network} of the official checkpoint has a key {key!r} of an '
                    f'unknown module; known: {sorted(names)}'
                )
            renamed[f'{names[module]}.{rest}'] = tensor
    return renamed


def official_name(key: str) -> str:
    """The official release's name of one of our tensors, prefixed with the network's name."""
    for network, names in OFFICIAL_NAMES.items():
        for official, ours in names.items():
            if key.startswith(f'{ours}.'):
                return f'{network}.{official}{key[len(ours) :]}'
    return key


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
