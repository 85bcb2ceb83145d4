"""Loads a trained network into a runtime: finds or makes the files that the runtime needs.

PyTorch takes the weights themselves. The other runtimes take an export: a folder with the network
as a graph (`ExportedModel`), which is made once per weights file and kept in a cache. TensorRT in
addition takes a plan, the file of an engine, which is built from the export for one GPU model.

There is no fallback: the requested runtime is loaded, or an error names the installed ones.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from decomr_core.base.assets import BUILTIN, find_weights
from decomr_core.export.cached_exports import exported_model
from decomr_core.runtimes import DEFAULT_RUNTIME, Runtime, check_runtime
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE
from decomr_core.runtimes.exported_model import ExportedModel
from decomr_core.runtimes.tensorrt.plan import PlanKey, build_command, plan_path

if TYPE_CHECKING:
    from decomr_core.runtimes.cuda_device import Gpu

__all__ = ['device_options', 'load_runtime']

logger = logging.getLogger(__name__)


def device_options(runtime: str, device: str) -> dict[str, Any]:
    """The options of `load_runtime` for a device.

    Args:
        runtime: `torch`, `openvino`, `onnxruntime` or `tensorrt`.
        device: `cpu`, `cuda`, `cuda:N` for the GPU of that CUDA index, or empty for the first GPU
            with `tensorrt` and the CPU with the others.

    Raises:
        ValueError: the device has another form, or the runtime does not run on it.
    """
    match = re.fullmatch(r'(?:cpu|cuda(?::(\d{1,3}))?)?', device)
    if match is None:
        raise ValueError(f'device is {device!r}, expected cpu, cuda or cuda:N')
    if not device.startswith('cuda'):
        if device and runtime == 'tensorrt':
            raise ValueError('device is cpu, but tensorrt runs on a GPU; take another runtime')
        return {}
    index = int(match[1] or 0)
    if runtime == 'openvino':
        raise ValueError(
            f'device is {device}, but openvino runs on the CPU here; for an NVIDIA GPU take the '
            'runtime torch, onnxruntime or tensorrt'
        )
    if runtime == 'torch':
        return {'device': f'cuda:{index}'}
    return {'device': index} | ({'provider': 'cuda'} if runtime == 'onnxruntime' else {})


class _NetworkFiles(NamedTuple):
    """The files of a trained network, each by name or path.

    Attributes:
        weights: a shipped network or a safetensors file.
        body: the body that the network was trained for.
        uv_map: its UV map.
    """

    weights: str | Path
    body: str | Path
    uv_map: str | Path


def load_runtime(
    name: str = DEFAULT_RUNTIME, weights: str | Path = 'rt', **options: Any
) -> Runtime:
    """Loads a trained network into a runtime.

    Args:
        name: `torch`, `openvino`, `onnxruntime` or `tensorrt`.
        weights: a shipped network (`rt`) by name or a safetensors file by path.
        options: for all runtimes `body` and `uv_map` of the network, by name or path (default:
            the built-in ones), `precision` (default: `auto`) and `num_threads` of the CPU
            (default: 0, the runtime decides). Then:

            * `torch`: `device`, `max_people`, `channels_last`; see `TorchRuntime`.
            * `openvino`: no others; see `OpenVinoRuntime`.
            * `onnxruntime`: `provider`, `device`, `max_people`; see `OnnxRuntime`.
            * `tensorrt`: `device`, the CUDA index of the GPU; `max_people` (default: that of the
              existing engine); `build_if_missing`, whether to build an engine, which takes
              minutes, if none fits (default: False). `num_threads` must be 0.

            `max_people` is the largest batch; more people run in several batches.

    Raises:
        ValueError: runtime or option is unknown, a file is damaged, the existing TensorRT engine
            does not fit, or the network is too inaccurate in this precision.
        RuntimeError: the runtime is not installed, or does not work on this machine.
        FileNotFoundError: there are no such weights, or no TensorRT engine was built.
    """
    check_runtime(name)
    load = _LOADERS[name]
    _check_option_names(name, load, options)
    return load(weights, **options)


def _load_torch(
    weights: str | Path,
    *,
    precision: str = 'auto',
    num_threads: int = 0,
    max_people: int = DEFAULT_MAX_PEOPLE,
    device: str | int = 'cpu',
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    channels_last: bool | None = None,
) -> Runtime:
    """Loads the weights into PyTorch; see `load_runtime`."""
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
    *,
    precision: str = 'auto',
    num_threads: int = 0,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
) -> Runtime:
    """Loads the network's export for CPUs, which is made now if missing; see `load_runtime`."""
    from decomr_core.runtimes.openvino_runtime import OpenVinoRuntime

    return OpenVinoRuntime(exported_model(weights, body, uv_map), precision, num_threads)


