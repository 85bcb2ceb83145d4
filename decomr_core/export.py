"""DecoMR -> ONNX -> OpenVINO, with a parity gate: an export that computes something else fails.

The exported graph takes crops as they are cut, (B, S, S, 3) uint8 RGB; normalisation, the network
and the vertices are all inside. B stays open.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from decomr_core.assets import BUILTIN, file_hash
from decomr_core.crop import normalize_images
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes.exported import EXPORT_VERSION, INPUT_NAME, OUTPUT_NAMES
from decomr_core.runtimes.openvino_runtime import convert_onnx, cpu_precisions, run_model
from decomr_core.runtimes.torch_runtime import load_with_topology

__all__ = ['ExportedGraph', 'export_onnx', 'export_weights', 'parity_crops', 'vertex_error_mm']

OPSET = 18
"""ONNX operator set: new enough for ScatterElements(add), older than 20, whose GridSample
TensorRT misreads."""

MAX_ERROR_MM = {'f32': 0.05, 'bf16': 1.0}
"""Distance between the vertices of an export and PyTorch's, mm, that passes. float32 differs by
rounding alone; bf16 has 8 bits of mantissa, and 1 mm is a fiftieth of what the best methods are
wrong by on real people."""

NUM_PARITY_CROPS = 8

logger = logging.getLogger(__name__)


class ExportedGraph(nn.Module):
    """The network with its preparation inside, and a tuple as its output."""

    def __init__(self, network: DecoMR) -> None:
        """Wraps a network."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs named in `OUTPUT_NAMES` for images (B, S, S, 3) uint8 RGB."""
        output = self.network(normalize_images(images))
        return tuple(getattr(output, name) for name in OUTPUT_NAMES)


def export_weights(weights: str | Path, folder: str | Path, body: str | Path = BUILTIN,
                   uv_map: str | Path = BUILTIN) -> None:
    """Writes every form of a trained network into a new folder, all or nothing.

    Args:
        weights: a safetensors file by path, or a shipped network by name.
        folder: made by this; if another process makes it at the same time, its files stay.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.

    Raises:
        RuntimeError: an export does not compute what PyTorch does.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    logger.info('exporting %s; this happens once per weights file', weights)
    network, topology = load_with_topology(weights, body, uv_map)
    part = Path(tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=folder.parent))
    part.chmod(0o755)  # the temporary folder becomes the result, for others to read too
    try:
        export_onnx(network, part / 'model.onnx')
        convert_onnx(part / 'model.onnx', part / 'model.xml')
        errors = _measure_parity(network, part)
        topology.save(part / 'topology.npz')
        info = {
            'crop_size': network.config.crop_size, 'config': network.config.to_dict(),
            'weights': Path(weights).name, 'weights_hash': file_hash(weights),
            'body_name': network.body_name, 'body_hash': network.body_hash,
            'uv_hash': network.uv_hash, 'export_version': EXPORT_VERSION,
            'torch': torch.__version__, 'vertex_error_mm': errors,
            'passes_bf16': errors.get('bf16', np.inf) <= MAX_ERROR_MM['bf16'],
        }
        (part / 'info.json').write_text(json.dumps(info, indent=1))
        _move_into_place(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def export_onnx(network: DecoMR, path: str | Path) -> None:
    """Writes a network as ONNX, with an open batch size.

    Args:
        network: in eval mode.
        path: of the file.
    """
    size = network.config.crop_size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of constants and deprecation; the parity gate decides
        # The older exporter: a tenth of the newer one's time, and no further package.
        torch.onnx.export(
            ExportedGraph(network).eval(), (example,), str(path), dynamo=False,
            input_names=[INPUT_NAME], output_names=list(OUTPUT_NAMES), opset_version=OPSET,
            dynamic_axes={name: {0: 'B'} for name in (INPUT_NAME, *OUTPUT_NAMES)})


def parity_crops(size: int, count: int = NUM_PARITY_CROPS) -> np.ndarray:
    """Crops that exercise the whole network: an upright figure before a rough background.

    Args:
        size: S, px.
        count: B.

    Returns:
        (B, S, S, 3) uint8 RGB, always the same.
    """
    random = np.random.default_rng(0)
    crops = np.empty((count, size, size, 3), np.uint8)
    for crop in crops:
        coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        crop[...] = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        colors = random.integers(0, 256, (6, 3)).tolist()
        points = [(np.array(point) * size).astype(int).tolist() for point in (
            (.5, .3), (.5, .55), (.35, .5), (.65, .45), (.42, .9), (.58, .88), (.5, .17))]
        width = max(1, size // 16)
        for color, (start, end) in zip(colors, ((0, 2), (0, 3), (1, 4), (1, 5), (0, 1)),
                                       strict=False):
            cv2.line(crop, points[start], points[end], color, 2 * width)
        cv2.circle(crop, points[6], width, colors[5], -1)
    return crops


def vertex_error_mm(vertices: np.ndarray, others: np.ndarray) -> float:
    """How far two batches of meshes lie apart: mean over the vertices, median over the batch.

    The median, because the warp rounds u and v to texels: where a pixel lies on the border
    between two, the last bit of a number decides, and that one mesh differs by up to a
    millimetre without anything being wrong.

    Args:
        vertices: (B, V, 3) metres.
        others: (B, V, 3) metres.

    Returns:
        The distance, mm.
    """
    distances = np.linalg.norm(np.asarray(vertices) - np.asarray(others), axis=-1)  # (B, V)
    return float(np.median(distances.mean(axis=1)) * 1e3)


def _measure_parity(network: DecoMR, folder: Path) -> dict[str, float]:
    """Mean vertex error of the OpenVINO model per precision, mm.

    Raises:
        RuntimeError: float32 is beyond its gate.
    """
    crops = parity_crops(network.config.crop_size)
    with torch.inference_mode():
        expected = network(normalize_images(torch.from_numpy(crops))).vertices.numpy()
    errors = {precision: vertex_error_mm(
        run_model(folder / 'model.xml', crops, precision)['vertices'], expected)
        for precision in cpu_precisions()}
    logger.info('vertices of the export against PyTorch, mm: %s', errors)
    if not errors['f32'] <= MAX_ERROR_MM['f32']:
        raise RuntimeError(
            f'the OpenVINO export is {errors["f32"]:.3f} mm off PyTorch, allowed are '
            f'{MAX_ERROR_MM["f32"]} mm; nothing was kept. Use the torch runtime, and report this '
            'with what decomr doctor says')
    return errors


def _move_into_place(part: Path, folder: Path) -> None:
    """Renames a finished folder; keeps the other's where another process was quicker."""
    try:
        os.rename(part, folder)
    except OSError:
        if not (folder / 'info.json').is_file():
            raise
