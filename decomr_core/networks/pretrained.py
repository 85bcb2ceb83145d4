"""Weights that others trained: the official release, an ImageNet classifier, and pose networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from decomr_core.base.assets import ENCODER_REMEDIES, find_encoder
from decomr_core.networks.checkpoint import ENCODER, copy_part
from decomr_core.networks.decomr import DecoMR

__all__ = [
    'load_classifier',
    'load_official',
    'load_pose_network',
    'official_name',
    'state_dict_from_official',
]

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
    problems = copy_part(
        network,
        ENCODER,
        {f'{ENCODER}{key}': tensor for key, tensor in state.items() if not key.startswith('fc.')},
    )
    if problems:
        raise ValueError(
            f'{path} does not fit the encoder of the {network.config.preset!r} '
            f"network: {problems}; torchvision's ResNet-50 fits preset 'paper'"
        )


def load_pose_network(network: DecoMR) -> None:
    """Copies the shipped weights of a pose network into the encoder.

    Args:
        network: a network with a pretrained encoder; its other parts stay as they are.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged or its tensors do not fit the encoder.
    """
    name = network.config.encoder
    if not network.config.is_pretrained:
        raise ValueError(f'there are no weights of a pose network for the encoder {name!r}')
    path, remedy = find_encoder(name), ENCODER_REMEDIES[name]
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f'{path} is damaged ({error}); recreate it: {remedy}') from error
    problems = copy_part(
        network, ENCODER, {f'{ENCODER}{key}': tensor.float() for key, tensor in tensors.items()}
    )
    if problems:
        raise ValueError(f'{path} does not fit the encoder: {problems}; recreate it: {remedy}')


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
