"""How the processes beside the trainer are set up."""

from __future__ import annotations

import signal

import cv2
import torch

__all__ = ['set_up_worker']


def set_up_worker(_: int) -> None:
    """One thread each; signals to the whole group are the trainer's to handle, then it ends us."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
