"""The processes that make samples beside the trainer."""

from __future__ import annotations

import gc
import os

from torch.utils.data import DataLoader, Dataset

from training.records.workers import set_up_worker


class Cycle:
    """Garbage that only a collection destroys and that records the process."""

    def __init__(self, destroyed: list[int]) -> None:
        self.me, self.destroyed = self, destroyed

    def __del__(self) -> None:
        self.destroyed.append(os.getpid())


class Collections(Dataset):
    """Samples: how many inherited objects a full collection has destroyed in this process."""

    def __init__(self, destroyed: list[int]) -> None:
        self.destroyed = destroyed

    def __len__(self) -> int:
        return 2

    def __getitem__(self, _: int) -> int:
        gc.collect()
        return self.destroyed.count(os.getpid())


def test_a_forked_worker_destroys_no_inherited_objects() -> None:
    destroyed: list[int] = []
    gc.collect()
    gc.disable()  # the garbage has to be there when the worker is forked
    try:
        Cycle(destroyed)
        counts = list(
            DataLoader(
                Collections(destroyed),
                batch_size=None,
                num_workers=1,
                worker_init_fn=set_up_worker,
            )
        )
    finally:
        gc.enable()
    assert counts == [0, 0]
    gc.collect()
    assert destroyed == [os.getpid()], 'the garbage was real'
