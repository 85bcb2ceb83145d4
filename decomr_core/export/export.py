"""Exports DecoMR to ONNX and OpenVINO, with a parity gate: an export that differs is an error.

The exported graph takes crops (B, S, S, 3) uint8 RGB and includes the normalisation, the network
and the vertices. B is dynamic. The graph depends on the target. For CPUs the warp is a scatter.
For TensorRT the graph needs no plugins. It is written in float32 and in half precision, for which
the graph contains the types.
"""

from __future__ import annotations

import copy
import errno
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from decomr_core.base.assets import BUILTIN, file_hash
from decomr_core.export.onnx_graph import convert_to_half, write_notes
from decomr_core.geometry.crop import network_input
from decomr_core.measures.parity import LIMITS_MM, Parity, measure_parity, parity_crops
from decomr_core.networks.checkpoint import load_with_topology
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.folding import fold_normalisation
from decomr_core.runtimes import available_runtimes
from decomr_core.runtimes.exported_model import EXPORT_VERSION, INPUT_NAME, OUTPUT_NAMES, TARGETS
from decomr_core.uv.warp import WARP_FORMS

__all__ = ['ExportedGraph', 'export_onnx', 'export_weights', 'torch_outputs']

OPSET = 18
"""ONNX operator set: new enough for ScatterElements(add), and below 20, whose GridSample TensorRT
misinterprets."""

WARP_OF_TARGET = {'cpu': 'scatter', 'tensorrt': 'dense'}
ONNX_PRECISIONS = ('f32', 'fp16')

COPIES_ON_DISK = 4
"""Disk space of an export relative to its float32 weights: two models, twice while writing."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

logger = logging.getLogger(__name__)


class ExportedGraph(nn.Module):
    """The network including normalisation, with a tuple as output."""

    def __init__(self, network: DecoMR, warp: str = 'scatter') -> None:
        """Wraps a network without changing it; `warp` is one of `WARP_FORMS`."""
        super().__init__()
        self.network = copy.copy(network)  # shares layers and buffers
        self.network.warp_form = warp

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs named in `OUTPUT_NAMES` for images (B, S, S, 3) uint8 RGB."""
        output = self.network(network_input(images))
        return tuple(getattr(output, name) for name in OUTPUT_NAMES)


def export_weights(
    weights: str | Path,
    folder: str | Path,
    body: str | Path = BUILTIN,
    uv_map: str | Path = BUILTIN,
    target: str = 'cpu',
) -> None:
    """Exports a trained network for a target into a new folder, atomically.

    Args:
        weights: a safetensors file by path, or a shipped network by name.
        folder: the folder to create; if another process creates it meanwhile, its files are kept.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.
        target: `cpu` (ONNX Runtime and, if it is installed, OpenVINO) or `tensorrt` (float32 and,
            if it passes its limit, half precision).

    Raises:
        ValueError: there is no such target.
        RuntimeError: the export differs from PyTorch, no engine for the comparison is installed,
            or the disk is full.
    """
    if target not in TARGETS:
        raise ValueError(f'target is {target!r}, expected one of: {", ".join(TARGETS)}')
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    logger.info(
        'exporting %s for %s, once per weights file; this takes about 15 s on two idle cores',
        weights,
        target,
    )
    network, topology = load_with_topology(weights, body, uv_map)
    with _new_folder(folder, network) as part:
        logger.info('export, step 1 of 3: writing ONNX')
        topology.save(part / 'topology.npz')
        export_onnx(network, part / 'model.onnx', WARP_OF_TARGET[target])
        measure = _measure_cpu if target == 'cpu' else _measure_tensorrt
        parity, times_ms = measure(network, part)
        _check_float32(parity)
        info = {
            **_origin(weights, network, target),
            'parity': {name: values.to_dict() for name, values in parity.items()},
            'openvino_ms': times_ms,
            'passes_bf16': _passes(parity, 'bf16'),
            'passes_fp16': _passes(parity, 'fp16'),
        }
        for path in part.glob('*.onnx'):
            write_notes(path, _notes(info))
        (part / 'info.json').write_text(json.dumps(info, indent=1))