def _load_onnxruntime(
    weights: str | Path,
    *,
    precision: str = 'auto',
    num_threads: int = 0,
    max_people: int = DEFAULT_MAX_PEOPLE,
    device: int = 0,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    provider: str = 'cpu',
) -> Runtime:
    """Loads the export for the provider, which is made now if missing; see `load_runtime`."""
    from decomr_core.runtimes.onnxruntime_runtime import OnnxRuntime, check_options

    check_options(provider, precision, device)  # before an export, which takes long
    # On a GPU ONNX Runtime too is faster with the graph for TensorRT, whose warp is a product.
    target = 'cpu' if provider == 'cpu' else 'tensorrt'
    return OnnxRuntime(
        exported_model(weights, body, uv_map, target),
        num_threads,
        provider=provider,
        precision=precision,
        device=device,
        max_people=max_people,
    )


def _load_tensorrt(
    weights: str | Path,
    *,
    precision: str = 'auto',
    num_threads: int = 0,
    max_people: int | None = None,
    device: int = 0,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    build_if_missing: bool = False,
) -> Runtime:
    """Loads the engine that was built for this network on this machine.

    Args:
        weights: see `load_runtime`.
        precision: `f32`, `tf32`, `fp16`, or `auto` for that of the engine.
        num_threads: must be 0; other runtimes use CPU threads.
        max_people: largest batch; None for that of the engine.
        device: CUDA index of the GPU.
        body: see `load_runtime`.
        uv_map: see `load_runtime`.
        build_if_missing: whether to build the engine if none fits; takes minutes.

    Raises:
        FileNotFoundError: there are no such weights, or no engine was built.
        ValueError: the engine does not fit (the message names the differences and the command to
            build it), or the network is too inaccurate in this precision.
        RuntimeError: there is no GPU, or too little memory on it.
    """
    from decomr_core.runtimes.cuda_device import find_gpu
    from decomr_core.runtimes.tensorrt.runtime import TensorRtRuntime

    if num_threads:
        raise ValueError(f'num_threads is {num_threads}, expected 0: tensorrt runs on the GPU')
    gpu = find_gpu(device)  # before an export, which takes long
    model = exported_model(weights, body, uv_map, target='tensorrt')
    files = _NetworkFiles(weights, body, uv_map)
    fixed_precision = None if precision == 'auto' else precision
    command = build_command(*files, max_people, fixed_precision)
    key = _find_or_build_plan(
        model, gpu, max_people, fixed_precision, command, files if build_if_missing else None
    )
    return TensorRtRuntime(model, key, gpu, command)


def _find_or_build_plan(
    model: ExportedModel,
    gpu: Gpu,
    max_people: int | None,
    precision: str | None,
    command: str,
    sources: _NetworkFiles | None,
) -> PlanKey:
    """Finds the plan (the file of an engine) of a network for this machine, or builds it.

    Args:
        model: the network, exported for TensorRT.
        gpu: the GPU.
        max_people: largest batch; None: any.
        precision: `f32`, `tf32` or `fp16`; None: any.
        command: the build command, for errors.
        sources: files of the network, from which a plan is built if none fits; None: it is an
            error if none fits.

    Returns:
        The key of the plan: for what it was built.

    Raises:
        FileNotFoundError: there is no plan.
        ValueError: the plan does not fit, or the network is too inaccurate in this precision.
    """
    from decomr_core.runtimes.tensorrt.engine import checked_key, expected_key

    path = plan_path(model.folder)
    if precision is not None:
        # Only for its errors: no build would help against a precision that is too inaccurate.
        expected_key(model, gpu, max_people, precision)
    try:
        return checked_key(path, model, gpu, max_people, precision, command)
    except (FileNotFoundError, ValueError) as error:  # no plan, or one that does not fit
        if sources is None:
            raise
        logger.info('%s', error)
    from decomr_core.export.tensorrt_build import build_engine  # imports PyTorch

    build_engine(*sources, max_people or DEFAULT_MAX_PEOPLE, precision or 'auto', gpu.index)
    return checked_key(path, model, gpu, max_people, precision, command)


_LOADERS: dict[str, Callable[..., Runtime]] = {
    'torch': _load_torch,
    'openvino': _load_openvino,
    'onnxruntime': _load_onnxruntime,
    'tensorrt': _load_tensorrt,
}


def _check_option_names(name: str, load: Callable, options: Iterable[str]) -> None:
    """Checks that a runtime takes all of the options.

    Args:
        name: name of the runtime.
        load: its loader, whose parameters except `weights` are the options.
        options: names of the given options.

    Raises:
        ValueError: an option is unknown.
    """
    known = [option for option in inspect.signature(load).parameters if option != 'weights']
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f'the runtime {name} has no option {", ".join(unknown)}; it has: {", ".join(known)}'
        )
