"""CUDA for the TensorRT runtime: GPU, memory, stream, graphs. Without PyTorch.

Each resource is freed together with its Python object.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

try:
    from cuda.bindings import runtime as cudart
except ImportError as error:
    raise ImportError(
        'the Python bindings of CUDA are not installed: pip install cuda-python '
        "(beside CUDA 12: pip install 'cuda-python>=12.6.2,<13')"
    ) from error

__all__ = [
    'Buffer',
    'CudaError',
    'DeviceMemory',
    'Gpu',
    'Graph',
    'Stream',
    'find_gpu',
    'free_memory_text',
    'mebibytes',
    'memory_of_gpu',
    'use_gpu',
]


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed."""


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine.

    Attributes:
        index: CUDA index.
        name: name from the driver.
        compute_capability: such as `8.7`.
    """

    index: int
    name: str
    compute_capability: str


def find_gpu(index: int = 0) -> Gpu:
    """Finds a GPU and makes it the current one of this thread.

    Args:
        index: CUDA index.

    Raises:
        RuntimeError: CUDA finds no GPU.
        ValueError: CUDA finds GPUs, but not this one.
    """
    try:
        count, reason = _checked(cudart.cudaGetDeviceCount()), 'CUDA counts 0'
    except RuntimeError as error:  # older bindings raise their own error without a driver
        count, reason = 0, str(error)
    if not count:
        raise RuntimeError(
            'the runtime tensorrt needs an NVIDIA GPU with its driver, but there '
            f'is none ({reason}); on a CPU use the runtime openvino'
        )
    if not 0 <= index < count:
        raise ValueError(f'GPU {index} was requested, but CUDA finds {count} (0 to {count - 1})')
    use_gpu(index)
    properties: cudart.cudaDeviceProp = _checked(cudart.cudaGetDeviceProperties(index))
    return Gpu(
        index, properties.name.split(b'\0')[0].decode(), f'{properties.major}.{properties.minor}'
    )


def use_gpu(index: int) -> None:
    """Makes a GPU the current one of the calling thread."""
    _checked(cudart.cudaSetDevice(index))


def mebibytes(size: int) -> str:
    """A number of bytes as text in MiB."""
    return f'{math.ceil(size / 2**20)} MiB'


def memory_of_gpu(index: int) -> tuple[int, int]:
    """Free and total memory of a GPU, bytes."""
    use_gpu(index)
    return _checked(cudart.cudaMemGetInfo())


def free_memory_text() -> str:
    """Free memory of the current GPU, as text for an error."""
    free, total = _checked(cudart.cudaMemGetInfo())
    return f'{mebibytes(free)} of {mebibytes(total)} are free'


class DeviceMemory:
    """Memory on the GPU.

    Attributes:
        address: address of the first byte on the GPU.
        size: size in bytes.
    """

    def __init__(self, size: int, purpose: str) -> None:
        """Allocates the memory.

        Args:
            size: size in bytes.
            purpose: purpose of the memory, for the error.

        Raises:
            RuntimeError: the GPU is out of memory.
        """
        error, address = cudart.cudaMalloc(max(1, size))
        if error == cudart.cudaError_t.cudaErrorMemoryAllocation:
            raise RuntimeError(
                f'the GPU is out of memory: {purpose} needs {mebibytes(size)}, '
                f'{free_memory_text()}; end other programs that use the GPU (nvidia-smi lists '
                'them) or build the engine for fewer people (--people)'
            )
        self.address, self.size = int(_checked((error, address))), size
        weakref.finalize(self, cudart.cudaFree, self.address)


class Buffer:
    """An array on the GPU with a copy in page-locked host memory, for asynchronous transfers.

    Attributes:
        host: the copy on the host.
        address: address of the first byte on the GPU.
    """

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, purpose: str) -> None:
        """Allocates both.

        Args:
            shape: shape of the array; rows of the first axis are transferred.
            dtype: type of the elements.
            purpose: purpose of the memory, for the error.

        Raises:
            RuntimeError: the GPU or the host is out of memory.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        self._memory = DeviceMemory(size, purpose)
        self.address = self._memory.address
        error, pinned = cudart.cudaMallocHost(size)
        if error == cudart.cudaError_t.cudaErrorMemoryAllocation:
            raise RuntimeError(
                f'no page-locked memory for the copies from and to the GPU: '
                f'{purpose} needs {mebibytes(size)}; end other programs, or build '
                'the engine for fewer people (--people)'
            )
        self._pinned = int(_checked((error, pinned)))
        weakref.finalize(self, cudart.cudaFreeHost, self._pinned)
        memory = (ctypes.c_uint8 * size).from_address(self._pinned)
        # A ctypes array is a buffer, which the stub of frombuffer does not know.
        self.host = np.frombuffer(memory, dtype).reshape(shape)  # type: ignore[call-overload]
        self._row_size = size // shape[0]

    def upload(self, stream: Stream, count: int) -> None:
        """Copies the first `count` rows to the GPU, in the order of the stream."""
        _checked(
            cudart.cudaMemcpyAsync(
                self.address,
                self._pinned,
                count * self._row_size,
                cudart.cudaMemcpyKind.cudaMemcpyHostToDevice,
                stream.handle,
            )
        )

    def download(self, stream: Stream, count: int) -> None:
        """Copies the first `count` rows to the host, in the order of the stream."""
        _checked(
            cudart.cudaMemcpyAsync(
                self._pinned,
                self.address,
                count * self._row_size,
                cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost,
                stream.handle,
            )
        )


