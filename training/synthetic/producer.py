"""Synthetic people made in processes beside the trainer, and used more than once if need be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.records.workers import end_workers_at_exit, set_up_worker
from training.synthetic.people import (
    HELD_OUT_SEED,
    SyntheticBatch,
    SyntheticConfig,
    SyntheticPeople,
)

__all__ = ['BlockReplay', 'synthetic_loader']

PREFETCHED_CHUNKS = 8
"""Chunks that each worker makes ahead of the trainer."""
BLOCK_SEED_STEP = 1_000_003
"""Keeps the orders of different seeds apart."""


def synthetic_loader(config: SyntheticConfig, body: nn.Module, uv_map: object, *,
                     batch_size: int, num_workers: int, seed: int, reuse: int = 1,
                     pool_images: int = 256, first_batch: int = 0) -> BlockReplay:
    """An endless stream of training batches that other processes render.

    Batch n is the same whether the stream began with it or long before: a resumed run sees the
    images that the run without an interruption would have seen.

    Args:
        config: how the people look; workers make chunks of `config.batch_size`.
        body: a body model.
        uv_map: its chart.
        batch_size: people per batch that the trainer gets.
        num_workers: processes that render, one thread each; 0 renders in this process.
        seed: the stream follows from it, the config, `batch_size`, `reuse` and `pool_images`.
        reuse: how many times each image is given out, at random distance.
        pool_images: how many images are mixed with each other, at least.
        first_batch: number of the batch to begin with.

    Raises:
        ValueError: the seed is the held-out set's.
    """
    if seed == HELD_OUT_SEED:
        raise ValueError(f'seed {seed} is reserved for the held-out set; take another')

    end_workers_at_exit()

    def chunks_from(first: int) -> DataLoader:
        """Chunks without end, beginning with that number."""
        people = SyntheticPeople(config, body, uv_map, seed, first)
        return DataLoader(
            people, batch_size=None, num_workers=num_workers,
            prefetch_factor=PREFETCHED_CHUNKS if num_workers else None,
            worker_init_fn=set_up_worker)

    return BlockReplay(chunks_from, config.batch_size, batch_size, reuse, pool_images, seed,
                       first_batch)


class BlockReplay:
    """Regroups chunks into batches, block by block; no image comes twice in a batch.

    The images of a block are given out `reuse` times, each time in another random order, while
    the chunks of the next block are collected, evenly, so that neither side waits for long.

    Args:
        chunks_from: gives the endless chunks that begin with a number.
        chunk_size: people per chunk.
        batch_size: people per batch given out.
        reuse: times that each image is given out.
        block_images: people in a block, at least.
        seed: of the order.
        first_batch: number of the batch to begin with.

    Raises:
        ValueError: reuse or the batch size is not positive.
    """

    def __init__(self, chunks_from: Callable[[int], Iterable[SyntheticBatch]], chunk_size: int,
                 batch_size: int, reuse: int = 1, block_images: int = 256, seed: int = 0,
                 first_batch: int = 0) -> None:
        if reuse < 1 or batch_size < 1:
            raise ValueError(f'reuse is {reuse} and batch_size {batch_size}; take 1 or more')
        unit = math.lcm(chunk_size, batch_size)
        self.block_images = unit * max(1, -(-block_images // unit))
        self.chunks_per_block = self.block_images // chunk_size
        self.batches_per_block = self.block_images // batch_size * reuse
        self.chunks_from, self.batch_size, self.reuse = chunks_from, batch_size, reuse
        self.seed, self.first_batch = seed, first_batch

    def __iter__(self) -> Iterator[SyntheticBatch]:
        """Batches of `batch_size` without end (as long as the chunks last)."""
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
                    yield people.part(order[start:start + self.batch_size])
            number, first = number + 1, 0

    def _order(self, number: int) -> Tensor:
        """(reuse * block_images,) the images of a block in the order they are given out."""
        generator = torch.Generator().manual_seed(self.seed * BLOCK_SEED_STEP + number)
        return torch.cat([torch.randperm(self.block_images, generator=generator)
                          for _ in range(self.reuse)])
