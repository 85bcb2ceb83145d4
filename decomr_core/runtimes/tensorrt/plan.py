"""A TensorRT plan and its key: the network, settings and machine for which it was built.

A plan runs only with the TensorRT version that built it, and runs well only on the same GPU model.
The key in a file beside it is checked before TensorRT loads the plan. Imports neither TensorRT nor
CUDA.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from decomr_core.base.assets import BUILTIN, file_hash
from decomr_core.base.files import replacing
from decomr_core.runtimes.exported_model import ExportedModel

__all__ = [
    'PRECISIONS',
    'PlanKey',
    'build_command',
    'check_key',
    'default_precision',
    'onnx_of',
    'plan_path',
    'read_key',
    'remove_plan',
    'write_plan',
]

PRECISIONS = ('f32', 'tf32', 'fp16')
"""`f32` and `tf32` use the float32 ONNX file; `tf32` lets tensor cores round the factors of
products to 10 bits. `fp16` uses the half-precision ONNX file, whose float32 parts stay exact."""

BUILD_VERSION = 1
"""Increased when the build settings change, so that older plans are rebuilt."""

NAMES = {
    'onnx_sha256': 'network (sha256 of the ONNX)',
    'tensorrt': 'TensorRT version',
    'compute_capability': 'compute capability',
    'gpu': 'GPU',
    'crop_size': 'crop size, px',
    'max_people': 'people per batch',
    'precision': 'precision',
    'build_version': 'version of the build settings',
}


@dataclass(frozen=True)
class PlanKey:
    """The properties that a plan must match.

    Attributes:
        onnx_sha256: sha256 of the ONNX file.
        tensorrt: full version of TensorRT.
        compute_capability: compute capability of the GPU, such as `8.7`.
        gpu: name of the GPU.
        crop_size: S, px.
        max_people: largest batch of the profile; None in an expected key: any.
        precision: one of `PRECISIONS`.
        build_version: see `BUILD_VERSION`.
    """

    onnx_sha256: str
    tensorrt: str
    compute_capability: str
    gpu: str
    crop_size: int
    max_people: int | None
    precision: str
    build_version: int = BUILD_VERSION

    def __post_init__(self) -> None:
        """Checks the number of people and the precision."""
        if self.max_people is not None and self.max_people < 1:
            raise ValueError(f'max_people is {self.max_people}, expected 1 or more')
        if self.precision not in PRECISIONS:
            raise ValueError(
                f'precision is {self.precision!r}, expected one of: {", ".join(PRECISIONS)}'
            )

    @classmethod
    def of_files(cls, onnx_path: Path, **others: Any) -> PlanKey:
        """The key of an ONNX file and all other fields."""
        return cls(file_hash(onnx_path), **others)

    def differences(self, expected: PlanKey) -> list[str]:
        """Texts about the fields in which this key differs from the expected one."""
        values = [
            (field.name, getattr(self, field.name), getattr(expected, field.name))
            for field in fields(self)
        ]
        return [
            f'{NAMES[name]}: built for {own}, here {other}'
            for name, own, other in values
            if other is not None and own != other
        ]


def default_precision(model: ExportedModel) -> str:
    """The default precision of an engine: `fp16` if it passed its limit, otherwise `f32`."""
    return 'fp16' if model.info['passes_fp16'] else 'f32'


def onnx_of(model: ExportedModel, precision: str) -> Path:
    """The ONNX file for an engine of this precision.

    Raises:
        ValueError: in half precision the network differs from PyTorch by more than its limit, or
            could not be exported; or the file is missing.
    """
    if precision == 'fp16' and not model.info['passes_fp16']:
        measured = model.info['parity'].get('onnxruntime fp16')
        reason = (
            'it could not be exported'
            if measured is None
            else f'its vertices are {measured["vertices_mean_mm"]:.2f} mm off'
        )
        raise ValueError(
            f'precision is fp16, but this network did not pass in fp16: {reason}; use f32 or tf32'
        )
    path = model.half_path if precision == 'fp16' else model.onnx_path
    if not path.is_file():
        raise ValueError(model.damage(f'{path.name} is missing'))
    return path


def plan_path(folder: Path) -> Path:
    """The path of an exported network's plan; its key is beside it as `.json`."""
    return folder / 'tensorrt' / 'model.plan'


def build_command(
    weights: str | Path,
    body: str | Path,
    uv_map: str | Path,
    max_people: int | None,
    precision: str | None,
) -> str:
    """The command that builds a plan."""
    words = ['decomr', 'export', '--tensorrt', '--weights', str(weights)]
    words += [] if body == BUILTIN else ['--body', str(body)]
    words += [] if uv_map == BUILTIN else ['--uv', str(uv_map)]
    words += [] if max_people is None else ['--people', str(max_people)]
    words += [] if precision is None else ['--precision', precision]
    return shlex.join(words)


def read_key(path: Path, command: str) -> PlanKey:
    """Reads the key of a plan.

    Args:
        path: the plan.
        command: the build command, for errors.

    Raises:
        FileNotFoundError: there is no plan.
        ValueError: its key is damaged.
    """
    key_path = path.with_suffix('.json')
    if not path.is_file() or not key_path.is_file():
        raise FileNotFoundError(
            f'no TensorRT engine at {path}; build it on this machine (some minutes): {command}'
        )
    try:
        return PlanKey(**json.loads(key_path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f'the key {key_path} of the TensorRT engine is damaged ({error}); build '
            f'the engine again: {command}'
        ) from error


def check_key(path: Path, key: PlanKey, expected: PlanKey, command: str) -> None:
    """Checks that a plan has the expected key.

    Args:
        path: the plan.
        key: the key of the plan.
        expected: the expected key; `max_people` may be None for any.
        command: the build command, for the error.

    Raises:
        ValueError: the keys differ; the message lists the differences.
    """
    differences = key.differences(expected)
    if differences:
        raise ValueError(
            f'the TensorRT engine {path} does not fit: {"; ".join(differences)}. '
            f'Build it again: {command}'
        )


def write_plan(path: Path, plan: bytes, key: PlanKey) -> None:
    """Writes a plan and then its key; a plan without a key is ignored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key_path = path.with_suffix('.json')
    key_path.unlink(missing_ok=True)
    with replacing(path, has_other_writers=True) as part:
        part.write_bytes(plan)
    with replacing(key_path, has_other_writers=True) as part:
        part.write_text(json.dumps(asdict(key), indent=1) + '\n')


def remove_plan(path: Path) -> None:
    """Removes a plan and its key."""
    path.with_suffix('.json').unlink(missing_ok=True)
    path.unlink(missing_ok=True)
