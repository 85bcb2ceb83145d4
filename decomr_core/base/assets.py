"""Locations of the assets in the package, and hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = [
    'check_made_for',
    'file_hash',
    'find_body',
    'find_detector',
    'find_encoder',
    'find_uv_map',
    'find_weights',
]

BUILTIN = 'builtin'
DATA_FOLDER = Path(__file__).resolve().parents[1] / 'data'
# Digits of a hash in an error message.
HASH_SHOWN = 16
ENCODER_REMEDIES = {
    'blazepose': 'python -m tools.bake_blazepose pose_landmark_full.tflite',
    'movenet': 'python -m tools.bake_movenet movenet-thunder.json',
}
DETECTOR_REMEDY = 'python -m tools.bake_person_detector object_detector.tflite'
# Command line options for the body and the UV map of the weights.
OPTIONS = {'body': '--body', 'uv_map': '--uv'}


def find_body(body: str | Path = BUILTIN) -> Path:
    """The npz file of a body: the built-in one by name, any other by path.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find(
        'body', body, {BUILTIN: DATA_FOLDER / 'builtin_body.npz'}, 'decomr body import FILE'
    )


def find_uv_map(uv_map: str | Path = BUILTIN) -> Path:
    """The npz file of a UV map: maps of the built-in body by name, any other by path.

    `builtin` is the continuous map. `makehuman` is a conventional map of several charts, for
    comparison.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find(
        'UV map',
        uv_map,
        {BUILTIN: DATA_FOLDER / 'builtin_uv.npz', 'makehuman': DATA_FOLDER / 'makehuman_uv.npz'},
        'decomr uv build --body FILE --out FILE',
    )


def find_weights(weights: str | Path = 'rt') -> Path:
    """The safetensors file of a trained network: a shipped one by name, any other by path.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find(
        'weights',
        weights,
        {'rt': DATA_FOLDER / 'rt.safetensors'},
        'python -m training.train --config config/training/train_rt.yaml',
    )


def find_encoder(name: str) -> Path:
    """The safetensors file of a pretrained encoder, by its name in `NetworkConfig`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find(
        'encoder',
        name,
        {known: DATA_FOLDER / f'{known}.safetensors' for known in ENCODER_REMEDIES},
        ENCODER_REMEDIES[name],
    )


def find_detector(precision: str) -> Path:
    """The ONNX file of the person detector: `int8` for CPUs, `float` for GPUs.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find(
        'person detector',
        precision,
        {
            'int8': DATA_FOLDER / 'person_detector_int8.onnx',
            'float': DATA_FOLDER / 'person_detector.onnx',
        },
        DETECTOR_REMEDY,
    )


def file_hash(path: str | Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with Path(path).open('rb') as handle:
        return (
            hashlib.file_digest(handle, 'sha256').hexdigest()
            if hasattr(hashlib, 'file_digest')
            else hashlib.sha256(handle.read()).hexdigest()
        )


def check_made_for(
    weights: str | Path, kind: str, trained_hash: str, given_hash: str, body_name: str
) -> None:
    """Rejects a body or UV map for which the weights, or their export, were not trained.

    Args:
        weights: the weights file.
        kind: `body` or `uv_map`.
        trained_hash: hash of the body or UV map for which the weights were trained.
        given_hash: hash of the given one.
        body_name: name of the body for which the weights were trained.

    Raises:
        ValueError: the hashes differ.
    """
    if trained_hash != given_hash:
        raise ValueError(
            f'{weights} was trained for the {kind} with hash {trained_hash[:HASH_SHOWN]} (body '
            f"'{body_name}'), but the given {kind} has {given_hash[:HASH_SHOWN]}; pass the {kind} "
            f'it was trained for ({OPTIONS[kind]}; in Python {kind}=...), or weights trained for '
            'the given one'
        )


def _find(kind: str, name: str | Path, shipped: dict[str, Path], remedy: str) -> Path:
    path = shipped.get(str(name), Path(name).expanduser())
    if not path.is_file():
        known = ', '.join(shipped)
        raise FileNotFoundError(
            f'no {kind} at {path}; included in the package: {known}; to make one: {remedy}'
        )
    return path
