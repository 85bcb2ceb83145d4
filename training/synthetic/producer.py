"""Loads rendered people from worker processes, optionally using each image several times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from decomr_core.body_models import BodyModel
from decomr_core.uv.uv_map import UVMap
from training.records.workers import end_workers_at_exit, set_up_worker
from training.synthetic.held_out import check_seed
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_batch import SyntheticBatch
from training.synthetic.synthetic_config import SyntheticConfig

__all__ = ['BlockReplay', 'synthetic_loader']

PREFETCHED_CHUNKS = 8
"""Chunks that each worker renders in advance."""
BLOCK_SEED_STEP = 1_000_003
"""Step between the seeds of the orders, so that different seeds give different orders."""


def synthetic_loader(
    config: SyntheticConfig,
    body: BodyModel,
    uv_map: UVMap,
    *,
    batch_size: int,
    num_workers: int,
    seed: int,
    reuse: int = 1,
    pool_images: int = 256,
    first_batch: int = 0,
) -> BlockReplay:
    """An endless stream of training batches, rendered by other processes.

    Batch n does not depend on the first batch of the stream: a resumed run gets the same images
    as an uninterrupted one.

    Args:
        config: appearance of the people; workers render chunks of `config.batch_size`.
        body: a body model.
        uv_map: its UV map.
        batch_size: people per training batch.
        num_workers: processes that render, one thread each; 0 renders in this process.
        seed: determines the stream, with the config, `batch_size`, `reuse` and `pool_images`.
        reuse: how many times each image is used, at random intervals.
        pool_images: smallest number of images that are shuffled together.
        first_batch: number of the first batch.

    Raises:
        ValueError: the seed is that of the held-out set.
    """
    check_seed(seed)
    end_workers_at_exit()

    def chunks_from(first: int) -> DataLoader:
        """Chunks without end, beginning at a number."""
        people = SyntheticPeople(config, body, uv_map, seed, first)
        return DataLoader(
            people,
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=PREFETCHED_CHUNKS if num_workers else None,
            worker_init_fn=set_up_worker,
        )

    return BlockReplay(
        chunks_from, config.batch_size, batch_size, reuse, pool_images, seed, first_batch
    )


class BlockReplay:
    """Regroups chunks into batches, block by block; a batch contains no image twice.

    The images of a block are used `reuse` times, each time in another random order. Meanwhile the
    chunks of the next block are collected at an even rate, so that neither side waits long.

    Args:
        chunks_from: function from a number to the endless chunks that begin there.
        chunk_size: people per chunk.
        batch_size: people per batch.
        reuse: how many times each image is used.
        block_images: smallest number of people in a block.
        seed: seed of the order.
        first_batch: number of the first batch.

    Raises:
        ValueError: reuse or the batch size is not positive.
    """

    def __init__(
        self,
        chunks_from: Callable[[int], Iterable[SyntheticBatch]],
        chunk_size: int,
        batch_size: int,
        reuse: int = 1,
        block_images: int = 256,
        seed: int = 0,
        first_batch: int = 0,
    ) -> None:
        if reuse < 1 or batch_size < 1:
            raise ValueError(f'reuse is {reuse} and batch_size {batch_size}; take 1 or more')
        unit = math.lcm(chunk_size, batch_size)
        self.block_images = unit * max(1, -(-block_images // unit))
        self.chunks_per_block = self.block_images // chunk_size
        self.batches_per_block = self.block_images // batch_size * reuse
        self.chunks_from, self.batch_size, self.reuse = chunks_from, batch_size, reuse
        self.seed, self.first_batch = seed, first_batch

    def __iter__(self) -> Iterator[SyntheticBatch]:
        """Yields batches of `batch_size` as long as there are chunks."""
        number, first = divmod(self.first_batch, self.batches_per_block)
        chunks = iter(self.chunks_from(number * self.chunks_per_block))
        block = list(itertools.islice(chunks, self.chunks_per_block))
        while len(block) == self.chunks_per_block:
            people, order = SyntheticBatch.concatenate(block), self._order(number)
            block = []
            for batch in range(self.batches_per_block):
                due = (batch + 1) * self.chunks_per_block // self.batches_per_block
                block += itertools.islice(chunks, due - len(block))
                if batch >= first:
                    start = batch * self.batch_size
                    yield people.part(order[start : start + self.batch_size])
            number, first = number + 1, 0

    def _order(self, number: int) -> Tensor:
        """The order (reuse * block_images,) in which the images of a block are used."""
        generator = torch.Generator().manual_seed(self.seed * BLOCK_SEED_STEP + number)
        return torch.cat(
            [torch.randperm(self.block_images, generator=generator) for _ in range(self.reuse)]
        )