def export_onnx(
    network: DecoMR, path: str | Path, warp: str = 'scatter', precision: str = 'f32'
) -> None:
    """Writes a network as ONNX, with a dynamic batch size.

    Args:
        network: the network, in eval mode.
        path: the file to write.
        warp: `scatter`, the fastest on CPUs, or `dense`, which needs no plugin in TensorRT.
        precision: `f32`, or `fp16` for mixed precision (`convert_to_half`).

    Raises:
        ValueError: warp or precision is unknown, or a weight is out of range for `fp16`.
    """
    for name, value, known in (
        ('warp', warp, WARP_FORMS),
        ('precision', precision, ONNX_PRECISIONS),
    ):
        if value not in known:
            raise ValueError(f'{name} is {value!r}, expected one of: {", ".join(known)}')
    size = network.config.crop_size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about constants and deprecation; the parity gate decides
        # The older exporter takes a tenth of the newer one's time and needs no further package.
        torch.onnx.export(
            ExportedGraph(fold_normalisation(network), warp).eval(),
            (example,),
            str(path),
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            opset_version=OPSET,
            dynamic_axes={name: {0: 'B'} for name in (INPUT_NAME, *OUTPUT_NAMES)},
        )
    if precision == 'fp16':
        convert_to_half(path)


def torch_outputs(network: DecoMR, crops: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of PyTorch by name, float32, for crops (B, S, S, 3) uint8 RGB."""
    with torch.inference_mode():
        parts = [
            ExportedGraph(network, network.warp_form)(torch.from_numpy(crop[None]))
            for crop in crops
        ]  # one by one, because preset `paper` needs much memory
    return {
        name: torch.cat(values).numpy()
        for name, values in zip(OUTPUT_NAMES, zip(*parts, strict=True), strict=True)
    }


def _measure_cpu(network: DecoMR, folder: Path) -> tuple[dict[str, Parity], dict[str, float]]:
    """Parity by engine and precision, and the time of a crop in OpenVINO, ms, by precision.

    It also writes the OpenVINO model if OpenVINO is installed.
    """
    crops, expected = _reference(network)
    parity, times_ms = {}, {}
    engines = available_runtimes()
    if 'openvino' in engines:
        from decomr_core.runtimes.openvino_runtime import convert_onnx, cpu_precisions, run_model

        convert_onnx(folder / 'model.onnx', folder / 'model.xml')
        made = run_model(folder / 'model.xml', crops, cpu_precisions())
        for precision, (outputs, time_ms) in made.items():
            times_ms[precision] = time_ms
            parity[f'openvino {precision}'] = measure_parity(outputs, expected)
    if 'onnxruntime' in engines:
        from decomr_core.runtimes.onnxruntime_runtime import run_onnx

        parity['onnxruntime f32'] = measure_parity(
            run_onnx(folder / 'model.onnx', crops), expected
        )
    return parity, times_ms


def _measure_tensorrt(network: DecoMR, folder: Path) -> tuple[dict[str, Parity], dict[str, float]]:
    """Parity by precision, in ONNX Runtime; keeps a half-precision model if it passes.

    Nothing is timed.
    """
    if 'onnxruntime' not in available_runtimes():
        return {}, {}
    from decomr_core.runtimes.onnxruntime_runtime import run_onnx

    crops, expected = _reference(network)
    parity = {'onnxruntime f32': measure_parity(run_onnx(folder / 'model.onnx', crops), expected)}
    half_path = folder / 'model_fp16.onnx'
    shutil.copyfile(folder / 'model.onnx', half_path)
    try:
        convert_to_half(half_path)
        parity['onnxruntime fp16'] = measure_parity(run_onnx(half_path, crops), expected)
    except ValueError as error:
        logger.warning('the network is not exported in half precision: %s', error)
    if not _passes(parity, 'fp16'):
        half_path.unlink()
    return parity, {}


def _reference(network: DecoMR) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Crops (B, S, S, 3) uint8 RGB, and PyTorch's outputs for them."""
    crops = parity_crops(network.config.crop_size)
    logger.info('export, step 2 of 3: running PyTorch on %d crops', len(crops))
    expected = torch_outputs(network, crops)
    logger.info('export, step 3 of 3: running the export on the same crops')
    return crops, expected


def _passes(parity: Mapping[str, Parity], precision: str) -> bool:
    """Whether a precision was measured and passes in all engines."""
    measured = [values for name, values in parity.items() if name.endswith(f' {precision}')]
    return bool(measured) and all(values.passes(precision) for values in measured)


def _check_float32(parity: Mapping[str, Parity]) -> None:
    """Checks that float32 was measured and passes in all engines.

    Raises:
        RuntimeError: it was not measured, or an engine exceeds the limit.
    """
    if not parity:
        raise RuntimeError(
            'no engine is installed in which the export could be compared with '
            'PyTorch; nothing was kept: pip install onnxruntime'
        )
    errors = {name: values.vertices_mean_mm for name, values in parity.items()}
    logger.info('vertices of the export against PyTorch, mm: %s', errors)
    for name, values in parity.items():
        if name.endswith(' f32') and not values.passes('f32'):
            raise RuntimeError(
                f'the export in {name} is {errors[name]:.3f} mm off PyTorch, the limit is '
                f'{LIMITS_MM["f32"]} mm; nothing was kept. Use the torch runtime, and report '
                'this with the output of decomr doctor'
            )


def _origin(weights: str | Path, network: DecoMR, target: str) -> dict[str, object]:
    """The origin of an export, for `info.json`."""
    return {
        'crop_size': network.config.crop_size,
        'config': network.config.to_dict(),
        'weights': Path(weights).name,
        'weights_hash': file_hash(weights),
        'body_name': network.body_name,
        'body_hash': network.body_hash,
        'uv_hash': network.uv_hash,
        'export_version': EXPORT_VERSION,
        'target': target,
        'torch': torch.__version__,
    }


def _notes(info: Mapping[str, object]) -> dict[str, str]:
    """Metadata of an ONNX file: the entries of info.json that identify it."""
    names = (
        'weights',
        'weights_hash',
        'body_name',
        'body_hash',
        'uv_hash',
        'export_version',
        'target',
    )
    return {**{name: str(info[name]) for name in names}, 'parity': json.dumps(info['parity'])}


@contextmanager
def _new_folder(folder: Path, network: DecoMR) -> Iterator[Path]:
    """A temporary folder, renamed to `folder` at the end of the block or removed after an error.

    Raises:
        RuntimeError: the disk is full.
    """
    needed = COPIES_ON_DISK * sum(weight.nbytes for weight in network.state_dict().values())
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise RuntimeError(
            _disk_full(folder, f'{free >> 20} MB are free, {needed >> 20} MB are needed')
        )
    part = Path(tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=folder.parent))
    part.chmod(0o755)  # all users may read the result
    try:
        yield part
        _move_into_place(part, folder)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise RuntimeError(_disk_full(folder, error.strerror or str(error))) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _disk_full(folder: Path, reason: str) -> str:
    return (
        f'no disk space for the exported network in {folder.parent} ({reason}); nothing was '
        'kept. Free some space, or choose another folder: DECOMR_CACHE for the cache, --out '
        'for an export'
    )


def _move_into_place(part: Path, folder: Path) -> None:
    """Renames a finished folder; keeps the existing one if another process was faster."""
    try:
        os.rename(part, folder)
    except OSError:
        if not (folder / 'info.json').is_file():
            raise
