"""Stand-ins for TensorRT and CUDA: a pretended GPU in host memory that records what it is told.

They are strict where the real ones are: a context runs only when everything is set, a graph only
while its context is as it was recorded, and memory ends. What they offer is checked against
NVIDIA's own bindings by the contract test.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.machinery
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

SUCCESS, OUT_OF_MEMORY, NO_DEVICE, NOT_CAPTURABLE = 0, 2, 100, 900
OUTPUT_TAILS = {'iuv': (3, 4, 4), 'vertices': (5, 3), 'joints': (2, 3), 'camera': (3,),
                'location_map': (3, 4, 4)}
MAGIC = b'PLAN'
STREAM = 77


def network_outputs(images: np.ndarray, offset: float = 0.0) -> dict[str, np.ndarray]:
    """What the pretended network says about images (B, S, S, 3): each from its own pixels."""
    value = images.reshape(len(images), -1).mean(axis=1) / 255 + offset
    return {name: np.stack([np.arange(np.prod(tail), dtype=np.float32).reshape(tail) * v
                            for v in value]).astype(np.float32)
            for name, tail in OUTPUT_TAILS.items()}


class FakeGpu:
    """One pretended machine: settings to change, records to look at."""

    def __init__(self) -> None:
        self.devices, self.name, self.capability = 1, b'Pretended GPU', (8, 7)
        self.version = '10.3.0'
        self.total_bytes, self.scratch_bytes = 2**30, 3 * 2**20
        self.can_capture, self.offset = True, 0.0
        self.build_error = self.load_error = self.driver_error = ''
        self.parser_errors: list[tuple[str, str, str]] = []
        self.runs: list[int] = []  # batch sizes, in the order of running
        self.launches = 0
        self.builds: list[SimpleNamespace] = []
        self.device_memory: dict[int, Any] = {}
        self.pinned_memory: dict[int, Any] = {}
        self.alive = {'stream': 0, 'graph': 0, 'graph_exec': 0}
        self.recording: list[Callable[[], None]] | None = None

    @property
    def free_bytes(self) -> int:
        """What is left of the pretended memory."""
        return self.total_bytes - sum(map(len, self.device_memory.values()))

    def do(self, work: Callable[[], None]) -> None:
        """Does something now, or records it."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def view(self, address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Pretended GPU memory as an array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert size <= len(self.device_memory[address])
        return np.frombuffer(self.device_memory[address], dtype, count=int(np.prod(shape))
                             ).reshape(shape)

    def modules(self) -> dict[str, ModuleType]:
        """The modules to put in place of the real ones."""
        cuda = FakeCuda(self)
        functions = {name: getattr(cuda, name) for name in dir(cuda) if name.startswith('cuda')}
        classes = {item.__name__: type(item.__name__, (item,), {'_gpu': self})
                   for item in CLASSES}
        modules = {'cuda': ModuleType('cuda'), 'cuda.bindings': ModuleType('cuda.bindings'),
                   'cuda.bindings.runtime': ModuleType('cuda.bindings.runtime'),
                   'tensorrt': ModuleType('tensorrt')}
        vars(modules['cuda.bindings.runtime']).update(functions)
        vars(modules['tensorrt']).update(
            {**classes, **ENUMS, '__version__': self.version,
             'init_libnvinfer_plugins': lambda logger, namespace: True})
        modules['cuda.bindings'].runtime = modules['cuda.bindings.runtime']
        for name, module in modules.items():
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        return modules


class FakeCuda:
    """The functions of cuda.bindings.runtime; each gives an error code first."""

    cudaError_t = enum.IntEnum('cudaError_t', {  # noqa: N815
        'cudaSuccess': SUCCESS, 'cudaErrorMemoryAllocation': OUT_OF_MEMORY,
        'cudaErrorNoDevice': NO_DEVICE, 'cudaErrorStreamCaptureUnsupported': NOT_CAPTURABLE})
    cudaMemcpyKind = enum.IntEnum('cudaMemcpyKind', {'cudaMemcpyHostToDevice': 1,
                                                     'cudaMemcpyDeviceToHost': 2})
    cudaStreamCaptureMode = enum.IntEnum('cudaStreamCaptureMode', {
        'cudaStreamCaptureModeThreadLocal': 1})
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


class IExecutionContext:
    """Runs only when everything that the real one needs is set."""

    def __init__(self, gpu: FakeGpu, settings: dict) -> None:
        self._gpu, self._settings = gpu, settings
        self._addresses: dict[str, int] = {}
        self._scratch = self._profile = self._shape = None
        self._changes = self._runs = 0

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size <= len(self._gpu.device_memory[memory])
        self._scratch = size

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        return profile_index == 0 and stream_handle == STREAM

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        size, count = self._settings['crop_size'], self._settings['max_people']
        self._shape, self._changes = shape, self._changes + 1
        return name == 'images' and shape[1:] == (size, size, 3) and 1 <= shape[0] <= count

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self._shape is not None and self._profile is not None
        return (self._shape[0], *OUTPUT_TAILS[name])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name], self._changes = memory, self._changes + 1
        return memory in self._gpu.device_memory

    def execute_async_v3(self, stream_handle: int) -> bool:
        if (self._shape is None or self._scratch is None or self._profile is None
                or set(self._addresses) != set(self._settings['tensors'])):
            return False
        if self._gpu.recording is not None and not self._runs:
            return False  # the first run does what cannot be recorded
        self._runs += 1
        changes = self._changes
        self._gpu.do(lambda: self._run(changes))
        return True

    def _run(self, changes: int) -> None:
        assert changes == self._changes, 'the context changed after it was recorded'
        images = self._gpu.view(self._addresses['images'], self._shape, np.uint8)
        for name, output in network_outputs(images, self._gpu.offset).items():
            self._gpu.view(self._addresses[name], output.shape, np.float32)[:] = output
        self._gpu.runs.append(self._shape[0])


