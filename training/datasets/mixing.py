"""Mixes several data sets by given ratios into one endless stream of samples.

Sample n is determined by the seed and n alone: the person, the data set and the augmentation do
not depend on the process that makes it. A run can therefore continue at any number, and any number
of ranks and workers can share one stream. Within a block of samples, every data set has its exact
share (rounded, without drift), in a random order. Each data set is traversed in random order; all
its people are used once before any is used again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from training.datasets.photographs import Sample
from training.records.workers import end_workers_at_exit, set_up_worker

__all__ = ['MixedPeople', 'SampleNumbers', 'mixed_loader']

BLOCK = 1000
"""Samples per block; every data set has its share in each block."""
BLOCK_ORDER, SET_ORDER, SAMPLE = range(3)
"""Purposes of a seed, which give independent random numbers."""
KEPT_ORDERS = 2
"""Cached orders per data set: samples near the end of an epoch also need that of the next."""


class PeopleSource(Protocol):
    """A source that can be mixed: a `PeopleDataset`, or any other that makes samples by index."""

    def __len__(self) -> int:
        """Number of people."""

    @property
    def num_unreadable(self) -> int:
        """Number of times an image could not be read."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """The sample of a person."""


class MixedPeople(Dataset):
    """An endless sequence of samples.

    Args:
        sources: data sets by name.
        ratios: share of each data set, relative to the others; 0 excludes it.
        seed: seed of the mixture and of all samples.

    Raises:
        ValueError: the names differ, a ratio is negative, all are 0, or a data set is empty.
    """

    def __init__(
        self, sources: Mapping[str, PeopleSource], ratios: Mapping[str, float], seed: int
    ) -> None:
        if set(sources) != set(ratios):
            raise ValueError(
                f'there are data sets {sorted(sources)} and ratios for '
                f'{sorted(ratios)}; give one ratio per data set'
            )
        values = list(ratios.values())
        if not (np.isfinite(values).all() and min(values) >= 0 and sum(values) > 0):
            raise ValueError(
                f'the ratios are {dict(ratios)}; take 0 or more for each, and above '
                '0 for at least one'
            )
        self.names = tuple(name for name in sources if ratios[name] > 0)
        self.sources = tuple(sources[name] for name in self.names)
        self.sizes = tuple(len(source) for source in self.sources)
        if min(self.sizes) < 1:
            raise ValueError(
                f'{self.names[self.sizes.index(min(self.sizes))]} has no people; '
                'remove it or set its ratio to 0'
            )
        shares = np.array([ratios[name] for name in self.names], np.float64)
        shares /= shares.sum()
        self.seed = seed
        # Small shares need longer blocks, so that rounded counts do not become negative.
        self.block = max(BLOCK, int(np.ceil(2 / shares.min())))
        self._ends = np.append(shares.cumsum()[:-1], 1.0)
        self._orders: list[dict[int, np.ndarray]] = [{} for _ in self.names]
        self._block: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def __getitem__(self, number: int) -> Sample:
        """The sample with a number; its `source` is the index of the data set in `names`."""
        source, index = self.locate(number)
        rng = np.random.default_rng([self.seed, SAMPLE, number])
        return self.sources[source].sample(index, rng) | {'source': source}

    def locate(self, number: int) -> tuple[int, int]:
        """The data set (index in `names`) and the person (index in the set) of a sample.

        Raises:
            IndexError: the number is negative.
        """
        if number < 0:
            raise IndexError(f'sample number is {number}; take 0 or more')
        block, place = divmod(number, self.block)
        order = self._block_order(block)
        source = int(order[place])
        turn = int(self._drawn(block)[source]) + int((order[:place] == source).sum())
        epoch, place = divmod(turn, self.sizes[source])
        return source, int(self._set_order(source, epoch)[place])

    def _drawn(self, block: int) -> np.ndarray:
        """Number of samples of each data set before a block."""
        ends = np.floor(block * self.block * self._ends + 0.5).astype(np.int64)
        return np.diff(ends, prepend=0)

    def _block_order(self, block: int) -> np.ndarray:
        """The data set of each sample in a block."""
        if self._block[0] != block:
            counts = self._drawn(block + 1) - self._drawn(block)
            order = np.repeat(np.arange(len(self.sources)), counts)
            np.random.default_rng([self.seed, BLOCK_ORDER, block]).shuffle(order)
            self._block = block, order
        return self._block[1]

    def _set_order(self, source: int, epoch: int) -> np.ndarray:
        """The order of a data set's people in an epoch."""
        orders = self._orders[source]
        if epoch not in orders:
            while len(orders) >= KEPT_ORDERS:
                del orders[min(orders)]
            rng = np.random.default_rng([self.seed, SET_ORDER, source, epoch])
            orders[epoch] = rng.permutation(self.sizes[source]).astype(np.int32)
        return orders[epoch]


class SampleNumbers(Sampler):
    """Sample numbers of each batch of one process, without end.

    Args:
        batch_size: samples per batch of this process; the same for all processes.
        first: number of the first sample: the samples that all processes have used so far.
        rank: rank of this process.
        num_ranks: number of processes.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, batch_size: int, first: int = 0, rank: int = 0, num_ranks: int = 1) -> None:
        if batch_size < 1 or first < 0 or not 0 <= rank < num_ranks:
            raise ValueError(
                f'batch_size is {batch_size}, first {first}, rank {rank} of '
                f'{num_ranks}; take batches of 1 or more, first 0 or more, and '
                'ranks from 0 to num_ranks - 1'
            )
        self.batch_size, self.first = batch_size, first
        self.rank, self.num_ranks = rank, num_ranks

    def __iter__(self) -> Iterator[list[int]]:
        """Yields lists of `batch_size` numbers."""
        start = self.first + self.rank * self.batch_size
        while True:
            yield list(range(start, start + self.batch_size))
            start += self.num_ranks * self.batch_size


def mixed_loader(
    people: MixedPeople,
    batch_size: int,
    *,
    num_workers: int,
    first: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
    **options: Any,
) -> DataLoader:
    """Loads batches of a mixture without end, as dictionaries of stacked tensors.

    Args:
        people: the mixture; the samples of all its sources must have the same keys.
        batch_size: samples per batch of this process.
        num_workers: number of worker processes; 0 makes samples in this process.
        first: number of the first sample, to continue a run.
        rank: rank of this process.
        num_ranks: number of training processes.
        options: further arguments of the `DataLoader`, for example `pin_memory`.
    """
    end_workers_at_exit()
    return DataLoader(
        people,
        batch_sampler=SampleNumbers(batch_size, first, rank, num_ranks),
        num_workers=num_workers,
        worker_init_fn=set_up_worker,
        persistent_workers=num_workers > 0,
        **options,
    )
