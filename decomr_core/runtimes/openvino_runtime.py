"""The network in OpenVINO: the fastest way on a CPU. Imports neither PyTorch nor the network.

A batch is cut into parts of a few fixed sizes, and each size has its kernels, made at start-up: a
new number of people would make OpenVINO prepare them anew, in the middle of a video.
"""

from __future__ import annotations

import functools
import re
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
from decomr_core.runtimes.exported_model import (
    INPUT_NAME,
    OUTPUT_NAMES,
    ExportedModel,
)

__all__ = ['BATCH_SIZES', 'PRECISIONS', 'OpenVinoRuntime', 'choose_precision', 'compile_model',
           'convert_onnx', 'cpu_precisions', 'run_model']

HALF_PRECISIONS = {'fp16': 'FP16', 'bf16': 'BF16'}
PRECISIONS = ('f32', *HALF_PRECISIONS)
"""`fp16` and `bf16` (11 and 8 bits of mantissa) are faster where the CPU has arithmetic for them:
AVX512-FP16 or AMX. The better ones first."""

BATCH_SIZES = (4, 1)
"""Four people at once take a quarter less time than one after the other, more gain no more."""

STAYS_FLOAT32 = re.compile(
    r'(?!/network/(cnet|lnet)/)|/network/cnet/encoder/(?!layer3/|layer4/)')
"""Layers that fp16 and bf16 leave alone, by how their names begin. Around the two networks: what
normalises, counts, places and adds up. And the encoder: of a ResNet the first half, a fifth of the
time, whose rounding goes through everything behind it and moves u and v of a pixel in ten thousand
across the border between two texels; it was half of the whole error. Of BlazePose all of it: bf16
there moved the vertices by 58 mm instead of 5."""


