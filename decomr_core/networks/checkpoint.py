"""Trained networks in one file each: safetensors, with config and hashes of body and UV map.

Strict both ways: a file is loaded into exactly the network it was saved from, on exactly the body
and UV map it was made for, or not at all.
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

__all__ = ['load_blazepose', 'load_classifier', 'load_network', 'load_official', 'load_part',
           'load_with_topology', 'official_name', 'read_metadata', 'save_checkpoint',
           'state_dict_from_official', 'tensor_problems']

# Written into every file; a reader refuses other numbers.
FORMAT_VERSION = 1
# What every file says about itself; `save_checkpoint` fills these in.
OWN_KEYS = ('format_version', 'config', 'body_name', 'body_hash', 'uv_hash')
# The one part that knows nothing of body and UV map: the same for all of them.
ENCODER = 'cnet.encoder.'
KEYS_SHOWN = 5
# Module names of the official release -> ours, longest first where one starts another.
OFFICIAL_NAMES = {
    'CNet': {'resnet': 'cnet.encoder', 'dp_layers': 'cnet.decoder', 'dp_uv_end': 'cnet.uv_head',
             'dp_mask_end': 'cnet.mask_head'},
    'LNet': {'fc_head': 'lnet.global_head', 'camera': 'lnet.camera_head',
             'uv_conv1': 'lnet.projection', 'hg': 'lnet.hourglass', 'uv_conv2': 'lnet.uv_conv',
             'decoder': 'lnet.decoder', 'uv_end': 'lnet.location_head'},
}
# The ImageNet classifier, which the official encoder carries along and never runs.
UNUSED_OFFICIAL = 'resnet.fc.'


def save_checkpoint(path: str | Path, network: DecoMR, metadata: Mapping[str, Any],
                    half: bool = False) -> None:
    """Writes a network as one safetensors file; an existing file is replaced in one step.

    Args:
        path: of the file.
        network: what to save.
        metadata: more to say about it (training, scores), each value JSON can hold.
        half: store matrices and kernels as float16, half the size. Vectors (biases, means and
            variances) stay float32: they are small, and variances leave float16's range.

    Raises:
        ValueError: a value is not finite as stored, or `metadata` uses a key of the format.
    """
    taken = set(OWN_KEYS) & set(metadata)
    if taken:
        raise ValueError(f'metadata uses keys of the file format: {sorted(taken)}; rename them')
    tensors = {key: _as_stored(key, tensor, half) for key, tensor in network.state_dict().items()}
    values = {**metadata, 'format_version': FORMAT_VERSION, 'config': network.config.to_dict(),
              'body_name': network.body_name, 'body_hash': network.body_hash,
              'uv_hash': network.uv_hash}
    # save_file would make a file that only its owner can read, whatever the umask says.
    with replacing(path) as part:
        part.write_bytes(save(tensors, {key: json.dumps(value) for key, value in values.items()}))


def read_metadata(name_or_path: str | Path = 'rt') -> dict[str, Any]:
    """What a weights file says about itself: `OWN_KEYS` and what else it was saved with.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not one of ours.
    """
    return _read(find_weights(name_or_path))[0]


def load_network(name_or_path: str | Path = 'rt', body: BodyModel | None = None,
                 uv_map: UVMap | None = None) -> DecoMR:
    """A trained network, in eval mode, float32, on the CPU.

    Args:
        name_or_path: a shipped network by name, or a file from `save_checkpoint`.
        body: the body it was trained for; None takes the built-in one.
        uv_map: the UV map it was trained for; None takes the built-in one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not one of ours, or it was made for another body, UV
            map or network.
    """
    path = find_weights(name_or_path)
    metadata, tensors = _read(path)
    body = load_body() if body is None else body
    check_made_for(path, 'body', metadata['body_hash'], body.hash, metadata['body_name'])
    uv_map = load_uv_map() if uv_map is None else uv_map
    check_made_for(path, 'uv_map', metadata['uv_hash'], uv_map.hash, metadata['body_name'])
    if metadata['config'].get('preset') == 'rt' and 'encoder' not in metadata['config']:
        raise ValueError(f'{path} holds the rt network of an earlier version (128 px, ResNet), '
                         'which this one no longer has; take the shipped weights (rt), or train '
                         'again: python -m training.train --config config/train_rt.yaml')
    try:
        config = NetworkConfig.from_dict(metadata['config'])
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path} was saved by another version of this package: {error}; '
                         'use that version, or train again') from error
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        network = DecoMR(config, body, uv_map)
    _check_tensors(path, network.state_dict(), tensors)
    network.load_state_dict(tensors)
    return network.eval()


def load_with_topology(weights: str | Path = 'rt', body: str | Path = BUILTIN,
                       uv_map: str | Path = BUILTIN) -> tuple[DecoMR, Topology]:
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
        network: what is changed; its other parts stay as they are.
        name_or_path: a shipped network by name, or a file from `save_checkpoint`.
        prefix: how the names of the part's tensors begin, as in `cnet.`. Only `ENCODER` may
            come from a network of another body or UV map.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or not one of ours, the part has other sizes there, or
            body or UV map are others.
    """
    path = find_weights(name_or_path)
    metadata, tensors = _read(path)
    if not prefix.startswith(ENCODER):
        for kind, seen in (('body', network.body_hash), ('uv_map', network.uv_hash)):
            key = 'body_hash' if kind == 'body' else 'uv_hash'
            check_made_for(path, kind, metadata[key], seen, metadata['body_name'])
    problems = _copy_part(network, prefix, {
        key: tensor for key, tensor in tensors.items() if key.startswith(prefix)})
    if problems:
        raise ValueError(f'{prefix.rstrip(".")} in {path} has other sizes than the '
                         f'{network.config.preset!r} network: {problems}; take weights of the '
                         'same sizes')


