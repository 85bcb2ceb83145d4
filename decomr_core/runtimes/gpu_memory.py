"""GPU memory in use, for any runtime; imports no further packages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decomr_core.runtimes import Runtime

__all__ = ['free_unused_memory', 'gpu_memory']

MIB = 2**20


def gpu_memory(runtime: Runtime) -> tuple[int, int] | None:
    """Used and total memory of the GPU of a network, MiB, including other programs.

    Args:
        runtime: a loaded network.

    Returns:
        None if the network runs on a CPU, or CUDA fails.
    """
    device, gpu = getattr(runtime, 'device', None), getattr(runtime, 'gpu', None)
    try:
        if getattr(device, 'type', '') == 'cuda':
            free, total = sys.modules['torch'].cuda.mem_get_info(device)
        elif gpu is not None:
            from decomr_core.runtimes.cuda_device import memory_of_gpu

            free, total = memory_of_gpu(gpu.index)
        else:
            return None
    except RuntimeError:  # a failed GPU must not prevent the status report
        return None
    return (total - free) // MIB, total // MIB


def free_unused_memory() -> None:
    """Releases GPU memory cached by PyTorch, if PyTorch has used the GPU."""
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
