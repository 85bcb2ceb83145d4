"""Annotations in pickles, read without running what the pickles say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from decomr_core.body_models.pickled_arrays import values_from_pickle

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
    data = path.read_bytes()
    try:
        return values_from_pickle(data)
    except Exception as error:
        # Damaged pickles raise almost anything; all of it means the same to the user.
        reason = str(error) or type(error).__name__
        raise ValueError(f'{path} cannot be read: {reason}; {advice}') from error
