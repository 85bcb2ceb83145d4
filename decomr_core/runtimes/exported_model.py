"""The files of one exported network, read by the runtimes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from decomr_core.uv.topology import Topology

__all__ = ['EXPORT_VERSION', 'INPUT_NAME', 'OUTPUT_NAMES', 'TARGETS', 'ExportedModel']

EXPORT_VERSION = 7
"""Increased when the content of exports changes, so that older exports are recreated."""

INPUT_NAME = 'images'
OUTPUT_NAMES = ('iuv', 'vertices', 'joints', 'camera', 'location_map')
"""The graph's input (B, S, S, 3) uint8 RGB, and its outputs, see `NetworkOutput`."""

TARGETS = ('cpu', 'tensorrt')
"""Targets of an export: the CPU's engines, or TensorRT with a graph that needs no plugin."""

INFO_TYPES = {
    'crop_size': int,
    'config': dict,
    'body_name': str,
    'body_hash': str,
    'uv_hash': str,
    'target': str,
    'parity': dict,
    'passes_bf16': bool,
    'passes_fp16': bool,
}
"""The entries of `info.json` that are read; the others are informative."""


@dataclass(frozen=True)
class ExportedModel:
    """The files of one exported network.

    Attributes:
        folder: contains `model.onnx`, `topology.npz` and `info.json`; for the CPU also
            `model.xml` and `.bin` (OpenVINO); for TensorRT `model_fp16.onnx` if it passed its
            limit.
        crop_size: S, px.
        topology: topology of the body for which the network was trained.
        info: the content of `info.json`: config, hashes, versions, measured parity.
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
            _check_info(info)
            return cls(folder, info['crop_size'], Topology.load(folder / 'topology.npz'), info)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(_damage(folder, error)) from error

    def damage(self, reason: object) -> str:
        """The error message for a damaged file."""
        return _damage(self.folder, reason)

    def check_names(self, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Checks the names of a graph's inputs and outputs.

        Args:
            inputs: names of the inputs, as read by an engine.
            outputs: names of the outputs.

        Raises:
            ValueError: an expected name is missing.
        """
        for kind, actual, expected in (
            ('inputs', set(inputs), {INPUT_NAME}),
            ('outputs', set(outputs), set(OUTPUT_NAMES)),
        ):
            if not expected <= actual:
                raise ValueError(
                    self.damage(
                        f'its {kind} are {", ".join(sorted(actual)) or "none"}, expected '
                        f'{", ".join(sorted(expected))}'
                    )
                )

    @property
    def box_margin(self) -> float | None:
        """How far from the person box the network sees, see `NetworkConfig.box_margin`."""
        return self.info['config'].get('box_margin')

    @property
    def onnx_path(self) -> Path:
        """The ONNX file, float32."""
        return self.folder / 'model.onnx'

    @property
    def half_path(self) -> Path:
        """The ONNX file in mixed float16 and float32; exists if `info['passes_fp16']`."""
        return self.folder / 'model_fp16.onnx'

    @property
    def openvino_path(self) -> Path:
        """The OpenVINO IR file."""
        return self.folder / 'model.xml'


def _check_info(info: object) -> None:
    if not isinstance(info, dict):
        raise ValueError(f'info.json holds a {type(info).__name__}, expected an object')
    wrong = [name for name, kind in INFO_TYPES.items() if not isinstance(info.get(name), kind)]
    if wrong:
        raise ValueError(f'info.json lacks {", ".join(wrong)}, or their types are wrong')


def _damage(folder: Path, reason: object) -> str:
    return (
        f'the exported network in {folder} is damaged ({reason}); delete this folder, it is '
        'recreated at the next start'
    )
