"""Builds the TensorRT engine of an exported network for this machine.

Like all exports it must pass a parity gate: an engine whose results differ from PyTorch is
removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.base.assets import BUILTIN
from decomr_core.base.cache import cache_folder
from decomr_core.export.cached_exports import exported_model
from decomr_core.measures.parity import LIMITS_MM, NUM_PARITY_CROPS, measure_parity, parity_crops
from decomr_core.networks.checkpoint import load_with_topology
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE, batch_sizes
from decomr_core.runtimes.cuda_device import find_gpu
from decomr_core.runtimes.tensorrt.bindings import tensorrt_version
from decomr_core.runtimes.tensorrt.building import build_plan
from decomr_core.runtimes.tensorrt.engine import checked_key, expected_key
from decomr_core.runtimes.tensorrt.plan import (
    build_command,
    default_precision,
    onnx_of,
    plan_path,
    remove_plan,
)
from decomr_core.runtimes.tensorrt.runtime import TensorRtRuntime
from decomr_core.runtimes.torch.runtime import TorchRuntime

__all__ = ['GATE_OF', 'build_engine']

GATE_OF = {'f32': 'f32', 'tf32': 'bf16', 'fp16': 'fp16'}
"""The entry of `LIMITS_MM` for each precision. tf32 has a 10-bit mantissa and gets the limit of
bf16 (8-bit)."""

logger = logging.getLogger(__name__)


def build_engine(
    weights: str | Path = 'rt',
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    max_people: int = DEFAULT_MAX_PEOPLE,
    precision: str = 'auto',
    device: int = 0,
) -> dict[str, Any]:
    """Builds the engine of a network for a GPU of this machine, next to the cached export.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.
        max_people: largest batch.
        precision: `f32`, `tf32`, `fp16`, or `auto`: `fp16` if the export passed its limit in
            fp16, otherwise `f32`.
        device: CUDA index of the GPU.

    Returns:
        Path, GPU, versions, size, and `vertices_median_mm` as in `Parity`.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: an option is wrong, the network is too inaccurate in this precision, or
            TensorRT cannot parse it.
        RuntimeError: there is no GPU, the build failed, or the engine differs from PyTorch.
    """
    gpu = find_gpu(device)
    model = exported_model(weights, body, uv_map, target='tensorrt')
    precision = default_precision(model) if precision == 'auto' else precision
    key = expected_key(model, gpu, max_people, precision)
    timing_cache = (
        cache_folder() / 'tensorrt' / (f'timing-{key.tensorrt}-{key.compute_capability}.cache')
    )
    path = plan_path(model.folder)
    logger.info(
        'building the TensorRT engine for %s in %s; this takes some minutes', gpu.name, precision
    )
    build_plan(onnx_of(model, precision), path, key, timing_cache)
    with _removed_on_error(path):
        command = build_command(weights, body, uv_map, max_people, precision)
        kept = checked_key(path, model, gpu, max_people, precision, command)
        error_mm = _gate(
            TensorRtRuntime(model, kept, gpu, command),
            TorchRuntime(*load_with_topology(weights, body, uv_map)),
        )
    return {
        'out': str(path),
        'gpu': gpu.name,
        'compute_capability': gpu.compute_capability,
        'tensorrt': tensorrt_version(),
        'precision': precision,
        'max_people': max_people,
        'size_bytes': path.stat().st_size,
        'vertices_median_mm': error_mm,
    }


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Removes an engine after any error or Ctrl-C, so that an unmeasured one is never used."""
    try:
        yield
    except BaseException:
        remove_plan(path)
        raise


def _gate(engine: TensorRtRuntime, reference: TorchRuntime) -> float:
    """`Parity.vertices_median_mm` of the worst batch size.

    Raises:
        RuntimeError: it exceeds the limit.
    """
    crops = parity_crops(engine.crop_size, max(NUM_PARITY_CROPS, engine.max_people))
    expected = vars(reference.run(crops))
    parities = []
    for size in batch_sizes(engine.max_people):
        parts = [
            vars(engine.run(crops[start : start + size])) for start in range(0, len(crops), size)
        ]
        outputs = {
            name: np.concatenate([part[name] for part in parts])
            for name in ('iuv', 'vertices', 'joints')
        }
        parities.append(measure_parity(outputs, expected))
    worst = max(parities, key=lambda parity: parity.vertices_median_mm)
    precision = GATE_OF[engine.precision]
    if not all(parity.passes(precision) for parity in parities):
        remedy = (
            'Use the torch runtime'
            if engine.precision == 'f32'
            else 'Build it in float32 (--precision f32)'
        )
        raise RuntimeError(
            f'the TensorRT engine is {worst.vertices_median_mm:.3f} mm off PyTorch in the median '
            f'image and {max(parity.vertices_mean_mm for parity in parities):.3f} mm in the mean, '
            f'the limit in {engine.precision} is {LIMITS_MM[precision]} mm; nothing was kept. '
            f'{remedy}, and report this with the output of decomr doctor'
        )
    return worst.vertices_median_mm
