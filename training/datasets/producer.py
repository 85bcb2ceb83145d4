"""Synthetic people made in processes beside the trainer, and used more than once if need be."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import fields

import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader

from training.datasets.synthetic import (
    HELD_OUT_SEED,
    SyntheticBatch,
    SyntheticConfig,
    SyntheticPeople,
)

__all__ = ['ReplayPool', 'synthetic_loader']

PREFETCHED_CHUNKS = 8
"""Chunks that each worker makes ahead of the trainer."""


def synthetic_loader(config: SyntheticConfig, body: nn.Module, uv_map: object, *,
                     batch_size: int, num_workers: int, seed: int, reuse: int = 1,
                     pool_images: int = 512, first_chunk: int = 0) -> ReplayPool:
    """An endless stream of training batches that other processes render.

    Args:
        config: how the people look; workers make chunks of `config.batch_size`.
        body: a body model.
        uv_map: its chart.
        batch_size: people per batch that the trainer gets.
        num_workers: processes that render, one thread each; 0 renders in this process.
        seed: the stream follows from it (and from `num_workers`, `reuse`, `pool_images`).
        reuse: how many times each image is given out, at random distance.
        pool_images: how many images are kept to draw from.
        first_chunk: number of the first chunk, to go on where a run stopped.

    Raises:
        ValueError: the seed is the held-out set's.
    """
    if seed == HELD_OUT_SEED:
        raise ValueError(f'seed {seed} is reserved for the held-out set; take another')
    people = SyntheticPeople(config, body, uv_map, seed, first_chunk)
    chunks = DataLoader(
        people, batch_size=None, num_workers=num_workers,
        prefetch_factor=PREFETCHED_CHUNKS if num_workers else None,
        persistent_workers=num_workers > 0, worker_init_fn=_set_up_worker)
    return ReplayPool(chunks, batch_size, reuse, pool_images, seed)


class ReplayPool:
    """Regroups chunks into batches, drawn at random from a pool of the latest images.

    Every image enters the pool once, is given out `reuse` times, and then makes room for a new
    one. A batch holds images of many chunks, and no image twice.

    Args:
        chunks: an endless source of batches.
        batch_size: people per batch given out.
        reuse: times that each image is given out.
        pool_images: images that there is room for; more is taken if two batches and a chunk need
            it. The first batch comes when half of the room is filled.
        seed: of the order.

    Raises:
        ValueError: reuse or the batch size is not positive.
    """

    def __init__(self, chunks: Iterable[SyntheticBatch], batch_size: int, reuse: int = 1,
                 pool_images: int = 256, seed: int = 0) -> None:
        if reuse < 1 or batch_size < 1:
            raise ValueError(f'reuse is {reuse} and batch_size {batch_size}; take 1 or more')
        self.chunks, self.batch_size, self.reuse, self.seed = chunks, batch_size, reuse, seed
        self.pool_images = pool_images

    def __iter__(self) -> Iterator[SyntheticBatch]:
        """Batches of `batch_size` without end (as long as the chunks last)."""
        generator = torch.Generator().manual_seed(self.seed)
        pool: SyntheticBatch | None = None
        for chunk in self.chunks:
            if pool is None:
                room = max(self.pool_images, 2 * (self.batch_size + len(chunk)))
                pool = _empty(chunk, room)
                left = torch.zeros(room, dtype=torch.int64)
            free = (left == 0).nonzero()[:len(chunk), 0]
            for item in fields(SyntheticBatch):
                getattr(pool, item.name)[free] = getattr(chunk, item.name)
            left[free] = self.reuse
            while int(left.sum()) >= room * self.reuse // 2 or int((left == 0).sum()) < len(chunk):
                index = (left > 0).nonzero()[:, 0]
                index = index[torch.randperm(len(index), generator=generator)[:self.batch_size]]
                left[index] -= 1
                yield pool.part(index)


def _empty(chunk: SyntheticBatch, room: int) -> SyntheticBatch:
    """Room for that many people like those of the chunk."""
    return SyntheticBatch(*(getattr(chunk, item.name).new_empty(
        room, *getattr(chunk, item.name).shape[1:]) for item in fields(SyntheticBatch)))


def _set_up_worker(_: int) -> None:
    """One thread each; signals to the whole group are the trainer's to handle, then it ends us."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
