"""The OpenVINO runtime, the fastest on a CPU. Imports no PyTorch.

A batch is split into parts of a few fixed sizes, whose kernels are prepared at start-up. With
dynamic sizes OpenVINO would prepare kernels whenever the number of people in a video changes.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

try:
    import openvino
except ImportError as error:
    raise ImportError('OpenVINO is not installed: pip install openvino') from error

from decomr_core.base.cache import cache_folder, find_cached, is_writable
from decomr_core.base.structures import NetworkOutput
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.exported_model import INPUT_NAME, OUTPUT_NAMES, ExportedModel

__all__ = [
    'BATCH_SIZES',
    'PRECISIONS',
    'OpenVinoRuntime',
    'choose_precision',
    'compile_model',
    'convert_onnx',
    'cpu_precisions',
    'run_model',
]

HALF_PRECISIONS = {'fp16': 'FP16', 'bf16': 'BF16'}
PRECISIONS = ('f32', *HALF_PRECISIONS)
"""`fp16` and `bf16` (11 and 8 bits of mantissa) are faster on CPUs that support them, with
AVX512-FP16 or AMX. In the order of accuracy."""

FASTER_SHARE = 0.9
"""Half precision is used if it takes at most this share of the time of f32. A network whose
encoder stays float32 may gain nothing, because its values are converted back and forth."""

BATCH_SIZES = (4, 1)
"""A batch of four people takes a quarter less time than four single people; larger batches gain
nothing more."""

STAYS_FLOAT32 = re.compile(r'(?!/network/(cnet|lnet)/)|/network/cnet/encoder/(?!layer3/|layer4/)')
"""Names of layers that stay float32 in fp16 and bf16. Outside of the two networks: normalisation,
counting, positions and sums. In a ResNet encoder: the first half, a fifth of the time. Its
rounding errors propagate through all later layers and move u and v of one pixel in ten thousand to
another texel, which was half of the total error. Of a pose network: the whole encoder. In bf16
BlazePose moved the vertices by 58 mm instead of 5, and MoveNet's last features are wrong by a
quarter."""


class OpenVinoRuntime:
    """Runs on the CPU, tuned for latency.

    Attributes:
        name, precision, crop_size, box_margin, topology: see `Runtime`.
    """

    name = 'openvino'

    def __init__(
        self, model: ExportedModel, precision: str = 'auto', num_threads: int = 0
    ) -> None:
        """Loads an exported network.

        Args:
            model: the export for CPUs.
            precision: `f32`, `fp16`, `bf16`, or `auto`: the first of fp16 and bf16 that this CPU
                supports and the export passed, otherwise f32.
            num_threads: CPU threads; 0: all cores.

        Raises:
            ValueError: the precision is unknown or not supported by this CPU, or a file is
                damaged.
        """
        self.crop_size, self.box_margin = model.crop_size, model.box_margin
        self.topology = model.topology
        self.precision = choose_precision(precision, cpu_precisions(), model.info)
        options: dict[str, object] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': _hint(self.precision),
        }
        if num_threads:
            options['INFERENCE_NUM_THREADS'] = num_threads
        # One cache folder per precision, because OpenVINO confuses kernels of f32 and f16.
        cache_name = f'{model.folder.name}/{self.precision}'
        self._parts = {size: _FixedBatch(model, size, options, cache_name) for size in BATCH_SIZES}

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; returns NumPy arrays."""
        check_crops(images, self.crop_size)
        results = [
            np.empty((len(images), *shape), np.float32) for shape in self._parts[1].output_shapes
        ]
        start = 0
        for size, part in self._parts.items():
            while len(images) - start >= size:
                part.run(
                    images[start : start + size],
                    [result[start : start + size] for result in results],
                )
                start += size
        return NetworkOutput(*results)


class _FixedBatch:
    """The network for one batch size.

    Attributes:
        output_shapes: shapes of `OUTPUT_NAMES` without the batch axis.
    """

    def __init__(
        self, model: ExportedModel, size: int, options: dict[str, object], cache_name: str
    ) -> None:
        try:
            graph = _core().read_model(model.openvino_path)
        except RuntimeError as error:
            raise ValueError(model.damage(str(error).splitlines()[-1])) from error
        model.check_names(
            (name for port in graph.inputs for name in port.names),
            (name for port in graph.outputs for name in port.names),
        )
        graph.reshape({INPUT_NAME: [size, model.crop_size, model.crop_size, 3]})
        self._request = _compiled(graph, options, cache_name).create_infer_request()
        self._input = self._request.get_tensor(INPUT_NAME)
        self._outputs = [self._request.get_tensor(name) for name in OUTPUT_NAMES]
        self.output_shapes = [tuple(tensor.shape)[1:] for tensor in self._outputs]

    def run(self, images: np.ndarray, results: Sequence[np.ndarray]) -> None:
        """Runs one full batch and writes the outputs into `results`."""
        self._input.data[:] = images
        self._request.infer()
        for result, tensor in zip(results, self._outputs, strict=True):
            result[:] = tensor.data


def choose_precision(requested: str, supported: Sequence[str], info: dict) -> str:
    """Chooses one of `PRECISIONS`.

    Args:
        requested: one of `PRECISIONS` or `auto`.
        supported: precisions that the CPU supports.
        info: `info` of the exported model, with the measured parity and times.

    Raises:
        ValueError: the precision is unknown or not supported by this CPU.
    """
    if requested == 'auto':
        fast = [
            name
            for name in HALF_PRECISIONS
            if name in supported and info[f'passes_{name}'] and _is_faster(name, info)
        ]
        return [*fast, 'f32'][0]
    if requested not in PRECISIONS:
        raise ValueError(
            f'precision is {requested!r}, expected one of: auto, {", ".join(PRECISIONS)}'
        )
    if requested not in supported:
        raise ValueError(
            f'precision is {requested}, but this CPU has no {requested} arithmetic; use f32'
        )
    return requested