class Graph:
    """A recorded CUDA graph, launched as a whole."""

    def __init__(self, graph: Any) -> None:
        """Instantiates a recorded graph and destroys the recording."""
        try:
            self.handle = _checked(cudart.cudaGraphInstantiate(graph, 0))
        finally:
            cudart.cudaGraphDestroy(graph)
        weakref.finalize(self, cudart.cudaGraphExecDestroy, self.handle)


class Stream:
    """A non-blocking CUDA stream.

    Attributes:
        handle: handle of the stream, as an integer.
    """

    def __init__(self) -> None:
        """Creates a stream on the current GPU."""
        stream = _checked(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.handle = int(stream)
        weakref.finalize(self, cudart.cudaStreamDestroy, stream)

    def synchronize(self) -> None:
        """Waits until all work in the stream is done."""
        _checked(cudart.cudaStreamSynchronize(self.handle))

    def launch(self, graph: Graph) -> None:
        """Enqueues a graph."""
        _checked(cudart.cudaGraphLaunch(graph.handle, self.handle))

    def capture(self, work: Callable[[], None]) -> Graph:
        """Records the work that a function enqueues, without executing it.

        Args:
            work: enqueues work on this stream.

        Raises:
            CudaError: the work cannot be recorded.
        """
        # Thread-local, so that other threads' work on the GPU does not break the capture.
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _checked(cudart.cudaStreamBeginCapture(self.handle, mode))
        try:
            work()
        except BaseException:
            cudart.cudaStreamEndCapture(self.handle)
            cudart.cudaGetLastError()  # clears the error, which a later call would report
            raise
        recorded = cudart.cudaStreamEndCapture(self.handle)
        cudart.cudaGetLastError()
        return Graph(_checked(recorded))


def _checked(returned: tuple) -> Any:
    """Checks the error code of a CUDA call and returns its results.

    Raises:
        CudaError: the code is an error.
    """
    error, *results = returned
    if error != cudart.cudaError_t.cudaSuccess:
        raise CudaError(f'CUDA failed: {_error_text(error)}')
    return results[0] if len(results) == 1 else tuple(results)


def _error_text(error: Any) -> str:
    text = cudart.cudaGetErrorString(error)[1]
    return f'{error.name}: {text.decode()}'
