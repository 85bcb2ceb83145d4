"""What every public data set has: a name, splits, a licence, files in a known layout."""

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

__all__ = ['BOX_SCALE', 'PublicDataset', 'annotated', 'read_array_pickle', 'read_mat',
           'square_around']

BOX_SCALE = 1.2
"""Side of a person's square over the longer side of the box around the joints."""


@dataclass(frozen=True)
class PublicDataset:
    """A data set as its authors publish it.

    Attributes:
        name: as on the command line.
        title: as its authors write it.
        splits: its parts; the first is the usual one.
        licence: where it can be had, and on what terms.
        layout: files and folders that are read, relative to its root.
        read: (root, split) -> its people; found files through `find`.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    licence: str
    layout: tuple[str, ...]
    read: Callable[[Path, str], Iterator[PersonRecord]]

    def records(self, root: str | Path, split: str = '',
                check_images: bool = True) -> PersonRecords:
        """The people of a split, cleaned and counted (see `clean_records`).

        Args:
            root: the data set's folder.
            split: one of `splits`; '' for the first.
            check_images: whether to look at every image file.

        Raises:
            FileNotFoundError: a file or folder is missing; says what is expected.
            ValueError: there is no such split, or a file holds something else.
            ImportError: a package that reads the files is not installed.
        """
        root, split = Path(root), split or self.splits[0]
        if split not in self.splits:
            raise ValueError(f'{self.title} has no split {split!r}; take one of '
                             f'{", ".join(self.splits)}')
        self.find(root)
        try:
            records = collect_records(self.read(root, split), f'{self.name} {split}', root)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f'the annotations in {root} are not those of {self.title} '
                             f'({type(error).__name__}: {error}); unpack or download them '
                             'again') from error
        return clean_records(records, check_images)

    def find(self, root: Path, relative: str = '.') -> Path:
        """The file or folder of the data set.

        Raises:
            FileNotFoundError: it is not there; says what is expected.
        """
        path = root / relative
        if not path.exists():
            raise self.missing(path)
        return path

    def missing(self, what: object) -> FileNotFoundError:
        """The error that something is not there: what is expected, and where to get it."""
        return FileNotFoundError(f'{what} is missing; {self.title} is expected as '
                                 f'{", ".join(self.layout)}; {self.licence}')


def square_around(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and side of the square, 1.2 times as large, around points (K, 2), image px."""
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float((high - low).max()) * BOX_SCALE


def annotated(places: tuple[int, ...], points: np.ndarray, confidence: np.ndarray | float = 1.0,
              ) -> np.ndarray:
    """Points of a data set in the order of `ANNOTATED_JOINTS`.

    Args:
        places: for each of the K points the index among the annotated joints.
        points: (K, D), D 2 or 3.
        confidence: (K,) or one for all.

    Returns:
        (24, D + 1) float32, zeros for joints that the data set does not have.
    """
    joints = np.zeros((24, points.shape[1] + 1), np.float32)
    joints[list(places), :-1] = points
    joints[list(places), -1] = confidence
    return joints


def read_mat(path: Path, **options: bool) -> dict:
    """The variables of a MATLAB file up to version 7.

    Raises:
        ValueError: it is no such file.
    """
    try:
        return scipy.io.loadmat(path, **options)
    except Exception as error:
        # Damaged files raise almost anything; all of it means the same to the user.
        raise ValueError(f'{path} is no MATLAB file that can be read ({error}); unpack or '
                         'download it again') from error


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
