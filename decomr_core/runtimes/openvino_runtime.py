"""The network in OpenVINO: the fastest way on a CPU. Imports neither PyTorch nor the network.

People run one after the other at batch size 1: on a CPU a batch is not faster per person, and
a new number of people would make OpenVINO prepare its kernels anew, in the middle of a video.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

try:
    import openvino
except ImportError as error:
    raise ImportError('OpenVINO is not installed: pip install openvino') from error

from decomr_core.assets import BUILTIN
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.exported import INPUT_NAME, OUTPUT_NAMES, exported_model
from decomr_core.structures import NetworkOutput

__all__ = ['PRECISIONS', 'OpenVinoRuntime', 'choose_precision', 'convert_onnx', 'cpu_precisions',
           'run_model']

PRECISIONS = ('f32', 'bf16')
"""`bf16` is faster where the CPU has AMX or AVX512-BF16, and 8 bits of mantissa accurate."""


class OpenVinoRuntime:
    """Runs on the CPU, tuned for latency.

    Attributes:
        name, precision, crop_size, topology: see `Runtime`.
    """

    name = 'openvino'

    def __init__(self, weights: str | Path = 'rt', precision: str = 'auto',
                 num_threads: int = 0, body: str | Path = BUILTIN,
                 uv_map: str | Path = BUILTIN) -> None:
        """Loads the network, exported first if it never was on this machine.

        Args:
            weights: a shipped network by name or a safetensors file by path.
            precision: `f32`, `bf16`, or `auto`: bf16 if this CPU computes in it and the export
                measured that the vertices stay within its gate, else f32.
            num_threads: CPU threads; 0: all cores.
            body: the body that the network was trained for, by name or path.
            uv_map: its UV map, by name or path.

        Raises:
            FileNotFoundError: there are no such weights.
            ValueError: the precision is unknown or this CPU has no arithmetic for it; a file is
                damaged.
        """
        model = exported_model(weights, body, uv_map)
        self.crop_size, self.topology = model.crop_size, model.topology
        core = _core()
        self.precision = choose_precision(precision, cpu_precisions(), model.info)
        options = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': self.precision,
                   'CACHE_DIR': str(model.folder / 'compiled')}
        if num_threads:
            options['INFERENCE_NUM_THREADS'] = num_threads
        try:
            graph = core.read_model(model.openvino_path)
        except RuntimeError as error:
            raise ValueError(model.damage(str(error).splitlines()[-1])) from error
        model.check_names((name for port in graph.inputs for name in port.names),
                          (name for port in graph.outputs for name in port.names))
        graph.reshape({INPUT_NAME: [1, self.crop_size, self.crop_size, 3]})
        self._request = core.compile_model(graph, 'CPU', options).create_infer_request()
        self._outputs = [self._request.get_tensor(name) for name in OUTPUT_NAMES]
        self._input = self._request.get_tensor(INPUT_NAME)

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; numpy arrays come back."""
        check_crops(images, self.crop_size)
        results = [np.empty((len(images), *tensor.shape[1:]), np.float32)
                   for tensor in self._outputs]
        for index, image in enumerate(images):
            self._input.data[0] = image
            self._request.infer()
            for result, tensor in zip(results, self._outputs, strict=True):
                result[index] = tensor.data[0]
        return NetworkOutput(*results)


def choose_precision(asked: str, can: Sequence[str], info: dict) -> str:
    """`f32` or `bf16`, by what was asked, what the CPU can and what the export measured.

    Args:
        asked: `f32`, `bf16` or `auto`.
        can: what the CPU computes in.
        info: of the exported model.

    Raises:
        ValueError: the precision is unknown or this CPU has no arithmetic for it.
    """
    if asked == 'auto':
        return 'bf16' if 'bf16' in can and info['passes_bf16'] else 'f32'
    if asked not in PRECISIONS:
        raise ValueError(f'precision is {asked!r}, expected auto, {" or ".join(PRECISIONS)}')
    if asked not in can:
        raise ValueError(f'precision is {asked}, but this CPU has no {asked} arithmetic; use f32')
    return asked


def cpu_precisions() -> tuple[str, ...]:
    """The precisions of `PRECISIONS` that this CPU has arithmetic for."""
    can = _core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return tuple(precision for precision in PRECISIONS if precision == 'f32' or 'BF16' in can)


def convert_onnx(onnx_path: str | Path, path: str | Path) -> None:
    """Writes an ONNX file in OpenVINO's form (.xml and .bin), float32."""
    openvino.save_model(openvino.convert_model(str(onnx_path)), str(path),
                        compress_to_fp16=False)


def run_model(path: str | Path, images: np.ndarray, precision: str) -> dict[str, np.ndarray]:
    """Runs a model file once, as it is: for checks, not for video.

    Args:
        path: of the .xml file.
        images: (B, S, S, 3) uint8 RGB.
        precision: `f32` or `bf16`.

    Returns:
        The outputs by name.
    """
    compiled = _core().compile_model(str(path), 'CPU', {
        'INFERENCE_PRECISION_HINT': precision})
    outputs = compiled(images)
    return {name: outputs[name] for name in OUTPUT_NAMES}


@functools.cache
def _core() -> openvino.Core:
    """The one core of this process, never unloaded.

    On CPUs with AMX the CPU plugin gives the thread that loads it a signal stack, and frees that
    stack on unloading. Unloaded from another thread (a garbage collection is enough) the first
    one keeps a stack that is gone, and the next signal with a Python handler, be it ctrl-C or the
    end of a child process, ends the process with a segmentation fault.
    """
    return openvino.Core()
