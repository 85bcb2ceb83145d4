"""A GPU queue for tests without a GPU: host memory, and recorded work runs later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch


class PretendedQueue:
    """A queue that runs its work immediately."""

    def __init__(self, can_record: bool | Exception = True) -> None:
        self.can_record = can_record
        self.is_ordered = False
        self.recorded = self.launched = self.waits = 0

    def device_array(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.full(shape, 7, dtype=dtype)  # memory of a GPU holds anything

    host_array = device_array

    @contextlib.contextmanager
    def ordered(self) -> Iterator[None]:
        assert not self.is_ordered
        self.is_ordered = True
        yield
        self.is_ordered = False

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        assert self.is_ordered
        if isinstance(self.can_record, Exception):
            raise self.can_record
        self.recorded += 1

        def launch() -> None:
            assert self.is_ordered
            self.launched += 1
            work()

        return launch

    def synchronize(self) -> None:
        self.waits += 1
