"""A fake of CUDA's Python bindings: memory, streams and graphs in host memory."""

from __future__ import annotations

import ctypes
import enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.core.fake_tensorrt import FakeGpu

SUCCESS, OUT_OF_MEMORY, NO_DEVICE, NOT_CAPTURABLE = 0, 2, 100, 900
STREAM = 77


class FakeCuda:
    """The functions of cuda.bindings.runtime; each returns an error code first."""

    cudaError_t = enum.IntEnum(
        'cudaError_t',
        {  # noqa: N815
            'cudaSuccess': SUCCESS,
            'cudaErrorMemoryAllocation': OUT_OF_MEMORY,
            'cudaErrorNoDevice': NO_DEVICE,
            'cudaErrorStreamCaptureUnsupported': NOT_CAPTURABLE,
        },
    )
    cudaMemcpyKind = enum.IntEnum(
        'cudaMemcpyKind', {'cudaMemcpyHostToDevice': 1, 'cudaMemcpyDeviceToHost': 2}
    )
    cudaStreamCaptureMode = enum.IntEnum(
        'cudaStreamCaptureMode', {'cudaStreamCaptureModeThreadLocal': 1}
    )
    cudaStreamNonBlocking = 1

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu, self._ok = gpu, self.cudaError_t.cudaSuccess

    def cudaGetDeviceCount(self) -> tuple:
        if self._gpu.driver_error:
            raise RuntimeError(self._gpu.driver_error)
        if not self._gpu.devices:
            return self.cudaError_t.cudaErrorNoDevice, None
        return self._ok, self._gpu.devices

    def cudaGetDeviceProperties(self, device: int) -> tuple:
        major, minor = self._gpu.capability
        return self._ok, SimpleNamespace(name=self._gpu.name, major=major, minor=minor)

    def cudaGetErrorString(self, error: enum.IntEnum) -> tuple:
        return self._ok, error.name.lower().encode()

    def cudaGetLastError(self) -> tuple:
        return (self._ok,)

    def cudaSetDevice(self, device: int) -> tuple:
        assert 0 <= device < self._gpu.devices
        return (self._ok,)

    def cudaMemGetInfo(self) -> tuple:
        return self._ok, self._gpu.free_bytes, self._gpu.total_bytes

    def cudaMalloc(self, size: int) -> tuple:
        if size > self._gpu.free_bytes:
            return self.cudaError_t.cudaErrorMemoryAllocation, None
        return self._allocate(self._gpu.device_memory, size)

    def cudaMallocHost(self, size: int) -> tuple:
        if size > self._gpu.pinned_bytes - sum(map(len, self._gpu.pinned_memory.values())):
            return self.cudaError_t.cudaErrorMemoryAllocation, None
        return self._allocate(self._gpu.pinned_memory, size)

    def _allocate(self, memory: dict[int, Any], size: int) -> tuple:
        block = (ctypes.c_uint8 * size)()
        memory[ctypes.addressof(block)] = block
        return self._ok, ctypes.addressof(block)

    def cudaFree(self, pointer: int) -> tuple:
        del self._gpu.device_memory[pointer]
        return (self._ok,)

    def cudaFreeHost(self, pointer: int) -> tuple:
        del self._gpu.pinned_memory[pointer]
        return (self._ok,)

    def cudaMemcpyAsync(self, to: int, source: int, count: int, kind: int, stream: int) -> tuple:
        upward = kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice
        pinned, device = (source, to) if upward else (to, source)
        assert count <= len(self._gpu.pinned_memory[pinned])
        assert count <= len(self._gpu.device_memory[device])
        self._gpu.do(lambda: ctypes.memmove(to, source, count))
        return (self._ok,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple:
        return self._made('stream', STREAM)

    def cudaStreamDestroy(self, stream: int) -> tuple:
        return self._gone('stream')

    def cudaStreamSynchronize(self, stream: int) -> tuple:
        assert stream == STREAM
        return (self._ok,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple:
        self._gpu.recording = []
        return (self._ok,)

    def cudaStreamEndCapture(self, stream: int) -> tuple:
        recorded, self._gpu.recording = self._gpu.recording, None
        if not self._gpu.can_capture:
            return self.cudaError_t.cudaErrorStreamCaptureUnsupported, None
        return self._made('graph', recorded)

    def cudaGraphInstantiate(self, graph: list, flags: int) -> tuple:
        return self._made('graph_exec', graph)

    def cudaGraphLaunch(self, graph_exec: list, stream: int) -> tuple:
        self._gpu.launches += 1
        for work in graph_exec:
            work()
        return (self._ok,)

    def cudaGraphDestroy(self, graph: list) -> tuple:
        return self._gone('graph')

    def cudaGraphExecDestroy(self, graph_exec: list) -> tuple:
        return self._gone('graph_exec')

    def _made(self, kind: str, value: Any) -> tuple:
        self._gpu.alive[kind] += 1
        return self._ok, value

    def _gone(self, kind: str) -> tuple:
        self._gpu.alive[kind] -= 1
        return (self._ok,)
