"""The common interface of the public data sets, and helpers to read their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from decomr_core.body_models.pickled_arrays import values_from_pickle
from training.records.person_record import PersonRecord
from training.records.person_records import PersonRecords, clean_records, collect_records

__all__ = [
    'BOX_SCALE',
    'PublicDataset',
    'annotated',
    'read_array_pickle',
    'read_mat',
    'square_around',
]

MM_PER_M = 1000
SCALE_UNIT_PX = 200
"""Side of a person's square at scale 1 in the annotations."""
BOX_SCALE = 1.2
"""Ratio of a person's square to the longer side of the box around the joints."""


@dataclass(frozen=True)
class PublicDataset:
    """A data set in its original files.

    Attributes:
        name: name on the command line.
        title: name as its authors write it.
        splits: its parts; the first is the default.
        licence: terms of use and source.
        layout: files and folders that are read, relative to its root.
        read: function from (root, split) to the people; it locates files with `find`.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    licence: str
    layout: tuple[str, ...]
    read: Callable[[Path, str], Iterator[PersonRecord]]

    def records(
        self, root: str | Path, split: str = '', check_images: bool = True
    ) -> PersonRecords:
        """Reads the people of a split and cleans them (see `clean_records`).

        Args:
            root: the data set's folder.
            split: one of `splits`; '' for the first.
            check_images: whether to check every image file.

        Raises:
            FileNotFoundError: a file or folder is missing.
            ValueError: there is no such split, or a file has unexpected content.
            ImportError: a package that reads the files is not installed.
        """
        root, split = Path(root), split or self.splits[0]
        if split not in self.splits:
            raise ValueError(
                f'{self.title} has no split {split!r}; take one of {", ".join(self.splits)}'
            )
        self.find(root)
        try:
            records = collect_records(self.read(root, split), f'{self.name} {split}', root)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(
                f'the annotations in {root} are not those of {self.title} '
                f'({type(error).__name__}: {error}); unpack or download them '
                'again'
            ) from error
        return clean_records(records, check_images)

    def find(self, root: Path, relative: str = '.') -> Path:
        """The path of a file or folder of the data set.

        Raises:
            FileNotFoundError: it does not exist.
        """
        path = root / relative
        if not path.exists():
            raise self.missing(path)
        return path

    def missing(self, what: object) -> FileNotFoundError:
        """The error for a missing file: names the expected layout and the source."""
        return FileNotFoundError(
            f'{what} is missing; the expected layout of {self.title} is '
            f'{", ".join(self.layout)}; licence and source: {self.licence}'
        )


def square_around(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and side of the square around points (K, 2), times `BOX_SCALE`, image px."""
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float((high - low).max()) * BOX_SCALE


def annotated(
    places: tuple[int, ...], points: np.ndarray, confidence: np.ndarray | float = 1.0
) -> np.ndarray:
    """Sorts the points of a data set into the order of `ANNOTATED_JOINTS`.

    Args:
        places: index of each of the K points in `ANNOTATED_JOINTS`.
        points: (K, D), D 2 or 3.
        confidence: (K,), or one value for all.

    Returns:
        (24, D + 1) float32, zeros for joints that the data set does not have.
    """
    joints = np.zeros((24, points.shape[1] + 1), np.float32)
    joints[list(places), :-1] = points
    joints[list(places), -1] = confidence
    return joints


def read_mat(path: Path, **options: bool) -> dict:
    """Reads the variables of a MATLAB file up to version 7.

    Raises:
        ValueError: the file is damaged or of another format.
    """
    try:
        return scipy.io.loadmat(path, **options)
    except Exception as error:
        # A damaged file can raise almost any error; to the user they all mean the same.
        raise ValueError(
            f'{path} is not a readable MATLAB file ({error}); unpack or download it again'
        ) from error


def read_array_pickle(path: Path, advice: str) -> dict[str, Any]:
    """Reads arrays, numbers, texts and lists of them from a .pkl, by name; None for the rest.

    Args:
        path: the file.
        advice: the expected content, for the error.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or contains objects other than arrays.
    """
    data = path.read_bytes()
    try:
        return values_from_pickle(data)
    except Exception as error:
        # A damaged pickle can raise almost any error; to the user they all mean the same.
        reason = str(error) or type(error).__name__
        raise ValueError(f'cannot read {path}: {reason}; {advice}') from error