def load_classifier(network: DecoMR, path: str | Path) -> None:
    """Copies the layers of an image classifier into the encoder, as the paper begins.

    Args:
        network: of the preset `paper`; its other parts stay as they are.
        path: state dict of torchvision's ResNet-50 (`resnet50-*.pth`). Its last layer is not used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no state dict, or that of another network.
    """
    state = _read_torch(path)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor)
                                                 for value in state.values()):
        raise ValueError(f"{path} is no state dict; take torchvision's resnet50-*.pth")
    problems = _copy_part(network, ENCODER, {
        f'{ENCODER}{key}': tensor for key, tensor in state.items() if not key.startswith('fc.')})
    if problems:
        raise ValueError(f'{path} does not fit the encoder of the {network.config.preset!r} '
                         f"network: {problems}; torchvision's ResNet-50 fits preset 'paper'")


def load_blazepose(network: DecoMR) -> None:
    """Copies the shipped weights of BlazePose into the encoder.

    Args:
        network: whose encoder is `blazepose`; its other parts stay as they are.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is damaged or holds something else.
    """
    path = find_encoder()
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f'{path} is damaged ({error}); make it again: {ENCODER_REMEDY}'
                         ) from error
    problems = _copy_part(network, ENCODER, {
        f'{ENCODER}{key}': tensor.float() for key, tensor in tensors.items()})
    if problems:
        raise ValueError(f'{path} does not fit the encoder: {problems}; make it again: '
                         f'{ENCODER_REMEDY}')


def load_official(path: str | Path) -> dict[str, Tensor]:
    """The state dict of our `paper` network from a file of the official release.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an official checkpoint.
    """
    official = _read_torch(path)
    if not isinstance(official, Mapping):
        raise ValueError(f'{path} holds a {type(official).__name__}, expected a dict with state '
                         f'dicts under {sorted(OFFICIAL_NAMES)}')
    return state_dict_from_official(official)


def _copy_part(network: DecoMR, prefix: str, part: Mapping[str, Tensor]) -> str:
    """Sets the tensors whose names begin so, or says what keeps these from being all of them."""
    state = network.state_dict()
    problems = tensor_problems({key: tensor for key, tensor in state.items()
                                if key.startswith(prefix)}, part)
    if not problems:
        network.load_state_dict({**state, **part})
    return problems


