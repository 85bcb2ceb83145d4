"""Mixing data sets: shares, epochs, and a reproducible stream in every process."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import fake_datasets as fake
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets.mixing import MixedPeople, SampleNumbers, mixed_loader
from training.datasets.photographs import PeopleConfig, PeopleDataset, Sample
from training.datasets.readers.npz_format import read_npz


class Numbers:
    """A data set of this number of people; a sample holds its index and a random number."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        return {'index': index, 'chance': rng.integers(2**40)}


def mixture(ratios: list[float], sizes: list[int], seed: int = 1) -> MixedPeople:
    """A mixture of sets a, b, c, ..."""
    names = 'abcdefgh'[: len(sizes)]
    return MixedPeople(
        {name: Numbers(size) for name, size in zip(names, sizes, strict=True)},
        dict(zip(names, ratios, strict=True)),
        seed,
    )


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.integers(1, 400)), min_size=1, max_size=4),
    st.integers(0, 4),
    st.integers(0, 2**40),
)
def test_every_block_has_the_given_shares(sets: list, block: int, seed: int) -> None:
    ratios, sizes = zip(*sets, strict=True)
    mixed = mixture(list(ratios), list(sizes), seed)
    numbers = range(block * mixed.block, (block + 1) * mixed.block)
    sources = np.array([mixed.locate(number)[0] for number in numbers])
    drawn = np.bincount(sources, minlength=len(sizes))
    shares = np.array(ratios) / sum(ratios)
    # Rounded at both ends, and never further off however long the stream.
    assert (np.abs(drawn - shares * mixed.block) <= 2).all()


def test_shares_do_not_drift() -> None:
    mixed = mixture([0.3, 0.6, 0.1 / 3], [10, 10, 10])
    for block in (1, 10, 10**3, 10**6):
        drawn = mixed._drawn(block)
        shares = np.array([0.3, 0.6, 0.1 / 3])
        expected = shares / shares.sum() * block * mixed.block
        assert drawn.sum() == block * mixed.block
        assert (np.abs(drawn - expected) <= 1).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.floats(0.1, 0.9), st.integers(0, 2**40))
def test_everybody_of_a_set_is_drawn_once_per_epoch(
    first: int, second: int, share: float, seed: int
) -> None:
    mixed = mixture([share, 1 - share], [first, second], seed)
    visits: dict[int, list[int]] = {0: [], 1: []}
    for number in range(600):
        source, index = mixed.locate(number)
        visits[source].append(index)
    for source, size in ((0, first), (1, second)):
        rounds = [
            visits[source][start : start + size] for start in range(0, len(visits[source]), size)
        ]
        for people in rounds:
            assert len(set(people)) == len(people)
            assert len(people) == size or people is rounds[-1]


def test_each_epoch_has_another_order() -> None:
    mixed = mixture([1], [50])
    rounds = [
        [mixed.locate(number)[1] for number in range(start, start + 50)] for start in (0, 50)
    ]
    assert rounds[0] != rounds[1] != sorted(rounds[1])
    assert sorted(rounds[0]) == list(range(50))


def test_the_sets_are_mixed_within_a_batch() -> None:
    mixed = mixture([0.5, 0.5], [100, 100])
    counts = [
        sum(mixed.locate(number)[0] for number in range(start, start + 64))
        for start in range(0, 640, 64)
    ]
    assert all(12 < count < 52 for count in counts)
    assert len(set(counts)) > 1, 'in an order of chance, not in turns'


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8), st.integers(0, 2**40))
def test_a_sample_depends_on_seed_and_number_alone(numbers: list[int], seed: int) -> None:
    mixed, other = (mixture([0.2, 0.5, 0.3], [7, 1000, 90], seed) for _ in range(2))
    one = {number: mixed[number] for number in numbers}
    for number in reversed(numbers):
        assert other[number] == one[number]


def test_another_seed_gives_another_stream() -> None:
    streams = [
        [mixture([0.5, 0.5], [99, 99], seed)[number] for number in range(20)] for seed in (1, 2)
    ]
    assert streams[0] != streams[1]


def test_the_augmentation_of_a_person_differs_between_epochs() -> None:
    mixed = mixture([1], [1])
    assert len({mixed[number]['chance'] for number in range(10)}) == 10


@pytest.mark.parametrize('num_ranks', [1, 2, 4])
def test_ranks_share_one_stream(num_ranks: int) -> None:
    share = 8 // num_ranks
    ranks = [
        list(islice(SampleNumbers(share, 40, rank, num_ranks), 3)) for rank in range(num_ranks)
    ]
    together = [number for step in zip(*ranks, strict=True) for batch in step for number in batch]
    assert together == list(range(40, 64))


@pytest.fixture
def mixed_people(tmp_path: Path) -> MixedPeople:
    """Two real data sets of tiny images."""
    sources = {}
    for name, count in (('indoors', 5), ('outdoors', 9)):
        folder = tmp_path / name
        arrays = fake.exchanged(count, np.random.default_rng(count))
        sources[name] = PeopleDataset(
            read_npz(fake.write_exchanged(folder, arrays), folder), config=PeopleConfig(size=16)
        )
    return MixedPeople(sources, {'indoors': 0.3, 'outdoors': 0.7}, seed=3)


def test_workers_and_restarts_change_nothing(mixed_people: MixedPeople) -> None:
    whole = list(islice(mixed_loader(mixed_people, 4, num_workers=0), 6))
    workers = list(islice(mixed_loader(mixed_people, 4, num_workers=2), 6))
    resumed = list(islice(mixed_loader(mixed_people, 4, num_workers=2, first=12), 3))
    assert {int(source) for batch in whole for source in batch['source']} == {0, 1}
    for batch, other in zip(whole + whole[3:], workers + resumed, strict=True):
        assert batch.keys() == other.keys()
        for name, value in batch.items():
            torch.testing.assert_close(value, other[name], rtol=0, atol=0)


def test_ranks_with_real_samples_give_the_batch_of_one_process(mixed_people: MixedPeople) -> None:
    whole = next(iter(mixed_loader(mixed_people, 6, num_workers=0, first=6)))
    parts = [
        next(iter(mixed_loader(mixed_people, 3, num_workers=0, first=6, rank=rank, num_ranks=2)))
        for rank in range(2)
    ]
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([part[name] for part in parts]))


def test_a_ratio_of_zero_leaves_a_set_out() -> None:
    mixed = mixture([0, 1], [3, 3])
    assert mixed.names == ('b',)
    assert {mixed.locate(number)[0] for number in range(50)} == {0}


@pytest.mark.parametrize(
    ('ratios', 'complaint'),
    [
        ({'a': 1}, 'give one ratio per data set'),
        ({'a': 1, 'b': -1}, 'take 0 or more for each'),
        ({'a': 0, 'b': 0}, 'above 0 for at least one'),
        ({'a': float('nan'), 'b': 1}, 'take 0 or more for each'),
        ({'a': 1, 'b': 1}, 'b has no people'),
    ],
)
def test_invalid_mixtures_are_rejected(ratios: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        MixedPeople({'a': Numbers(3), 'b': Numbers(0)}, ratios, 1)


def test_numbers_out_of_range_are_rejected() -> None:
    with pytest.raises(IndexError, match='sample number is -1'):
        mixture([1], [3]).locate(-1)
    for wrong in ((0, 0, 0, 1), (1, -1, 0, 1), (1, 0, 2, 2)):
        with pytest.raises(ValueError, match='take batches of 1 or more'):
            SampleNumbers(*wrong)
