"""Memory of a loaded network: no garbage collection while it runs, freed completely afterwards."""

from __future__ import annotations

import gc

from decomr_core.runtimes.gpu_memory import free_unused_memory

__all__ = ['free_memory', 'freeze_objects']


def freeze_objects() -> None:
    """Excludes all present objects from Python's garbage collection, until `free_memory`.

    With a network in memory, one collection takes 70 ms, during which an image has to wait.
    """
    gc.collect()
    gc.freeze()


def free_memory() -> None:
    """Frees everything that is no longer referenced, on the GPU as well.

    Call it after the last reference to the network is gone. It ends the effect of
    `freeze_objects`.
    """
    gc.unfreeze()
    gc.collect()
    free_unused_memory()
