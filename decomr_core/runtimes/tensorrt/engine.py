"""The interface to TensorRT 10.3 to 11: builds plans from ONNX files, and runs them.

Networks are strongly typed: every operation has the type given in the ONNX file. Version 11
supports only this; version 10 could also choose types by speed. The contract test checks all uses
of TensorRT in this file against NVIDIA's bindings, by following the type annotations.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import tensorrt
except ImportError as error:
    raise ImportError(
        f'TensorRT does not load ({error}): pip install tensorrt (beside CUDA 12: '
        'pip install tensorrt-cu12; on a Jetson it is part of JetPack: sudo apt-get '
        'install python3-libnvinfer)'
    ) from error

from decomr_core.base.files import replacing
from decomr_core.runtimes.exported_model import INPUT_NAME, OUTPUT_NAMES, ExportedModel
from decomr_core.runtimes.tensorrt.plan import PlanKey, check_key, onnx_of, read_key, write_plan

if TYPE_CHECKING:
    from decomr_core.runtimes.cuda_device import Gpu

__all__ = ['Context', 'Engine', 'build_plan', 'checked_key', 'expected_key', 'tensorrt_version']

WORKSPACE_BYTES = 1 << 30
"""Limit of scratch memory per operation: ample for these networks, and available on a Jetson."""

logger = logging.getLogger(__name__)


def tensorrt_version() -> str:
    """The full version of TensorRT; a plan is valid for exactly one version."""
    return tensorrt.__version__


def build_plan(
    onnx_path: Path,
    path: Path,
    key: PlanKey,
    timing_cache: Path | None = None,
    workspace_bytes: int = WORKSPACE_BYTES,
) -> None:
    """Builds the plan of an ONNX file for the current GPU; takes minutes.

    Args:
        onnx_path: the ONNX file.
        path: the plan to write; its key is written beside it.
        key: complete key of the plan; determines crop size, people and precision.
        timing_cache: file with kernel timings of earlier builds, created if missing.
        workspace_bytes: limit of scratch memory per operation.

    Raises:
        ValueError: TensorRT cannot parse the file.
        RuntimeError: TensorRT could not build the plan; the message has TensorRT's errors.
    """
    log = _log()
    log.take_errors()
    if not tensorrt.init_libnvinfer_plugins(log, ''):
        raise RuntimeError(f"TensorRT's plug-ins do not load: {log.take_errors()}")
    builder: tensorrt.Builder = _created(lambda: tensorrt.Builder(log), 'builder')
    network = builder.create_network(_network_flags())
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx_path)):
        raise ValueError(_parser_report(onnx_path, parser))
    _check_names(network, onnx_path)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace_bytes)
    if key.precision != 'tf32':  # set by default; it would round the float32 layers of fp16
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    _add_profile(builder, config, key)
    progress = _Progress()
    config.progress_monitor = progress
    _load_timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError(
            f'TensorRT {tensorrt.__version__} could not build {onnx_path}: '
            f'{log.take_errors() or "it gave no reason"}'
        )
    _save_timing_cache(config, timing_cache)
    write_plan(path, bytes(plan), key)


def expected_key(
    model: ExportedModel, gpu: Gpu, max_people: int | None, precision: str
) -> PlanKey:
    """The key of an engine that fits a network and this machine.

    Args:
        model: the network.
        gpu: the GPU.
        max_people: largest batch; None: any.
        precision: one of `PRECISIONS`.

    Raises:
        ValueError: the network did not pass in this precision.
    """
    return PlanKey.of_files(
        onnx_of(model, precision),
        tensorrt=tensorrt_version(),
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        crop_size=model.crop_size,
        max_people=max_people,
        precision=precision,
    )


def checked_key(
    path: Path,
    model: ExportedModel,
    gpu: Gpu,
    max_people: int | None,
    precision: str | None,
    command: str,
) -> PlanKey:
    """Reads the key of an existing engine and checks that it fits.

    Args:
        path: the plan.
        model: the network.
        gpu: the GPU.
        max_people: largest batch; None: any.
        precision: one of `PRECISIONS`; None: that of the engine.
        command: the build command, for the error.

    Raises:
        FileNotFoundError: there is no engine.
        ValueError: it does not fit; the message lists the differences.
    """
    key = read_key(path, command)
    expected = expected_key(model, gpu, max_people, precision or key.precision)
    check_key(path, key, expected, command)
    return key


class Engine:
    """A plan loaded on the GPU."""

    def __init__(self, path: Path, command: str, free_memory: Callable[[], str]) -> None:
        """Loads a plan.

        Args:
            path: the plan.
            command: the build command, for errors.
            free_memory: returns the free GPU memory as text, for errors.

        Raises:
            ValueError: the plan is damaged, or belongs to another network.
            RuntimeError: the GPU has too little memory.
        """
        log = _log()
        log.take_errors()
        tensorrt.init_libnvinfer_plugins(log, '')
        plan = path.read_bytes()
        self._runtime: tensorrt.Runtime = _created(lambda: tensorrt.Runtime(log), 'runtime')
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            errors = log.take_errors()
            if 'memory' in errors.lower():
                raise RuntimeError(
                    f'the TensorRT engine {path} needs {len(plan) / 2**20:.0f} MiB of GPU memory '
                    f'for its weights, {free_memory()}; TensorRT reports: {errors}'
                )
            raise ValueError(
                f'TensorRT cannot load the engine {path} ({len(plan)} bytes, '
                f'damaged?): {errors or "no reason given"}. Build it again: '
                f'{command}'
            )
        self._engine: tensorrt.ICudaEngine = engine
        self._free_memory = free_memory
        names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        if names != {INPUT_NAME, *OUTPUT_NAMES}:
            raise ValueError(
                f'the TensorRT engine {path} has the tensors '
                f'{", ".join(sorted(names))}, expected {INPUT_NAME}, '
                f'{", ".join(OUTPUT_NAMES)}. Build it again: {command}'
            )
        other = [
            name
            for name in OUTPUT_NAMES
            if engine.get_tensor_dtype(name) != tensorrt.DataType.FLOAT
        ]
        if other:
            raise ValueError(
                f'the outputs {", ".join(other)} of the TensorRT engine {path} are '
                f'not float32. Build it again: {command}'
            )

    @property
    def scratch_bytes(self) -> int:
        """GPU memory of one run in addition to the weights, bytes."""
        return self._engine.device_memory_size_v2

    def context(
        self, input_shape: tuple[int, ...], scratch_address: int, stream_handle: int
    ) -> Context:
        """An execution context for one batch size; the addresses of its tensors must be set.

        Args:
            input_shape: (B, S, S, 3), within the profile.
            scratch_address: address of `scratch_bytes` on the GPU; contexts on one stream may
                share them.
            stream_handle: handle of the stream.

        Raises:
            RuntimeError: TensorRT fails; the message has TensorRT's errors.
        """
        log = _log()
        log.take_errors()
        context = self._engine.create_execution_context(
            tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise RuntimeError(
                'TensorRT could not create an execution context for a batch of '
                f'{input_shape[0]} people ({self._free_memory()}): '
                f'{log.take_errors() or "it gave no reason"}'
            )
        context.set_device_memory(scratch_address, self.scratch_bytes)
        if not (
            context.set_optimization_profile_async(0, stream_handle)
            and context.set_input_shape(INPUT_NAME, input_shape)
        ):
            raise RuntimeError(
                f'TensorRT rejects a batch of shape {input_shape}: '
                f'{log.take_errors() or "it gave no reason"}'
            )
        return Context(context)


class Context:
    """Runs one batch size with tensors at fixed addresses."""

    def __init__(self, context: tensorrt.IExecutionContext) -> None:
        """Takes a context whose input shape is set."""
        self._context = context

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each output, with the batch size instead of the engine's -1."""
        return {name: tuple(self._context.get_tensor_shape(name)) for name in OUTPUT_NAMES}

    def set_addresses(self, addresses: Mapping[str, int]) -> None:
        """Sets the GPU addresses of all tensors.

        Raises:
            RuntimeError: TensorRT rejects one; the message has TensorRT's errors.
        """
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise RuntimeError(
                    f'TensorRT rejects the address of {name}: '
                    f'{_log().take_errors() or "it gave no reason"}'
                )

    def enqueue(self, stream_handle: int) -> None:
        """Enqueues one run on a stream.

        Raises:
            RuntimeError: TensorRT fails; the message has TensorRT's errors.
        """
        if not self._context.execute_async_v3(stream_handle):
            raise RuntimeError(
                f'TensorRT could not run: {_log().take_errors() or "it gave no reason"}'
            )