class ILogger:
    Severity = enum.IntEnum('Severity', 'INTERNAL_ERROR ERROR WARNING INFO VERBOSE', start=0)

    def log(self, severity: int, msg: str) -> None:
        raise AssertionError('not overridden')


class IProgressMonitor:
    pass


class ICudaEngine:
    def __init__(self, gpu: FakeGpu, settings: dict) -> None:
        self._gpu, self._settings, self._names = gpu, settings, settings['tensors']
        self.num_io_tensors = len(self._names)
        self.device_memory_size_v2 = gpu.scratch_bytes

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_dtype(self, name: str) -> enum.Enum:
        return DATA_TYPES[self._settings.get('output_type', 'FLOAT')]

    def create_execution_context(self, strategy: int) -> IExecutionContext:
        return IExecutionContext(self._gpu, self._settings)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._log = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            assert not self._gpu.load_error, self._gpu.load_error
            assert serialized_engine.startswith(MAGIC), 'magic tag does not match'
            return ICudaEngine(self._gpu, json.loads(serialized_engine[len(MAGIC):]))
        except (AssertionError, ValueError) as error:
            self._log.log(ILogger.Severity.ERROR, f'deserialize: {error}')
            return None


class ParserError:
    def __init__(self, operator: str, name: str, text: str) -> None:
        self._fields = operator, name, text

    def node_operator(self) -> str:
        return self._fields[0]

    def node_name(self) -> str:
        return self._fields[1]

    def desc(self) -> str:
        return self._fields[2]


class OnnxParser:
    def __init__(self, network: Any, logger: Any) -> None:
        self.num_errors = len(self._gpu.parser_errors)

    def parse_from_file(self, model: str) -> bool:
        assert Path(model).is_file()
        return not self._gpu.parser_errors

    def get_error(self, index: int) -> ParserError:
        return ParserError(*self._gpu.parser_errors[index])


class IOptimizationProfile:
    def set_shape(self, input: str, min: tuple, opt: tuple, max: tuple) -> None:
        self._shapes = (input, min, opt, max)


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data or b'measured'


class IBuilderConfig:
    def __init__(self) -> None:
        self.progress_monitor: Any = None
        self.record = SimpleNamespace(cleared=[], pools={}, profiles=[])
        self._cache = ITimingCache(b'')

    def clear_flag(self, flag: enum.Enum) -> None:
        self.record.cleared.append(flag.name)

    def set_memory_pool_limit(self, pool: enum.Enum, pool_size: int) -> None:
        self.record.pools[pool.name] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.record.profiles.append(profile._shapes)
        return len(self.record.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        unreadable = serialized_timing_cache.startswith(b'rubbish')
        return None if unreadable else ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self.record.timing = cache._data
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class Builder:
    def __init__(self, logger: Any) -> None:
        self._log = logger

    def create_network(self, flags: int) -> SimpleNamespace:
        return SimpleNamespace(flags=flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: IBuilderConfig) -> bytes | None:
        config.record.flags = network.flags
        self._gpu.builds.append(config.record)
        config.progress_monitor.phase_start('Building', None, 1)
        assert config.progress_monitor.step_complete('Building', 0)
        config.progress_monitor.phase_finish('Building')
        if self._gpu.build_error:
            self._log.log(ILogger.Severity.ERROR, self._gpu.build_error)
            return None
        ((_, _, _, most),) = config.record.profiles
        return MAGIC + json.dumps({'tensors': ['images', *OUTPUT_TAILS], 'max_people': most[0],
                                   'crop_size': most[1]}).encode()


CLASSES = (ILogger, IProgressMonitor, Runtime, ICudaEngine, IExecutionContext, Builder, OnnxParser,
           ParserError, IBuilderConfig, IOptimizationProfile, ITimingCache)
DATA_TYPES = enum.Enum('DataType', 'FLOAT HALF UINT8')
ENUMS = {item.__name__: item for item in (
    DATA_TYPES,
    enum.IntEnum('ExecutionContextAllocationStrategy', 'STATIC ON_PROFILE_CHANGE USER_MANAGED'),
    enum.IntEnum('NetworkDefinitionCreationFlag', 'EXPLICIT_BATCH STRONGLY_TYPED', start=0),
    enum.Enum('BuilderFlag', 'TF32'), enum.Enum('MemoryPoolType', 'WORKSPACE'))}
