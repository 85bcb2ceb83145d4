"""The network in ONNX Runtime, on the CPU. Imports neither PyTorch nor the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

try:
    import onnxruntime
except ImportError as error:
    raise ImportError('ONNX Runtime is not installed: pip install onnxruntime') from error

from decomr_core.assets import BUILTIN
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.exported import INPUT_NAME, OUTPUT_NAMES, exported_model
from decomr_core.structures import NetworkOutput

__all__ = ['OnnxRuntime', 'run_onnx']


class OnnxRuntime:
    """Runs on the CPU, float32.

    Attributes:
        name, precision, crop_size, topology: see `Runtime`.
    """

    name = 'onnxruntime'
    precision = 'f32'

    def __init__(self, weights: str | Path = 'rt', num_threads: int = 0,
                 body: str | Path = BUILTIN, uv_map: str | Path = BUILTIN) -> None:
        """Loads the network, exported first if it never was on this machine.

        Args:
            weights: a shipped network by name or a safetensors file by path.
            num_threads: CPU threads; 0: all cores.
            body: the body that the network was trained for, by name or path.
            uv_map: its UV map, by name or path.

        Raises:
            FileNotFoundError: there are no such weights.
            ValueError: a file is damaged.
        """
        model = exported_model(weights, body, uv_map)
        self.crop_size, self.topology = model.crop_size, model.topology
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        try:
            self._session = _session(model.onnx_path, options)
        except Exception as error:  # its errors have no base of their own
            raise ValueError(model.damage(str(error).splitlines()[0])) from error
        model.check_names((node.name for node in self._session.get_inputs()),
                          (node.name for node in self._session.get_outputs()))

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; numpy arrays come back."""
        check_crops(images, self.crop_size)
        # One by one, as OpenVINO: the same rounding for any number of people.
        results = [self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: image[None]})
                   for image in images]
        return NetworkOutput(*(np.concatenate(parts) for parts in zip(*results, strict=True)))


def run_onnx(path: str | Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a model file once, as it is: for checks, not for video.

    Args:
        path: of the .onnx file.
        images: (B, S, S, 3) uint8 RGB.

    Returns:
        The outputs by name.
    """
    session = _session(path, onnxruntime.SessionOptions())
    names = [node.name for node in session.get_outputs()]
    results = [session.run(names, {INPUT_NAME: image[None]}) for image in images]
    return {name: np.concatenate(parts)
            for name, parts in zip(names, zip(*results, strict=True), strict=True)}


def _session(path: str | Path,
             options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
