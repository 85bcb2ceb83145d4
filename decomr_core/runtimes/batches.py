"""Batches of a few sizes: on a GPU each size is prepared at start-up, and smaller ones filled up.

A new number of people in the image then costs nothing in the middle of a video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ['DEFAULT_MAX_PEOPLE', 'batch_sizes', 'batches']

DEFAULT_MAX_PEOPLE = 4
"""People per batch unless it is said; more people run in several batches."""


def batch_sizes(max_people: int) -> list[int]:
    """The sizes that batches are filled up to: powers of two, and the largest batch.

    Args:
        max_people: of the largest batch.

    Returns:
        Ascending.

    Raises:
        ValueError: the largest batch is empty.
    """
    if max_people < 1:
        raise ValueError(f'max_people is {max_people}, expected 1 or more')
    powers = [2**exponent for exponent in range(max_people.bit_length())]
    return sorted({*powers, max_people})


def batches(images: np.ndarray, sizes: Sequence[int]) -> Iterator[tuple[np.ndarray, int]]:
    """Parts of a batch, each with the size that it is to be filled up to.

    Args:
        images: (B, ...).
        sizes: ascending, as from `batch_sizes`; no part is larger than the last.
    """
    for start in range(0, len(images), sizes[-1]):
        part = images[start:start + sizes[-1]]
        yield part, next(size for size in sizes if size >= len(part))
