"""How the processes beside the trainer are set up."""

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

# A forked process has none of its parent's other threads. A collection there that destroys an
# object which waits for its threads, such as an ONNX Runtime session, never returns.
os.register_at_fork(after_in_child=gc.freeze)


def set_up_worker(_: int) -> None:
    """One thread each; signals to the whole group are the trainer's to handle, then it ends us."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


@functools.cache
def end_workers_at_exit() -> None:
    """Lets the processes that make samples end when this one does, whatever it ends of.

    Python asks them to by a SIGTERM at exit, which they leave to the trainer, and waits for them.
    """
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would report their end
    for process in multiprocessing.active_children():
        process.kill()