class _Log(tensorrt.ILogger):
    """Forwards TensorRT's messages to Python's log, and collects errors until they are taken."""

    def __init__(self) -> None:
        """Starts without errors."""
        super().__init__()
        self._errors: list[str] = []

    def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT."""
        levels = {
            tensorrt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
            tensorrt.ILogger.Severity.ERROR: logging.ERROR,
            tensorrt.ILogger.Severity.WARNING: logging.WARNING,
            tensorrt.ILogger.Severity.INFO: logging.INFO,
            tensorrt.ILogger.Severity.VERBOSE: logging.DEBUG,
        }
        level = levels.get(severity, logging.DEBUG)
        if level == logging.ERROR:
            self._errors.append(msg.strip())
        logger.log(level, '%s', msg)

    def take_errors(self) -> str:
        """Returns and clears the errors since the last call, the latest one last."""
        text = '; '.join(dict.fromkeys(self._errors))
        self._errors.clear()
        return text


@functools.cache
def _log() -> _Log:
    """The only log of this process, because TensorRT keeps the first one that it gets."""
    return _Log()


class _Progress(tensorrt.IProgressMonitor):
    """Logs the phases of a build."""

    def __init__(self) -> None:
        """Starts before the first phase."""
        super().__init__()
        self._begins: dict[str, float] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Called by TensorRT."""
        self._begins[phase_name] = time.monotonic()
        level = logging.DEBUG if parent_phase else logging.INFO
        logger.log(level, '%s: %d steps', phase_name, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Called by TensorRT; True continues the build."""
        logger.debug('%s: step %d', phase_name, step + 1)
        return True

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        begin = self._begins.pop(phase_name, time.monotonic())
        logger.info('%s: done in %.1f s', phase_name, time.monotonic() - begin)


def _created(create: Callable[[], Any], what: str) -> Any:
    """The result of a TensorRT constructor.

    Raises:
        RuntimeError: it fails, as without a driver or with an unsuitable one.
    """
    try:
        return create()
    except TypeError as error:  # the bindings raise it for a null pointer
        raise RuntimeError(
            f'TensorRT {tensorrt.__version__} gives no {what} on this machine: '
            f'{_log().take_errors() or error}; check the driver version in '
            'nvidia-smi, and whether this TensorRT supports it'
        ) from error


def _network_flags() -> int:
    """The flag for strong typing, if this version has it."""
    flag = tensorrt.NetworkDefinitionCreationFlag.__members__.get('STRONGLY_TYPED')
    return 0 if flag is None else 1 << int(flag)


def _parser_report(onnx_path: Path, parser: tensorrt.OnnxParser) -> str:
    """All errors of the parser in one message."""
    problems = [_problem_text(parser.get_error(index)) for index in range(parser.num_errors)]
    return (
        f'TensorRT {tensorrt.__version__} cannot parse {onnx_path}: '
        f'{"; ".join(problems) or "no reason given"}. If the file is damaged, delete '
        f'{onnx_path.parent}: it is recreated'
    )


def _problem_text(problem: tensorrt.ParserError) -> str:
    return f'{problem.node_operator()} {problem.node_name()}: {problem.desc()}'.strip(' :')


def _check_names(network: tensorrt.INetworkDefinition, onnx_path: Path) -> None:
    """Checks inputs and outputs of the graph before a build of minutes."""
    inputs = [_tensor_name(network.get_input(index)) for index in range(network.num_inputs)]
    outputs = [_tensor_name(network.get_output(index)) for index in range(network.num_outputs)]
    for kind, actual, expected in (
        ('inputs', inputs, [INPUT_NAME]),
        ('outputs', outputs, list(OUTPUT_NAMES)),
    ):
        if set(actual) != set(expected):
            raise ValueError(
                f'the {kind} of {onnx_path} are '
                f'{", ".join(sorted(actual)) or "none"}, expected '
                f'{", ".join(sorted(expected))}; delete {onnx_path.parent}: it is '
                'recreated'
            )


def _tensor_name(tensor: tensorrt.ITensor) -> str:
    return tensor.name


def _add_profile(builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, key: PlanKey) -> None:
    """Adds a profile for 1 to `max_people` people, optimised for the largest batch."""
    profile = builder.create_optimization_profile()
    crop = (key.crop_size, key.crop_size, 3)
    profile.set_shape(INPUT_NAME, (1, *crop), (key.max_people, *crop), (key.max_people, *crop))
    if config.add_optimization_profile(profile) < 0:
        raise RuntimeError(
            f'TensorRT rejects the profile of 1 to {key.max_people} crops of '
            f'{key.crop_size} px: {_log().take_errors()}'
        )


def _load_timing_cache(config: tensorrt.IBuilderConfig, path: Path | None) -> None:
    """Loads kernel timings of earlier builds; starts anew if the file is unsuitable."""
    data = path.read_bytes() if path is not None and path.is_file() else b''
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        logger.warning('TensorRT rejects the timing cache %s; a new one is started', path)
        _log().take_errors()
        config.set_timing_cache(config.create_timing_cache(b''), False)


def _save_timing_cache(config: tensorrt.IBuilderConfig, path: Path | None) -> None:
    cache = config.get_timing_cache()
    if path is not None and cache is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, has_other_writers=True) as part:
            part.write_bytes(bytes(cache.serialize()))
