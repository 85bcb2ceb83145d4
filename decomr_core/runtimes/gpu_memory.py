"""How much memory of a GPU is in use, for any runtime; imports nothing that is not loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decomr_core.runtimes import Runtime

__all__ = ['free_unused_memory', 'gpu_memory']

MIB = 2**20


def gpu_memory(runtime: Runtime) -> tuple[int, int] | None:
    """Memory in use and in total of the GPU that a network runs on, MiB, all programs together.

    Args:
        runtime: a loaded network.

    Returns:
        None where it runs on a CPU, or CUDA does not tell.
    """
    device = getattr(runtime, 'device', None)
    try:
        if getattr(device, 'type', '') == 'cuda':
            free, total = sys.modules['torch'].cuda.mem_get_info(device)
        elif getattr(runtime, 'gpu', None) is not None:
            from decomr_core.runtimes.cuda_device import memory_of_gpu

            free, total = memory_of_gpu(runtime.gpu.index)
        else:
            return None
    except RuntimeError:  # a GPU that has fallen off the bus must not take the status with it
        return None
    return (total - free) // MIB, total // MIB


def free_unused_memory() -> None:
    """Gives the GPU memory back that PyTorch keeps for later, where it was ever used."""
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
