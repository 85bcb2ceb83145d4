"""A TensorRT plan and its key: what a plan was built from, for what, and on what.

A plan runs only with the TensorRT version that built it, and well only on the same kind of GPU.
The key beside it says so before TensorRT does. Imports neither TensorRT nor CUDA.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from decomr_core.assets import BUILTIN, file_hash
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE

__all__ = ['PRECISIONS', 'PlanKey', 'build_command', 'check_plan', 'plan_path',
           'write_atomically', 'write_plan']

PRECISIONS = ('f32', 'tf32')
"""Of a float32 ONNX: `tf32` lets tensor cores round the factors of products to 10 bits."""

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
        precision: one of `PRECISIONS`; None: whatever the plan has.
        build_version: see `BUILD_VERSION`.
    """

    onnx_sha256: str
    tensorrt: str
    compute_capability: str
    gpu: str
    crop_size: int
    max_people: int | None
    precision: str | None
    build_version: int = BUILD_VERSION

    def __post_init__(self) -> None:
        """Refuses a profile without people and an unknown precision."""
        if self.max_people is not None and self.max_people < 1:
            raise ValueError(f'people per batch are {self.max_people}, expected 1 or more')
        if self.precision is not None and self.precision not in PRECISIONS:
            raise ValueError(f'precision is {self.precision!r}, expected {" or ".join(PRECISIONS)}'
                             '; for other ones the ONNX file itself must hold them')

    @classmethod
    def of_files(cls, onnx_path: Path, **rest: object) -> PlanKey:
        """The key of an ONNX file; `rest`: all other fields."""
        return cls(file_hash(onnx_path), **rest)

    def completed(self) -> PlanKey:
        """What to build where it was not said."""
        return replace(self, max_people=self.max_people or DEFAULT_MAX_PEOPLE,
                       precision=self.precision or PRECISIONS[0])

    def differences(self, wanted: PlanKey) -> list[str]:
        """How this key of a plan differs from the wanted one, in words."""
        pairs = [(field.name, getattr(self, field.name), getattr(wanted, field.name))
                 for field in fields(self)]
        return [f'{NAMES[name]}: built for {have}, here {want}' for name, have, want in pairs
                if want is not None and have != want]


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


def check_plan(path: Path, wanted: PlanKey, command: str) -> PlanKey:
    """The key of the plan at a path, if it is the wanted one.

    Args:
        path: of the plan.
        wanted: its fields may be None: whatever the plan has.
        command: builds the wanted plan.

    Raises:
        FileNotFoundError: there is no plan.
        ValueError: it is another one; says in what.
    """
    key_path = path.with_suffix('.json')
    if not path.is_file() or not key_path.is_file():
        raise FileNotFoundError(f'no TensorRT engine at {path}; build it on this machine (some '
                                f'minutes): {command}')
    try:
        key = PlanKey(**json.loads(key_path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f'the key {key_path} of the TensorRT engine is damaged ({error}); build '
                         f'the engine again: {command}') from error
    differences = key.differences(wanted)
    if differences:
        raise ValueError(f'the TensorRT engine {path} does not fit: {"; ".join(differences)}. '
                         f'Build it again: {command}')
    return key


def write_plan(path: Path, plan: bytes, key: PlanKey) -> None:
    """Writes a plan and then its key: a plan without a key counts as none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key_path = path.with_suffix('.json')
    key_path.unlink(missing_ok=True)
    write_atomically(path, plan)
    write_atomically(key_path, (json.dumps(asdict(key), indent=1) + '\n').encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that others see all of it or none."""
    handle, part = tempfile.mkstemp(prefix=f'.{path.name}-', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
        os.chmod(part, 0o644)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