def _is_faster(precision: str, info: dict) -> bool:
    """Whether the export has measured that a half precision is faster; True if it has not."""
    times_ms = info.get('openvino_ms', {})
    if not {precision, 'f32'} <= times_ms.keys():  # made on a CPU without this precision
        return True
    return times_ms[precision] <= FASTER_SHARE * times_ms['f32']


def cpu_precisions() -> tuple[str, ...]:
    """The `PRECISIONS` that this CPU supports."""
    capabilities = _core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return (
        'f32',
        *(name for name, capability in HALF_PRECISIONS.items() if capability in capabilities),
    )


def convert_onnx(onnx_path: str | Path, path: str | Path) -> None:
    """Converts an ONNX file to OpenVINO, float32, and marks layers that must stay float32.

    Args:
        onnx_path: the ONNX file of the export for CPUs.
        path: the .xml file to write; the .bin file with the weights is written beside it.
    """
    openvino.save_model(openvino.convert_model(str(onnx_path)), str(path), compress_to_fp16=False)
    tree = ElementTree.parse(path)
    for layer in tree.getroot().iterfind('layers/layer'):
        is_data = layer.get('type') in ('Const', 'Parameter')
        if is_data or not STAYS_FLOAT32.match(layer.get('name', '')):
            continue
        notes = layer.find('rt_info')
        if notes is None:
            notes = ElementTree.Element('rt_info')
            layer.insert(0 if layer.find('data') is None else 1, notes)
        # OpenVINO's conversion to half precision skips layers with this attribute.
        ElementTree.SubElement(notes, 'attribute', name='precise', version='0')
    tree.write(path, encoding='utf-8', xml_declaration=True)


def compile_model(path: str | Path, options: dict[str, object]) -> openvino.InferRequest:
    """Compiles any other model file for the CPU, tuned for latency.

    Args:
        path: the .onnx or .xml file; its name is also that of the compiled model in the cache.
        options: additional options of OpenVINO.

    Raises:
        RuntimeError: the file is damaged.
    """
    graph = _core().read_model(path)
    return _compiled(
        graph, {'PERFORMANCE_HINT': 'LATENCY', **options}, Path(path).stem
    ).create_infer_request()


def run_model(
    path: str | Path, images: np.ndarray, precisions: Sequence[str]
) -> dict[str, tuple[dict[str, np.ndarray], float]]:
    """Runs a model file once in each precision, without tuning, for checks.

    The precisions take turns image by image, so other load on the machine slows all of them.

    Args:
        path: the .xml file.
        images: (B, S, S, 3) uint8 RGB.
        precisions: some of `PRECISIONS`.

    Returns:
        The outputs by name, and the median time of an image, ms, of each precision.
    """
    graph = _core().read_model(path)
    graph.reshape({INPUT_NAME: [1, *images.shape[1:]]})
    requests = {}
    for precision in precisions:
        options = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': _hint(precision)}
        requests[precision] = _core().compile_model(graph, 'CPU', options).create_infer_request()
    results: dict[str, list[list[np.ndarray]]] = {precision: [] for precision in precisions}
    times_s: dict[str, list[float]] = {precision: [] for precision in precisions}
    for image in images:  # one by one, because preset `paper` needs much memory
        for precision, request in requests.items():
            started_s = time.perf_counter()
            request.infer({INPUT_NAME: image[None]})
            times_s[precision].append(time.perf_counter() - started_s)
            results[precision].append(
                [request.get_tensor(name).data.copy() for name in OUTPUT_NAMES]
            )
    return {
        precision: (_joined(results[precision]), float(np.median(times_s[precision])) * 1e3)
        for precision in precisions
    }


def _joined(results: Sequence[Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Outputs of single images, each in the order of `OUTPUT_NAMES`, to a batch by name."""
    joined = map(np.concatenate, zip(*results, strict=True))
    return dict(zip(OUTPUT_NAMES, joined, strict=True))


def _compiled(
    graph: openvino.Model, options: dict[str, object], cache_name: str
) -> openvino.CompiledModel:
    """A graph compiled for the CPU; the compiled model is cached for later starts.

    Args:
        graph: the graph of any model.
        options: options of OpenVINO.
        cache_name: name of the cache folder; OpenVINO distinguishes graphs within it.
    """
    name = Path('compiled') / cache_name
    folder = find_cached(name) or cache_folder() / name
    try:
        return _core().compile_model(graph, 'CPU', {**options, 'CACHE_DIR': str(folder)})
    except RuntimeError:
        # OpenVINO wants to replace a cached file that is damaged or from another version.
        if is_writable(folder):
            raise
        return _core().compile_model(
            graph, 'CPU', {**options, 'CACHE_DIR': str(cache_folder() / name)}
        )


def _hint(precision: str) -> str:
    """OpenVINO's name of a precision."""
    return 'f16' if precision == 'fp16' else precision


@functools.cache
def _core() -> openvino.Core:
    """The only core of this process; it is never unloaded.

    On CPUs with AMX, the CPU plugin installs a signal stack for the thread that loads it and frees
    the stack on unloading. If another thread unloads it (as in a garbage collection), the first
    thread keeps a dangling signal stack. The next signal with a Python handler, such as Ctrl-C or
    SIGCHLD, then crashes the process with a segmentation fault.
    """
    return openvino.Core()
