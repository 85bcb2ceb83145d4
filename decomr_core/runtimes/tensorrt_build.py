"""Builds the TensorRT engine of an exported network for this machine, and measures it.

Like every export it passes a parity gate: an engine that computes something else than PyTorch is
removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.assets import BUILTIN, cache_folder
from decomr_core.parity import LIMITS_MM, NUM_PARITY_CROPS, parity_crops, vertex_error_mm
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE, batch_sizes
from decomr_core.runtimes.cuda_device import find_gpu
from decomr_core.runtimes.exported import exported_model
from decomr_core.runtimes.tensorrt_engine import build_plan, tensorrt_version
from decomr_core.runtimes.tensorrt_plan import (
    default_precision,
    onnx_of,
    plan_path,
    remove_plan,
)
from decomr_core.runtimes.tensorrt_runtime import TensorRtRuntime, wanted_key
from decomr_core.runtimes.torch_runtime import TorchRuntime

__all__ = ['GATES_MM', 'build_engine']

GATES_MM = {'f32': LIMITS_MM['f32'], 'tf32': LIMITS_MM['bf16'], 'fp16': LIMITS_MM['fp16']}
"""Distance from PyTorch's vertices that passes, mm. The 10 bits of tf32 are more than the 8 of
bf16, whose gate it gets."""

logger = logging.getLogger(__name__)


def build_engine(weights: str | Path = 'rt', body: str | Path = BUILTIN,
                 uv_map: str | Path = BUILTIN, max_people: int = DEFAULT_MAX_PEOPLE,
                 precision: str = 'auto', device: int = 0) -> dict[str, Any]:
    """Builds the engine of a network for a GPU of this machine, where the runtime finds it.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.
        max_people: per batch.
        precision: `f32`, `tf32`, `fp16`, or `auto`: `fp16` if the export passed its limit in it,
            else `f32`.
        device: the GPU, as CUDA counts them.

    Returns:
        What was built: path, GPU, versions, size, the vertices' distance from PyTorch's, mm.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: an option is wrong, the network did not pass in this precision, or TensorRT
            does not understand it.
        RuntimeError: there is no GPU, the build failed, or the engine computes something else.
    """
    gpu = find_gpu(device)
    model = exported_model(weights, body, uv_map, target='tensorrt')
    precision = default_precision(model) if precision == 'auto' else precision
    key = wanted_key(model, gpu, max_people, precision)
    timing_cache = cache_folder() / 'tensorrt' / (
        f'timing-{key.tensorrt}-{key.compute_capability}.cache')
    path = plan_path(model.folder)
    logger.info('building the TensorRT engine for %s in %s; this takes some minutes', gpu.name,
                precision)
    build_plan(onnx_of(model, precision), path, key, timing_cache)
    with _removed_on_error(path):
        error_mm = _gate(
            TensorRtRuntime(weights, precision, max_people, device, body=body, uv_map=uv_map),
            TorchRuntime(weights, body=body, uv_map=uv_map))
    return {'out': str(path), 'gpu': gpu.name, 'compute_capability': gpu.compute_capability,
            'tensorrt': tensorrt_version(), 'precision': precision, 'max_people': max_people,
            'size_bytes': path.stat().st_size, 'vertex_error_mm': error_mm}


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Removes an engine that could not be measured, also on ctrl-C: it must not be found."""
    try:
        yield
    except BaseException:
        remove_plan(path)
        raise


def _gate(engine: TensorRtRuntime, reference: TorchRuntime) -> float:
    """The vertices' distance, mm, of the worst batch size.

    Raises:
        RuntimeError: it is beyond the gate.
    """
    crops = parity_crops(engine.crop_size, max(NUM_PARITY_CROPS, engine.max_people))
    expected = reference.run(crops).vertices
    error_mm = max(vertex_error_mm(np.concatenate([
        engine.run(crops[start:start + size]).vertices for start in range(0, len(crops), size)
    ]), expected) for size in batch_sizes(engine.max_people))
    if not error_mm <= GATES_MM[engine.precision]:
        instead = ('Use the torch runtime' if engine.precision == 'f32' else
                   'Build it in float32 (--precision f32)')
        raise RuntimeError(
            f'the TensorRT engine is {error_mm:.3f} mm off PyTorch, allowed in {engine.precision} '
            f'are {GATES_MM[engine.precision]} mm; nothing was kept. {instead}, and report this '
            'with what decomr doctor says')
    return error_mm
