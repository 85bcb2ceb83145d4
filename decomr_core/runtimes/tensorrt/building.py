"""Builds TensorRT plans from ONNX files.

Networks are strongly typed: every operation has the type given in the ONNX file. Version 11
supports only this; version 10 could also choose types by speed.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from decomr_core.base.files import replacing
from decomr_core.runtimes.exported_model import INPUT_NAME, OUTPUT_NAMES
from decomr_core.runtimes.tensorrt.bindings import created, tensorrt, tensorrt_log
from decomr_core.runtimes.tensorrt.plan import PlanKey, write_plan

__all__ = ['build_plan']

WORKSPACE_BYTES = 1 << 30
"""Limit of scratch memory per operation: ample for these networks, and available on a Jetson."""

logger = logging.getLogger(__name__)


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
    log = tensorrt_log()
    log.take_errors()
    if not tensorrt.init_libnvinfer_plugins(log, ''):
        raise RuntimeError(f"TensorRT's plug-ins do not load: {log.take_errors()}")
    builder: tensorrt.Builder = created(lambda: tensorrt.Builder(log), 'builder')
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
            f'{key.crop_size} px: {tensorrt_log().take_errors()}'
        )


def _load_timing_cache(config: tensorrt.IBuilderConfig, path: Path | None) -> None:
    """Loads kernel timings of earlier builds; starts anew if the file is unsuitable."""
    data = path.read_bytes() if path is not None and path.is_file() else b''
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        logger.warning('TensorRT rejects the timing cache %s; a new one is started', path)
        tensorrt_log().take_errors()
        config.set_timing_cache(config.create_timing_cache(b''), False)


def _save_timing_cache(config: tensorrt.IBuilderConfig, path: Path | None) -> None:
    cache = config.get_timing_cache()
    if path is not None and cache is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, has_other_writers=True) as part:
            part.write_bytes(bytes(cache.serialize()))
