"""GPU support of the PyTorch runtime: CUDA graphs for fixed batch sizes, and memory errors."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from decomr_core.runtimes.batches import batch_sizes, batches

__all__ = ['BatchRunner', 'CudaQueue', 'explaining_memory_errors', 'find_device']

WARM_UP = 3
"""Runs before a graph is recorded; the first ones select kernels and load libraries."""

MEMORY_WORDS = ('out of memory', 'ALLOC_FAILED')
"""Texts in errors of CUDA and its libraries that mean a lack of memory."""

logger = logging.getLogger(__name__)


def find_device(device: str | int) -> torch.device:
    """Finds a device and checks that it exists.

    Args:
        device: `cpu`, `cuda` (the current GPU), `cuda:N`, or N.

    Raises:
        RuntimeError: PyTorch finds no GPU.
        ValueError: PyTorch finds GPUs but not this one, or the device type is unknown.
    """
    try:
        found = torch.device('cuda', device) if isinstance(device, int) else torch.device(device)
    except RuntimeError:
        found = torch.device('meta')
    if found.type not in ('cpu', 'cuda'):
        raise ValueError(f'device is {device!r}, expected cpu, cuda or cuda:N')
    if found.type == 'cpu':
        return found
    if not torch.cuda.is_available():
        raise RuntimeError(
            f'device is {device!r}, but this PyTorch ({torch.__version__}) '
            "finds no GPU; use device='cpu'"
        )
    count = torch.cuda.device_count()
    index = torch.cuda.current_device() if found.index is None else found.index
    if index >= count:
        raise ValueError(
            f'device is {device!r}, but PyTorch finds {count} GPUs (cuda:0 to cuda:{count - 1})'
        )
    return torch.device('cuda', index)


class CudaQueue:
    """A separate stream on one GPU, with memory and graphs."""

    def __init__(self, device: torch.device) -> None:
        """Creates the stream after all earlier work on the GPU is done."""
        self._device = device
        torch.cuda.synchronize(device)
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def device_array(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Zeros on the GPU."""
        return torch.zeros(shape, dtype=dtype, device=self._device)

    def host_array(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Zeros in page-locked host memory, for asynchronous transfers."""
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def ordered(self) -> AbstractContextManager:
        """A context in which PyTorch enqueues on the stream, in the calling thread."""
        return torch.cuda.stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records the work of a function as a graph, and returns a function that launches it.

        Args:
            work: reads and writes memory at fixed addresses.

        Raises:
            RuntimeError: the work cannot be recorded.
        """
        graph = torch.cuda.CUDAGraph()
        # Thread-local, so that other threads' work on the GPU does not break the capture. All
        # graphs share one memory pool, because they never run at the same time.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode='thread_local'
        ):
            work()
        return graph.replay

    def synchronize(self) -> None:
        """Waits until all work in the stream is done."""
        self._stream.synchronize()


class BatchRunner:
    """Runs a function of crops on a GPU in batches of a few sizes, recorded at start-up."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        crop_size: int,
        max_people: int,
        queue: CudaQueue,
    ) -> None:
        """Records every size.

        Args:
            function: (B, S, S, 3) uint8 to (B, N) float32, both on the GPU.
            crop_size: S, px.
            max_people: largest batch; more people run in several batches.
            queue: queue of the GPU.
        """
        self._function, self._queue = function, queue
        self._sizes = batch_sizes(max_people)
        shape = (max_people, crop_size, crop_size, 3)
        with queue.ordered():
            self._input = queue.device_array(shape, torch.uint8)
            width = function(self._input[:1]).shape[1]
            self._output = queue.device_array((max_people, width), torch.float32)
        self._host_input = queue.host_array(shape, torch.uint8)
        self._host_output = queue.host_array((max_people, width), torch.float32)
        # The largest first, so that the others reuse its memory.
        self._runs = {size: self._prepare(size) for size in reversed(self._sizes)}

    def run(self, images: np.ndarray) -> np.ndarray:
        """(B, S, S, 3) uint8 to (B, N) float32."""
        return np.concatenate(
            [self._run_batch(part, size) for part, size in batches(images, self._sizes)]
        )

    def _run_batch(self, images: np.ndarray, size: int) -> np.ndarray:
        count = len(images)
        self._host_input.numpy()[:count] = images
        self._host_input[count:size] = 0
        with self._queue.ordered():
            self._input[:size].copy_(self._host_input[:size], non_blocking=True)
            self._runs[size]()
            self._host_output[:size].copy_(self._output[:size], non_blocking=True)
        self._queue.synchronize()
        return self._host_output[:count].numpy().copy()

    def _prepare(self, size: int) -> Callable[[], None]:
        """A function that runs one batch size: a graph, or single steps if recording fails."""

        def work() -> None:
            """Computes the output on the GPU from the input on the GPU."""
            self._output[:size].copy_(self._function(self._input[:size]))

        with self._queue.ordered():
            for _ in range(WARM_UP):
                work()
            self._queue.synchronize()
            try:
                return self._queue.record(work)
            except RuntimeError as error:
                if _is_about_memory(error):
                    raise
                logger.warning(
                    'no CUDA graph for %d people, kernels are launched one by one: %s', size, error
                )
                return work


@contextmanager
def explaining_memory_errors(
    device: torch.device, network: nn.Module, max_people: int
) -> Iterator[None]:
    """Adds needed and free memory to out-of-memory errors of a GPU in this block.

    Args:
        device: target device of the network.
        network: the network, still on the host.
        max_people: largest batch.

    Raises:
        RuntimeError: the GPU is out of memory.
    """
    if device.type != 'cuda':
        yield
        return
    needed = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    free = None
    try:
        free, total = torch.cuda.mem_get_info(device)
        if free < needed:
            raise RuntimeError('out of memory')
        yield
    except RuntimeError as error:
        if not _is_about_memory(error):
            raise
        were_free = (
            '' if free is None else (f'; {_mebibytes(free)} of {_mebibytes(total)} were free')
        )
        raise RuntimeError(
            f'{device} is out of memory: the network needs {_mebibytes(needed)} for its float32 '
            f'weights, and more to run {max_people} people at once{were_free} '
            f'({str(error).splitlines()[0]}). End other programs on the GPU (nvidia-smi lists '
            "them), or use a smaller max_people, precision='fp16' or device='cpu'"
        ) from error


def _is_about_memory(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is a lack of memory."""
    while error is not None:
        if isinstance(error, torch.cuda.OutOfMemoryError) or any(
            word in str(error) for word in MEMORY_WORDS
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _mebibytes(size: int) -> str:
    return f'{math.ceil(size / 2**20)} MiB'
