"""Annotations in pickles, read without running what the pickles say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from decomr_core.body_models.smpl_file import _array_from, _ArrayUnpickler

__all__ = ['read_array_pickle']


def read_array_pickle(path: Path, advice: str) -> dict[str, Any]:
    """What is in a .pkl by name: arrays, numbers, texts and lists of them; None for the rest.

    Args:
        path: the file.
        advice: what it should be, for the error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no whole pickle, or asks for something other than arrays.
    """
    with path.open('rb') as handle:
        try:
            content = _ArrayUnpickler(handle).load()
            if not isinstance(content, dict):
                raise ValueError(f'it holds a {type(content).__name__}, not named arrays')
            return {str(name): _plain(value) for name, value in content.items()}
        except Exception as error:
            # Damaged pickles raise almost anything; all of it means the same to the user.
            reason = str(error) or type(error).__name__
            raise ValueError(f'{path} cannot be read: {reason}; {advice}') from error


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float) else _array_from(value)
