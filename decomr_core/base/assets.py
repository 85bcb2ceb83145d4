"""Where files live: the assets inside the package, and their hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ['check_made_for', 'file_hash', 'find_body', 'find_detector', 'find_encoder',
           'find_uv_map', 'find_weights']

BUILTIN = 'builtin'
DATA_FOLDER = Path(__file__).resolve().parents[1] / 'data'
# Digits of a hash in a message.
HASH_SHOWN = 16
ENCODER_REMEDY = 'python -m tools.bake_blazepose pose_landmark_full.tflite'
DETECTOR_REMEDY = 'python -m tools.bake_person_detector object_detector.tflite'
# How a command line names what weights are for.
OPTIONS = {'body': '--body', 'uv_map': '--uv'}


def find_body(body: str | Path = BUILTIN) -> Path:
    """The npz of a body: the built-in one by name, any other by path.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find('body', body, {BUILTIN: DATA_FOLDER / 'builtin_body.npz'},
                 'decomr body import FILE')


def find_uv_map(uv_map: str | Path = BUILTIN) -> Path:
    """The npz of a UV map: those of the built-in body by name, any other by path.

    `builtin` is the continuous map, `makehuman` the conventional one of several charts, which is
    there to compare with.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find('UV map', uv_map, {BUILTIN: DATA_FOLDER / 'builtin_uv.npz',
                                    'makehuman': DATA_FOLDER / 'makehuman_uv.npz'},
                 'decomr uv build --body FILE --out FILE')


def find_weights(weights: str | Path = 'rt') -> Path:
    """The safetensors of a trained network: a shipped preset by name, any other by path.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find('weights', weights, {'rt': DATA_FOLDER / 'rt.safetensors'},
                 'python -m training.train --config config/train_rt.yaml')


def find_encoder() -> Path:
    """The safetensors of the pretrained encoder.

    Raises:
        FileNotFoundError: it is not there.
    """
    return _find('encoder', 'blazepose', {'blazepose': DATA_FOLDER / 'blazepose.safetensors'},
                 ENCODER_REMEDY)


def find_detector(precision: str) -> Path:
    """The ONNX file of the person detector: `int8` for CPUs, `float` for GPUs.

    Raises:
        FileNotFoundError: it is not there.
    """
    return _find('person detector', precision,
                 {'int8': DATA_FOLDER / 'person_detector_int8.onnx',
                  'float': DATA_FOLDER / 'person_detector.onnx'}, DETECTOR_REMEDY)


def file_hash(path: str | Path) -> str:
    """The sha256 of a file's bytes, as hexadecimal text."""
    with Path(path).open('rb') as handle:
        return hashlib.file_digest(handle, 'sha256').hexdigest() if hasattr(
            hashlib, 'file_digest') else hashlib.sha256(handle.read()).hexdigest()


def check_made_for(weights: str | Path, kind: str, wanted: str, seen: str,
                   body_name: str) -> None:
    """Refuses weights, or an export of them, on another body or UV map than theirs.

    Args:
        weights: the weights file.
        kind: `body` or `uv_map`.
        wanted: the hash of the one that the weights were trained for.
        seen: the hash of the one at hand.
        body_name: of the body that the weights were trained for.

    Raises:
        ValueError: the hashes differ.
    """
    if wanted != seen:
        raise ValueError(
            f'{weights} was trained for the {kind} with hash {wanted[:HASH_SHOWN]} (body '
            f"'{body_name}'), but this one has {seen[:HASH_SHOWN]}; pass the {kind} it was "
            f'trained for ({OPTIONS[kind]}; in Python {kind}=...), or weights trained for this '
            'one')


def _find(kind: str, name: str | Path, shipped: dict[str, Path], remedy: str) -> Path:
    path = shipped.get(str(name), Path(name).expanduser())
    if not path.is_file():
        known = ', '.join(shipped)
        raise FileNotFoundError(
            f'no {kind} at {path}; shipped with the package: {known}; to make one: {remedy}')
    return path