def _read_torch(path: str | Path) -> Any:
    """What a PyTorch file holds; nothing in it is run."""
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:
        # Damaged files raise almost anything; all of it means the same to the user, and
        # PyTorch's own text proposes to read them unsafely.
        raise ValueError(f'{path} is not a PyTorch checkpoint that can be read safely '
                         f'({type(error).__name__}); download it again') from error


def state_dict_from_official(official: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state dict of our `paper` network from an official checkpoint.

    Args:
        official: the state dicts under `CNet` and `LNet`.

    Returns:
        The same tensors under our names, without the classifier that is never used.

    Raises:
        ValueError: a network is missing or a key is not the official network's.
    """
    missing = set(OFFICIAL_NAMES) - set(official)
    if missing:
        raise ValueError(f'not an official DecoMR checkpoint: it lacks {sorted(missing)}; '
                         f'found: {sorted(official)}')
    renamed = {}
    for network, names in OFFICIAL_NAMES.items():
        if not isinstance(official[network], Mapping):
            raise ValueError(f'{network} of the official checkpoint is a '
                             f'{type(official[network]).__name__}, expected a state dict')
        for key, tensor in official[network].items():
            if str(key).startswith(UNUSED_OFFICIAL):
                continue
            module, _, rest = str(key).partition('.')
            if not isinstance(tensor, Tensor):
                raise ValueError(f'{network} of the official checkpoint holds a '
                                 f'{type(tensor).__name__} as {key!r}, expected tensors alone')
            if module not in names:
                raise ValueError(f'{network} of the official checkpoint has a key {key!r} of no '
                                 f'known module; known: {sorted(names)}')
            renamed[f'{names[module]}.{rest}'] = tensor
    return renamed


def official_name(key: str) -> str:
    """What the official release calls a tensor of ours, with the network's name in front."""
    for network, names in OFFICIAL_NAMES.items():
        for official, ours in names.items():
            if key.startswith(f'{ours}.'):
                return f'{network}.{official}{key[len(ours):]}'
    return key


def tensor_problems(wanted: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> str:
    """What keeps tensors from being those of a network: names and shapes; empty if nothing."""
    missing, unknown = sorted(set(wanted) - set(seen)), sorted(set(seen) - set(wanted))
    reshaped = sorted(key for key in set(wanted) & set(seen)
                      if wanted[key].shape != seen[key].shape)
    return '; '.join(
        f'{len(keys)} {what} ({", ".join(keys[:KEYS_SHOWN])}'
        f'{", ..." if len(keys) > KEYS_SHOWN else ""})'
        for what, keys in (('missing', missing), ('unknown', unknown),
                           ('of another shape', reshaped)) if keys)


def _as_stored(key: str, tensor: Tensor, half: bool) -> Tensor:
    stored = tensor.detach().cpu().contiguous()
    if half and stored.ndim >= 2 and stored.is_floating_point():
        stored = stored.half()
    if not stored.isfinite().all():
        size = tensor.detach().abs().max().item()
        raise ValueError(f'{key} holds values up to {size:g}, not finite as '
                         f'{stored.dtype}; the training diverged: take an earlier checkpoint')
    return stored


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a weights file."""
    remedy = 'get the file again, or train: python -m training.train --config config/train_rt.yaml'
    try:
        with safe_open(path, framework='pt') as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} is damaged or no weights file ({error}); {remedy}') from error
    missing = set(OWN_KEYS) - set(metadata)
    if missing:
        raise ValueError(f'{path} is no DecoMR weights file: it does not say {sorted(missing)}; '
                         f'{remedy}')
    if metadata['format_version'] != FORMAT_VERSION:
        raise ValueError(f"{path} has format version {metadata['format_version']}, this package "
                         f'reads {FORMAT_VERSION}; install the matching version')
    return metadata, tensors


def _check_tensors(path: Path, wanted: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
    problems = tensor_problems(wanted, seen)
    if problems:
        raise ValueError(f'the tensors in {path} do not fit its config: {problems}; '
                         'it was saved by another version of this package: use that version, or '
                         'train again')
