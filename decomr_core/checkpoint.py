"""Trained networks in one file each: safetensors with the config and the hashes of body and UV map."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ['state_dict_from_official']

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
        for key, tensor in official[network].items():
            if key.startswith(UNUSED_OFFICIAL):
                continue
            module, _, rest = key.partition('.')
            if module not in names:
                raise ValueError(f'{network} of the official checkpoint has a key {key!r} of no '
                                 f'known module; known: {sorted(names)}')
            renamed[f'{names[module]}.{rest}'] = tensor
    return renamed
