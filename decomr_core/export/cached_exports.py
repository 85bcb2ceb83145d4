"""Exported networks in the caches: exported once per weights file, then only read.

There is one folder per weights file, target and export version. Folders are created atomically,
so any number of processes may request the same one at the same time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from decomr_core.base.assets import (
    BUILTIN,
    check_made_for,
    file_hash,
    find_body,
    find_uv_map,
    find_weights,
)
from decomr_core.base.cache import cache_folder, find_cached
from decomr_core.body_models.body_data import BodyData
from decomr_core.runtimes.exported_model import EXPORT_VERSION, ExportedModel
from decomr_core.uv.uv_map import UVMap

__all__ = ['exported_model', 'find_export']


def exported_model(
    weights: str | Path = 'rt',
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    target: str = 'cpu',
) -> ExportedModel:
    """The export of a network, which is made now if it is in no cache.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.
        target: target of the export, one of `TARGETS`.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: weights or export are damaged, or belong to another body or UV map.
        RuntimeError: the export differs from PyTorch, or could not be written.
    """
    path = find_weights(weights)
    folder = find_export(path, target)
    if folder is None:
        from decomr_core.export.export import export_weights  # imports PyTorch

        folder = cache_folder() / _cached_name(path, target)
        export_weights(path, folder, body, uv_map, target)
    model = ExportedModel.load(folder)
    _check_export(path, model.info, body, uv_map)
    return model


def find_export(weights: str | Path = 'rt', target: str = 'cpu') -> Path | None:
    """The folder of a network's export in the user's or the installed cache, or None.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        target: target of the export, one of `TARGETS`.

    Raises:
        FileNotFoundError: there are no such weights.
    """
    found = find_cached(_cached_name(find_weights(weights), target) / 'info.json')
    return found and found.parent


def _cached_name(weights: Path, target: str) -> Path:
    """The folder of an export, relative to a cache."""
    key = f'{file_hash(weights)} {EXPORT_VERSION} {target}'
    return Path('exports') / f'{weights.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}'


def _check_export(weights: Path, info: dict, body: str | Path, uv_map: str | Path) -> None:
    """Checks that a cached export belongs to the body and UV map, as for its weights."""
    check_made_for(
        weights, 'body', info['body_hash'], BodyData.load(find_body(body)).hash, info['body_name']
    )
    check_made_for(
        weights, 'uv_map', info['uv_hash'], UVMap.load(find_uv_map(uv_map)).hash, info['body_name']
    )
