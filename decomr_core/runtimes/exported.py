"""Exported networks in the user's cache: made once per weights file, then only read.

One folder per weights file and export version. It appears complete or not at all, so any number
of processes may ask for it at the same time.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from decomr_core.assets import (
    BUILTIN,
    cache_folder,
    check_made_for,
    file_hash,
    find_body,
    find_uv_map,
    find_weights,
)
from decomr_core.body_models.body_data import BodyData
from decomr_core.topology import Topology
from decomr_core.uv.uv_map import UVMap

__all__ = ['EXPORT_VERSION', 'OUTPUT_NAMES', 'ExportedModel', 'exported_model']

EXPORT_VERSION = 1
"""Raised whenever what an export writes changes, so that older ones are made again."""

INPUT_NAME = 'images'
OUTPUT_NAMES = ('iuv', 'vertices', 'joints', 'camera', 'location_map')
"""The graph's input (B, S, S, 3) uint8 RGB, and its outputs as in `NetworkOutput`."""


@dataclass(frozen=True)
class ExportedModel:
    """The files of one exported network.

    Attributes:
        folder: holds `model.onnx`, `model.xml` and `.bin` (OpenVINO), `topology.npz` and
            `info.json`.
        crop_size: S, px.
        topology: of the body it was trained for.
        info: everything in `info.json`: config, hashes, versions, measured parity.
    """

    folder: Path
    crop_size: int
    topology: Topology
    info: dict

    @classmethod
    def load(cls, folder: str | Path) -> ExportedModel:
        """Reads an export.

        Raises:
            ValueError: a file is missing or damaged.
        """
        folder = Path(folder)
        try:
            info = json.loads((folder / 'info.json').read_text())
            return cls(folder, int(info['crop_size']), Topology.load(folder / 'topology.npz'),
                       info)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(_damage(folder, error)) from error

    def damage(self, reason: object) -> str:
        """What to tell if a file turns out to be damaged."""
        return _damage(self.folder, reason)

    @property
    def onnx_path(self) -> Path:
        """The ONNX file."""
        return self.folder / 'model.onnx'

    @property
    def openvino_path(self) -> Path:
        """The OpenVINO IR file."""
        return self.folder / 'model.xml'


def exported_model(weights: str | Path = 'rt', body: str | Path = BUILTIN,
                   uv_map: str | Path = BUILTIN) -> ExportedModel:
    """The export of a network, made now if it is not in the cache.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the weights are damaged or of another body or UV map; or the export is.
    """
    path = find_weights(weights)
    key = hashlib.sha256(f'{file_hash(path)} {EXPORT_VERSION}'.encode()).hexdigest()[:16]
    folder = cache_folder() / 'exports' / f'{path.stem}-{key}'
    if not (folder / 'info.json').is_file():
        from decomr_core.export import export_weights  # torch and the network: only to export

        export_weights(path, folder, body, uv_map)
    model = ExportedModel.load(folder)
    _check_export(path, model.info, body, uv_map)
    return model


def _check_export(weights: Path, info: dict, body: str | Path, uv_map: str | Path) -> None:
    """An export in the cache is as strict about body and UV map as its weights are."""
    check_made_for(weights, 'body', info['body_hash'], BodyData.load(find_body(body)).hash,
                   info['body_name'])
    check_made_for(weights, 'uv_map', info['uv_hash'], UVMap.load(find_uv_map(uv_map)).hash,
                   info['body_name'])


def _damage(folder: Path, reason: object) -> str:
    return (f'the exported network in {folder} is damaged ({reason}); delete this folder, it is '
            'made again at the next start')
