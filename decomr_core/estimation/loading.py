"""Loads a trained network into a runtime: finds or makes the files that the runtime needs.

There is no fallback: the requested runtime is loaded, or an error names the installed ones.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decomr_core.base.assets import BUILTIN, find_weights
from decomr_core.export.cached_exports import exported_model
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime, check_runtime
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE
from decomr_core.runtimes.exported_model import ExportedModel
from decomr_core.runtimes.tensorrt.plan import PlanKey, build_command, plan_path

if TYPE_CHECKING:
    from decomr_core.runtimes.cuda_device import Gpu

__all__ = ['load_runtime']

logger = logging.getLogger(__name__)


def load_runtime(
    name: str = DEFAULT_RUNTIME, weights: str | Path = 'rt', **options: Any
) -> Runtime:
    """Loads a trained network into a runtime.

    Args:
        name: `torch`, `openvino`, `onnxruntime` or `tensorrt`.
        weights: a shipped network by name or a safetensors file by path.
        options: `body`, `uv_map` and the options of the runtime, such as `precision` or
            `num_threads`; see the functions of this module.

    Raises:
        ValueError: runtime or option is unknown, or a file is damaged.
        RuntimeError: the runtime is not installed, or does not work on this machine.
        FileNotFoundError: there are no such weights.
    """
    check_runtime(name)
    load = _LOADERS[name]
    _check_options(name, load, options)
    return load(weights, **options)


def _load_torch(
    weights: str | Path,
    device: str | int = 'cpu',
    num_threads: int = 0,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    *,
    precision: str = 'auto',
    max_people: int = DEFAULT_MAX_PEOPLE,
    channels_last: bool | None = None,
) -> Runtime:
    """The network in PyTorch; see `TorchRuntime` for the options."""
    from decomr_core.networks.checkpoint import load_with_topology
    from decomr_core.runtimes.torch.runtime import TorchRuntime, check_options

    check_options(device, precision, max_people)
    network, topology = load_with_topology(weights, body, uv_map)
    return TorchRuntime(
        network,
        topology,
        device,
        num_threads,
        precision=precision,
        max_people=max_people,
        channels_last=channels_last,
        weights=find_weights(weights),
    )


def _load_openvino(
    weights: str | Path,
    precision: str = 'auto',
    num_threads: int = 0,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
) -> Runtime:
    """The export for CPUs, made now if missing; see `OpenVinoRuntime` for the options."""
    from decomr_core.runtimes.openvino_runtime import OpenVinoRuntime

    return OpenVinoRuntime(exported_model(weights, body, uv_map), precision, num_threads)


def _load_onnxruntime(
    weights: str | Path,
    num_threads: int = 0,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    *,
    provider: str = 'cpu',
    precision: str = 'auto',
    device: int = 0,
    max_people: int = DEFAULT_MAX_PEOPLE,
) -> Runtime:
    """The export for the provider, made now if missing; see `OnnxRuntime` for the options."""
    from decomr_core.runtimes.onnxruntime_runtime import OnnxRuntime, check_options

    check_options(provider, precision, device)  # before an export, which takes long
    model = exported_model(weights, body, uv_map, 'cpu' if provider == 'cpu' else 'tensorrt')
    return OnnxRuntime(
        model,
        num_threads,
        provider=provider,
        precision=precision,
        device=device,
        max_people=max_people,
    )


def _load_tensorrt(
    weights: str | Path,
    precision: str = 'auto',
    max_people: int | None = None,
    device: int = 0,
    build_if_missing: bool = False,
    num_threads: int = 0,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
) -> Runtime:
    """The engine that was built for this network on this machine.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        precision: `f32`, `tf32`, `fp16`, or `auto` for that of the engine.
        max_people: largest batch; None for that of the engine.
        device: CUDA index of the GPU.
        build_if_missing: whether to build the engine if none fits; takes minutes.
        num_threads: must be 0; other runtimes use CPU threads.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.

    Raises:
        FileNotFoundError: there are no such weights, or no engine was built.
        ValueError: the engine does not fit (the message names the differences and the command to
            build it), or the network did not pass in this precision.
        RuntimeError: there is no GPU, or too little memory on it.
    """
    from decomr_core.runtimes.cuda_device import find_gpu
    from decomr_core.runtimes.tensorrt.runtime import TensorRtRuntime

    if num_threads:
        raise ValueError(f'num_threads is {num_threads}, expected 0: tensorrt runs on the GPU')
    gpu = find_gpu(device)  # before an export, which takes long
    model = exported_model(weights, body, uv_map, target='tensorrt')
    key, command = _fitting_key(
        model,
        gpu,
        max_people,
        None if precision == 'auto' else precision,
        build_if_missing,
        (weights, body, uv_map),
    )
    return TensorRtRuntime(model, key, gpu, command)


def _fitting_key(
    model: ExportedModel,
    gpu: Gpu,
    max_people: int | None,
    precision: str | None,
    build_if_missing: bool,
    files: tuple[str | Path, str | Path, str | Path],
) -> tuple[PlanKey, str]:
    """The key of the existing engine, built now if missing and requested; and its command."""
    from decomr_core.runtimes.tensorrt.engine import checked_key, expected_key

    path = plan_path(model.folder)
    command = build_command(*files, max_people, precision)
    if precision is not None:
        expected_key(model, gpu, max_people, precision)  # fails if the precision did not pass
    try:
        return checked_key(path, model, gpu, max_people, precision, command), command
    except (FileNotFoundError, ValueError) as error:
        if not build_if_missing:
            raise
        logger.info('%s', error)
    from decomr_core.export.tensorrt_build import build_engine  # imports PyTorch

    build_engine(*files, max_people or DEFAULT_MAX_PEOPLE, precision or 'auto', gpu.index)
    return checked_key(path, model, gpu, max_people, precision, command), command


_LOADERS: dict[str, Callable[..., Runtime]] = {
    'torch': _load_torch,
    'openvino': _load_openvino,
    'onnxruntime': _load_onnxruntime,
    'tensorrt': _load_tensorrt,
}


def _check_options(name: str, load: Callable, options: Iterable[str]) -> None:
    """Checks that a runtime takes all of the options.

    Raises:
        ValueError: an option is unknown.
    """
    known = [option for option in inspect.signature(load).parameters if option != 'weights']
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f'the runtime {name} has no option {", ".join(unknown)}; it has: {", ".join(known)}'
        )
