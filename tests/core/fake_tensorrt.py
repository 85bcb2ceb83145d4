"""Fakes of TensorRT and CUDA: a GPU in host memory that records its calls.

They are strict where the real ones are: a context runs only when everything is set, a graph only
while its context is as it was recorded, a file is read only if it is whole, and memory ends.
What they offer is checked against NVIDIA's own bindings by the contract test.
"""

from __future__ import annotations

import enum
import importlib.machinery
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.core.fake_cuda import STREAM, FakeCuda

OUTPUT_TAILS = {
    'iuv': (3, 4, 4),
    'vertices': (5, 3),
    'joints': (2, 3),
    'camera': (3,),
    'location_map': (3, 4, 4),
}
CROP_SIZE = 16
MAGIC = b'PLAN'
ONNX_FILE = b'<a network>'
ONNX_HALF_FILE = b'<a network in half precision>'
"""What stands for ONNX files: whole ones end as they begin."""


def network_outputs(images: np.ndarray, offset: float = 0.0) -> dict[str, np.ndarray]:
    """The outputs of the fake network for images (B, S, S, 3), each from its own pixels."""
    value = images.reshape(len(images), -1).mean(axis=1) / 255 + offset
    return {
        name: np.stack(
            [np.arange(np.prod(tail), dtype=np.float32).reshape(tail) * v for v in value]
        ).astype(np.float32)
        for name, tail in OUTPUT_TAILS.items()
    }


class FakeGpu:
    """One fake machine: settings and recorded calls."""

    def __init__(self) -> None:
        self.devices, self.name, self.capability = 1, b'Pretended GPU', (8, 7)
        self.version = '10.3.0'
        self.total_bytes, self.scratch_bytes = 2**30, 3 * 2**20
        self.pinned_bytes = 2**30
        self.can_capture, self.offset = True, 0.0
        self.build_error = self.load_error = self.context_error = self.driver_error = ''
        self.parser_errors: list[tuple[str, str, str]] = []
        self.inputs, self.outputs = ['images'], list(OUTPUT_TAILS)  # of every ONNX file
        self.runs: list[int] = []  # batch sizes, in the order of running
        self.launches = 0
        self.builds: list[SimpleNamespace] = []
        self.device_memory: dict[int, Any] = {}
        self.pinned_memory: dict[int, Any] = {}
        self.alive = {'stream': 0, 'graph': 0, 'graph_exec': 0}
        self.recording: list[Callable[[], None]] | None = None

    @property
    def free_bytes(self) -> int:
        """The free fake memory."""
        return self.total_bytes - sum(map(len, self.device_memory.values()))

    def do(self, work: Callable[[], None]) -> None:
        """Does something now, or records it."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def view(self, address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Fake GPU memory as an array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert size <= len(self.device_memory[address])
        return np.frombuffer(
            self.device_memory[address], dtype, count=int(np.prod(shape))
        ).reshape(shape)

    def modules(self) -> dict[str, ModuleType]:
        """The modules that replace the real ones."""
        cuda = FakeCuda(self)
        functions = {name: getattr(cuda, name) for name in dir(cuda) if name.startswith('cuda')}
        classes = {item.__name__: type(item.__name__, (item,), {'_gpu': self}) for item in CLASSES}
        modules = {
            'cuda': ModuleType('cuda'),
            'cuda.bindings': ModuleType('cuda.bindings'),
            'cuda.bindings.runtime': ModuleType('cuda.bindings.runtime'),
            'tensorrt': ModuleType('tensorrt'),
        }
        vars(modules['cuda.bindings.runtime']).update(functions)
        vars(modules['tensorrt']).update(
            {
                **classes,
                **ENUMS,
                '__version__': self.version,
                'init_libnvinfer_plugins': lambda logger, namespace: True,
            }
        )
        modules['cuda.bindings'].runtime = modules['cuda.bindings.runtime']
        for name, module in modules.items():
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        return modules


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
        if (
            self._shape is None
            or self._scratch is None
            or self._profile is None
            or set(self._addresses) != set(self._settings['tensors'])
        ):
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

    def create_execution_context(self, strategy: int) -> IExecutionContext | None:
        if self._gpu.context_error:
            self._settings['log'].log(ILogger.Severity.ERROR, self._gpu.context_error)
            return None
        return IExecutionContext(self._gpu, self._settings)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._log = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            assert not self._gpu.load_error, self._gpu.load_error
            assert serialized_engine.startswith(MAGIC), 'magic tag does not match'
            settings = json.loads(serialized_engine[len(MAGIC) :])
            return ICudaEngine(self._gpu, {**settings, 'log': self._log})
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
    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self._network, self._errors = network, list(self._gpu.parser_errors)

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def parse_from_file(self, model: str) -> bool:
        content = Path(model).read_bytes()
        if not (content.startswith(b'<') and content.endswith(b'>')):
            self._errors.append(('', '', 'failed to parse the ONNX model'))
        self._network._content = content
        return not self._errors

    def get_error(self, index: int) -> ParserError:
        return ParserError(*self._errors[index])


class ITensor:
    def __init__(self, name: str) -> None:
        self.name = name


class INetworkDefinition:
    def __init__(self, gpu: FakeGpu, flags: int) -> None:
        self._flags, self._inputs, self._outputs = flags, gpu.inputs, gpu.outputs
        self.num_inputs, self.num_outputs = len(gpu.inputs), len(gpu.outputs)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._inputs[index])

    def get_output(self, index: int) -> ITensor:
        return ITensor(self._outputs[index])


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

    def create_network(self, flags: int) -> INetworkDefinition:
        return INetworkDefinition(self._gpu, flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        config.record.flags, config.record.onnx = network._flags, network._content
        self._gpu.builds.append(config.record)
        config.progress_monitor.phase_start('Building', None, 1)
        assert config.progress_monitor.step_complete('Building', 0)
        config.progress_monitor.phase_finish('Building')
        if self._gpu.build_error:
            self._log.log(ILogger.Severity.ERROR, self._gpu.build_error)
            return None
        ((_, _, _, most),) = config.record.profiles
        return (
            MAGIC
            + json.dumps(
                {'tensors': ['images', *OUTPUT_TAILS], 'max_people': most[0], 'crop_size': most[1]}
            ).encode()
        )


CLASSES = (
    ILogger,
    IProgressMonitor,
    Runtime,
    ICudaEngine,
    IExecutionContext,
    Builder,
    OnnxParser,
    ParserError,
    IBuilderConfig,
    IOptimizationProfile,
    ITimingCache,
    INetworkDefinition,
    ITensor,
)
DATA_TYPES = enum.Enum('DataType', 'FLOAT HALF UINT8')
ENUMS = {
    item.__name__: item
    for item in (
        DATA_TYPES,
        enum.IntEnum(
            'ExecutionContextAllocationStrategy', 'STATIC ON_PROFILE_CHANGE USER_MANAGED'
        ),
        enum.IntEnum('NetworkDefinitionCreationFlag', 'EXPLICIT_BATCH STRONGLY_TYPED', start=0),
        enum.Enum('BuilderFlag', 'TF32'),
        enum.Enum('MemoryPoolType', 'WORKSPACE'),
    )
}
