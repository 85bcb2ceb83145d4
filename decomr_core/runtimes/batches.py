"""Batch sizes: on a GPU a few sizes are prepared at start-up, and batches are padded to them.

A change of the number of people in a video then causes no delay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ['DEFAULT_MAX_PEOPLE', 'batch_sizes', 'batches']

DEFAULT_MAX_PEOPLE = 4
"""Default of the largest batch; more people run in several batches."""


def batch_sizes(max_people: int) -> list[int]:
    """The sizes to which batches are padded: powers of two, and the largest batch.

    Args:
        max_people: the largest batch.

    Returns:
        Ascending sizes.

    Raises:
        ValueError: the largest batch is empty.
    """
    if max_people < 1:
        raise ValueError(f'max_people is {max_people}, expected 1 or more')
    powers = [2**exponent for exponent in range(max_people.bit_length())]
    return sorted({*powers, max_people})


def batches(images: np.ndarray, sizes: Sequence[int]) -> Iterator[tuple[np.ndarray, int]]:
    """Splits a batch into parts, each with the size to which it must be padded.

    Args:
        images: (B, ...).
        sizes: ascending sizes from `batch_sizes`; no part is larger than the last one.
    """
    for start in range(0, len(images), sizes[-1]):
        part = images[start : start + sizes[-1]]
        yield part, next(size for size in sizes if size >= len(part))
