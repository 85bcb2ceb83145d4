"""Batches are split and padded to a few sizes."""

from __future__ import annotations

import numpy as np
import pytest

from decomr_core.runtimes.batches import batch_sizes, batches


def test_batch_sizes_are_powers_of_two_and_the_maximum() -> None:
    assert [batch_sizes(count) for count in (1, 2, 6, 8)] == [
        [1],
        [1, 2],
        [1, 2, 4, 6],
        [1, 2, 4, 8],
    ]


@pytest.mark.parametrize('max_people', [0, -1])
def test_an_empty_batch_size_is_rejected(max_people: int) -> None:
    with pytest.raises(ValueError, match=f'max_people is {max_people}, expected 1 or more'):
        batch_sizes(max_people)


@pytest.mark.parametrize(
    ('count', 'sizes'), [(1, [1]), (3, [4]), (5, [6]), (8, [6, 2]), (13, [6, 6, 1])]
)
def test_parts_follow_each_other_and_fit_into_their_sizes(count: int, sizes: list[int]) -> None:
    parts = list(batches(np.arange(count), batch_sizes(6)))
    assert [size for _, size in parts] == sizes
    assert np.array_equal(np.concatenate([part for part, _ in parts]), np.arange(count))
