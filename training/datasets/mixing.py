"""Several data sets in one endless stream of samples, mixed by given ratios.

Sample number n is always the same person of the same data set with the same chance, whichever
process makes it: everything follows from the seed and n, so a run goes on at any number, and any
number of ranks and workers share one stream. Within a block of samples every data set has its
exact share (rounded, without drift), in an order of the block's own. Each data set is gone through
in an order of chance, to the last person before any comes again.
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
"""Samples in which every data set gets its share."""
BLOCK_ORDER, SET_ORDER, SAMPLE = range(3)
"""What a seed is for; keeps the random numbers of different uses apart."""
KEPT_ORDERS = 2
"""Orders kept in memory per data set: samples near the end of one round need the next as well."""


class PeopleSource(Protocol):
    """What is mixed: a `PeopleDataset`, or anything that makes samples by index."""

    def __len__(self) -> int:
        """How many people there are."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """The sample of a person."""


class MixedPeople(Dataset):
    """Samples by number, without end.

    Args:
        sources: the data sets by name.
        ratios: share of each in the samples; only their proportion counts. 0 leaves one out.
        seed: of everything.

    Raises:
        ValueError: the names differ, or the ratios are negative or all 0, or a data set is empty.
    """

    def __init__(self, sources: Mapping[str, PeopleSource], ratios: Mapping[str, float],
                 seed: int) -> None:
        if set(sources) != set(ratios):
            raise ValueError(f'there are data sets {sorted(sources)} and ratios for '
                             f'{sorted(ratios)}; give one ratio per data set')
        values = list(ratios.values())
        if not (np.isfinite(values).all() and min(values) >= 0 and sum(values) > 0):
            raise ValueError(f'the ratios are {dict(ratios)}; give each 0 or more, and one more '
                             'than 0')
        self.names = tuple(name for name in sources if ratios[name] > 0)
        self.sources = tuple(sources[name] for name in self.names)
        self.sizes = tuple(len(source) for source in self.sources)
        if min(self.sizes) < 1:
            raise ValueError(f'{self.names[self.sizes.index(min(self.sizes))]} has nobody in it')
        shares = np.array([ratios[name] for name in self.names], np.float64)
        shares /= shares.sum()
        self.seed = seed
        # Small shares need longer blocks: their rounded numbers must not become negative.
        self.block = max(BLOCK, int(np.ceil(2 / shares.min())))
        self._ends = np.append(shares.cumsum()[:-1], 1.0)
        self._orders: list[dict[int, np.ndarray]] = [{} for _ in self.names]
        self._block: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def __getitem__(self, number: int) -> Sample:
        """The sample of that number; `source` is the place of its data set in `names`."""
        source, index = self.locate(number)
        rng = np.random.default_rng([self.seed, SAMPLE, number])
        return self.sources[source].sample(index, rng) | {'source': source}

    def locate(self, number: int) -> tuple[int, int]:
        """Which data set (its place in `names`) and which of its people a sample shows.

        Raises:
            IndexError: the number is negative.
        """
        if number < 0:
            raise IndexError(f'sample number is {number}; they start at 0')
        block, place = divmod(number, self.block)
        order = self._block_order(block)
        source = int(order[place])
        turn = int(self._drawn(block)[source]) + int((order[:place] == source).sum())
        epoch, place = divmod(turn, self.sizes[source])
        return source, int(self._set_order(source, epoch)[place])

    def _drawn(self, block: int) -> np.ndarray:
        """How many samples of each data set come before a block."""
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
        """The order in which a data set is gone through in one round."""
        orders = self._orders[source]
        if epoch not in orders:
            while len(orders) >= KEPT_ORDERS:
                del orders[min(orders)]
            rng = np.random.default_rng([self.seed, SET_ORDER, source, epoch])
            orders[epoch] = rng.permutation(self.sizes[source]).astype(np.int32)
        return orders[epoch]


class SampleNumbers(Sampler):
    """Numbers of the samples of each batch, for one process of a team; without end.

    Args:
        batch_size: samples that this process gets at a time; all get as many.
        first: number of the first sample: how many the whole team has had so far.
        rank: number of this process.
        num_ranks: how many there are.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(self, batch_size: int, first: int = 0, rank: int = 0, num_ranks: int = 1) -> None:
        if batch_size < 1 or first < 0 or not 0 <= rank < num_ranks:
            raise ValueError(f'batch_size is {batch_size}, first {first}, rank {rank} of '
                             f'{num_ranks}; take batches of 1 or more, from sample 0 or later, '
                             'and ranks from 0')
        self.batch_size, self.first = batch_size, first
        self.rank, self.num_ranks = rank, num_ranks

    def __iter__(self) -> Iterator[list[int]]:
        """Lists of `batch_size` numbers."""
        start = self.first + self.rank * self.batch_size
        while True:
            yield list(range(start, start + self.batch_size))
            start += self.num_ranks * self.batch_size


def mixed_loader(people: MixedPeople, batch_size: int, *, num_workers: int, first: int = 0,
                 rank: int = 0, num_ranks: int = 1, **options: Any) -> DataLoader:
    """Batches of a mixture, without end: dictionaries of stacked tensors.

    Args:
        people: the mixture; all its sources must give the same names.
        batch_size: samples per batch for this process.
        num_workers: processes that make samples; 0 makes them in this one.
        first: number of the first sample, to go on where a run stopped.
        rank: number of this process in the team that trains.
        num_ranks: size of the team.
        options: more for the `DataLoader`, `pin_memory` for example.
    """
    end_workers_at_exit()
    return DataLoader(people, batch_sampler=SampleNumbers(batch_size, first, rank, num_ranks),
                      num_workers=num_workers, worker_init_fn=set_up_worker,
                      persistent_workers=num_workers > 0, **options)