class OpenVinoRuntime:
    """Runs on the CPU, tuned for latency.

    Attributes:
        name, precision, crop_size, topology: see `Runtime`.
    """

    name = 'openvino'

    def __init__(self, model: ExportedModel, precision: str = 'auto',
                 num_threads: int = 0) -> None:
        """Loads an exported network.

        Args:
            model: the export for CPUs.
            precision: `f32`, `fp16`, `bf16`, or `auto`: fp16, else bf16, if this CPU computes in
                it and the export measured that the vertices stay within its gate, else f32.
            num_threads: CPU threads; 0: all cores.

        Raises:
            ValueError: the precision is unknown or this CPU has no arithmetic for it; a file is
                damaged.
        """
        self.crop_size, self.topology = model.crop_size, model.topology
        self.precision = choose_precision(precision, cpu_precisions(), model.info)
        options = {'PERFORMANCE_HINT': 'LATENCY',
                   'INFERENCE_PRECISION_HINT': _hint(self.precision)}
        if num_threads:
            options['INFERENCE_NUM_THREADS'] = num_threads
        # A folder for each precision: OpenVINO takes kernels of f32 for those of f16.
        kept = f'{model.folder.name}/{self.precision}'
        self._parts = {size: _FixedBatch(model, size, options, kept) for size in BATCH_SIZES}

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; numpy arrays come back."""
        check_crops(images, self.crop_size)
        results = [np.empty((len(images), *shape), np.float32)
                   for shape in self._parts[1].output_shapes]
        start = 0
        for size, part in self._parts.items():
            while len(images) - start >= size:
                part.run(images[start:start + size],
                         [result[start:start + size] for result in results])
                start += size
        return NetworkOutput(*results)


class _FixedBatch:
    """The network for one number of people.

    Attributes:
        output_shapes: of each of `OUTPUT_NAMES`, without the batch.
    """

    def __init__(self, model: ExportedModel, size: int, options: dict[str, object],
                 kept: str) -> None:
        try:
            graph = _core().read_model(model.openvino_path)
        except RuntimeError as error:
            raise ValueError(model.damage(str(error).splitlines()[-1])) from error
        model.check_names((name for port in graph.inputs for name in port.names),
                          (name for port in graph.outputs for name in port.names))
        graph.reshape({INPUT_NAME: [size, model.crop_size, model.crop_size, 3]})
        self._request = _compiled(graph, options, kept).create_infer_request()
        self._input = self._request.get_tensor(INPUT_NAME)
        self._outputs = [self._request.get_tensor(name) for name in OUTPUT_NAMES]
        self.output_shapes = [tuple(tensor.shape)[1:] for tensor in self._outputs]

    def run(self, images: np.ndarray, results: Sequence[np.ndarray]) -> None:
        """Writes the outputs for as many images as this is for."""
        self._input.data[:] = images
        self._request.infer()
        for result, tensor in zip(results, self._outputs, strict=True):
            result[:] = tensor.data


def choose_precision(asked: str, can: Sequence[str], info: dict) -> str:
    """One of `PRECISIONS`, by what was asked, what the CPU can and what the export measured.

    Args:
        asked: one of `PRECISIONS` or `auto`.
        can: what the CPU computes in.
        info: of the exported model.

    Raises:
        ValueError: the precision is unknown or this CPU has no arithmetic for it.
    """
    if asked == 'auto':
        passing = [name for name in HALF_PRECISIONS if name in can and info[f'passes_{name}']]
        return [*passing, 'f32'][0]
    if asked not in PRECISIONS:
        raise ValueError(f'precision is {asked!r}, expected one of: auto, {", ".join(PRECISIONS)}')
    if asked not in can:
        raise ValueError(f'precision is {asked}, but this CPU has no {asked} arithmetic; use f32')
    return asked


def cpu_precisions() -> tuple[str, ...]:
    """The precisions of `PRECISIONS` that this CPU has arithmetic for."""
    can = _core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return ('f32', *(name for name, capability in HALF_PRECISIONS.items() if capability in can))


def convert_onnx(onnx_path: str | Path, path: str | Path) -> None:
    """Writes an ONNX file in OpenVINO's form: float32, and which layers stay so in any precision.

    Args:
        onnx_path: of the export for CPUs.
        path: of the .xml file; the .bin with the weights comes beside it.
    """
    openvino.save_model(openvino.convert_model(str(onnx_path)), str(path),
                        compress_to_fp16=False)
    tree = ElementTree.parse(path)
    for layer in tree.getroot().iterfind('layers/layer'):
        is_data = layer.get('type') in ('Const', 'Parameter')
        if is_data or not STAYS_FLOAT32.match(layer.get('name')):
            continue
        notes = layer.find('rt_info')
        if notes is None:
            notes = ElementTree.Element('rt_info')
            layer.insert(0 if layer.find('data') is None else 1, notes)
        # What OpenVINO calls a layer that its conversion to half precision passes over.
        ElementTree.SubElement(notes, 'attribute', name='precise', version='0')
    tree.write(path, encoding='utf-8', xml_declaration=True)


def compile_model(path: str | Path, options: dict[str, object]) -> openvino.InferRequest:
    """A model file that is no export of our network, on the CPU, tuned for latency.

    Args:
        path: of the .onnx or .xml file. What OpenVINO compiles of it is kept under its name.
        options: of OpenVINO, besides the tuning.

    Raises:
        RuntimeError: the file is damaged.
    """
    graph = _core().read_model(path)
    return _compiled(graph, {'PERFORMANCE_HINT': 'LATENCY', **options},
                     Path(path).stem).create_infer_request()


def run_model(path: str | Path, images: np.ndarray, precision: str) -> dict[str, np.ndarray]:
    """Runs a model file once, as it is: for checks, not for video.

    Args:
        path: of the .xml file.
        images: (B, S, S, 3) uint8 RGB.
        precision: one of `PRECISIONS`.

    Returns:
        The outputs by name.
    """
    graph = _core().read_model(path)
    graph.reshape({INPUT_NAME: [1, *images.shape[1:]]})
    request = _core().compile_model(graph, 'CPU', {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_PRECISION_HINT': _hint(precision)}).create_infer_request()
    found = []
    for image in images:  # one by one: the paper's network takes much memory
        request.infer({INPUT_NAME: image[None]})
        found.append([request.get_tensor(name).data.copy() for name in OUTPUT_NAMES])
    return {name: np.concatenate(values)
            for name, values in zip(OUTPUT_NAMES, zip(*found, strict=True), strict=True)}


def _compiled(graph: openvino.Model, options: dict[str, object], kept: str
              ) -> openvino.CompiledModel:
    """A graph compiled for the CPU; later starts read what this one keeps in a cache.

    Args:
        graph: of any model.
        options: of OpenVINO.
        kept: the folder's name in the cache. OpenVINO tells the graphs in it apart.
    """
    name = Path('compiled') / kept
    folder = find_cached(name) or cache_folder() / name
    try:
        return _core().compile_model(graph, 'CPU', {**options, 'CACHE_DIR': str(folder)})
    except RuntimeError:
        # A file of another OpenVINO or a damaged one, which OpenVINO wants to replace.
        if is_writable(folder):
            raise
        return _core().compile_model(graph, 'CPU', {
            **options, 'CACHE_DIR': str(cache_folder() / name)})


def _hint(precision: str) -> str:
    """What OpenVINO calls a precision."""
    return 'f16' if precision == 'fp16' else precision


@functools.cache
def _core() -> openvino.Core:
    """The one core of this process, never unloaded.

    On CPUs with AMX the CPU plugin gives the thread that loads it a signal stack, and frees that
    stack on unloading. Unloaded from another thread (a garbage collection is enough) the first
    one keeps a stack that is gone, and the next signal with a Python handler, be it ctrl-C or the
    end of a child process, ends the process with a segmentation fault.
    """
    return openvino.Core()
