"""A TensorRT plan and its key: what a plan was built from, for what, and on what.

A plan runs only with the TensorRT version that built it, and well only on the same kind of GPU.
The key beside it says so before TensorRT does. Imports neither TensorRT nor CUDA.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from decomr_core.base.assets import BUILTIN, file_hash
from decomr_core.base.files import replacing
from decomr_core.runtimes.exported_model import ExportedModel

__all__ = ['PRECISIONS', 'PlanKey', 'build_command', 'check_key', 'default_precision', 'onnx_of',
           'plan_path', 'read_key', 'remove_plan', 'write_plan']

PRECISIONS = ('f32', 'tf32', 'fp16')
"""`f32` and `tf32` are of the float32 ONNX: `tf32` lets tensor cores round the factors of
products to 10 bits. `fp16` is of the ONNX in half precision, whose float32 parts stay exact."""

BUILD_VERSION = 1
"""Raised whenever the settings of a build change, so that older plans are built again."""

NAMES = {
    'onnx_sha256': 'network (sha256 of the ONNX)', 'tensorrt': 'TensorRT version',
    'compute_capability': 'compute capability', 'gpu': 'GPU', 'crop_size': 'crop size, px',
    'max_people': 'people per batch', 'precision': 'precision',
    'build_version': 'version of the build settings',
}


@dataclass(frozen=True)
class PlanKey:
    """What makes a plan the right one.

    Attributes:
        onnx_sha256: of the ONNX file's bytes.
        tensorrt: version of TensorRT, all of its digits.
        compute_capability: of the GPU, as `8.7`.
        gpu: its name.
        crop_size: S, px.
        max_people: the profile: 1 to this many people; None: whatever the plan has.
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
        """Refuses a profile without people and an unknown precision."""
        if self.max_people is not None and self.max_people < 1:
            raise ValueError(f'people per batch are {self.max_people}, expected 1 or more')
        if self.precision not in PRECISIONS:
            raise ValueError(f'precision is {self.precision!r}, expected one of: '
                             f'{", ".join(PRECISIONS)}')

    @classmethod
    def of_files(cls, onnx_path: Path, **rest: object) -> PlanKey:
        """The key of an ONNX file; `rest`: all other fields."""
        return cls(file_hash(onnx_path), **rest)

    def differences(self, wanted: PlanKey) -> list[str]:
        """How this key of a plan differs from the wanted one, in words."""
        pairs = [(field.name, getattr(self, field.name), getattr(wanted, field.name))
                 for field in fields(self)]
        return [f'{NAMES[name]}: built for {have}, here {want}' for name, have, want in pairs
                if want is not None and have != want]


def default_precision(model: ExportedModel) -> str:
    """What an engine is built in unless it is said: `fp16` where that passed its limit."""
    return 'fp16' if model.info['passes_fp16'] else 'f32'


def onnx_of(model: ExportedModel, precision: str) -> Path:
    """The ONNX file that an engine of this precision is built from.

    Raises:
        ValueError: the network has none, since half precision did not pass; or it is missing.
    """
    if precision == 'fp16' and not model.info['passes_fp16']:
        measured = model.info['parity'].get('onnxruntime fp16')
        seen = ('it could not be written in it' if measured is None else
                f'its vertices are {measured["vertices_mean_mm"]:.2f} mm off')
        raise ValueError(f'precision is fp16, but this network did not pass in it: {seen}; use '
                         'f32 or tf32')
    path = model.half_path if precision == 'fp16' else model.onnx_path
    if not path.is_file():
        raise ValueError(model.damage(f'{path.name} is missing'))
    return path


def plan_path(folder: Path) -> Path:
    """Where the plan of an exported network lies; its key beside it, as `.json`."""
    return folder / 'tensorrt' / 'model.plan'


def build_command(weights: str | Path, body: str | Path, uv_map: str | Path,
                  max_people: int | None, precision: str | None) -> str:
    """The command that builds a plan."""
    words = ['decomr', 'export', '--tensorrt', '--weights', str(weights)]
    words += [] if body == BUILTIN else ['--body', str(body)]
    words += [] if uv_map == BUILTIN else ['--uv', str(uv_map)]
    words += [] if max_people is None else ['--people', str(max_people)]
    words += [] if precision is None else ['--precision', precision]
    return shlex.join(words)


def read_key(path: Path, command: str) -> PlanKey:
    """The key of the plan at a path.

    Args:
        path: of the plan.
        command: builds it, for the error.

    Raises:
        FileNotFoundError: there is no plan.
        ValueError: its key is damaged.
    """
    key_path = path.with_suffix('.json')
    if not path.is_file() or not key_path.is_file():
        raise FileNotFoundError(f'no TensorRT engine at {path}; build it on this machine (some '
                                f'minutes): {command}')
    try:
        return PlanKey(**json.loads(key_path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f'the key {key_path} of the TensorRT engine is damaged ({error}); build '
                         f'the engine again: {command}') from error


def check_key(path: Path, key: PlanKey, wanted: PlanKey, command: str) -> None:
    """Refuses a plan that is not the wanted one.

    Args:
        path: of the plan.
        key: of the plan.
        wanted: its people may be None: as many as the plan has.
        command: builds the wanted plan, for the error.

    Raises:
        ValueError: it is another one; says in what.
    """
    differences = key.differences(wanted)
    if differences:
        raise ValueError(f'the TensorRT engine {path} does not fit: {"; ".join(differences)}. '
                         f'Build it again: {command}')


def write_plan(path: Path, plan: bytes, key: PlanKey) -> None:
    """Writes a plan and then its key: a plan without a key counts as none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key_path = path.with_suffix('.json')
    key_path.unlink(missing_ok=True)
    with replacing(path, has_rivals=True) as part:
        part.write_bytes(plan)
    with replacing(key_path, has_rivals=True) as part:
        part.write_text(json.dumps(asdict(key), indent=1) + '\n')


def remove_plan(path: Path) -> None:
    """Removes a plan and its key."""
    path.with_suffix('.json').unlink(missing_ok=True)
    path.unlink(missing_ok=True)
