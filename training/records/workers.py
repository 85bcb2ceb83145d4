"""Setup and termination of the data loader's worker processes."""

from __future__ import annotations

import atexit
import functools
import gc
import multiprocessing
import os
import signal

import cv2
import torch

__all__ = ['end_workers_at_exit', 'set_up_worker']

# A forked process has only one thread. If garbage collection there destroys an object that waits
# for its threads, such as an ONNX Runtime session, it hangs; frozen objects are not collected.
os.register_at_fork(after_in_child=gc.freeze)


def set_up_worker(_: int) -> None:
    """Sets a worker to one thread and to ignore SIGTERM and SIGINT.

    These signals go to the whole process group; the trainer handles them and ends its workers.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


@functools.cache
def end_workers_at_exit() -> None:
    """Kills all worker processes when this process exits.

    By itself Python sends them SIGTERM at exit, which they ignore, and then waits for them.
    """
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    # PyTorch's handler would report the workers' end as an error.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        process.kill()
