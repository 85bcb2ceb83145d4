"""Runtimes: images in, `NetworkOutput` out, with one interface for all engines.

`decomr_core.estimation.loading` loads a runtime.
"""

from __future__ import annotations

import importlib.util
from typing import Protocol

import numpy as np

from decomr_core.base.structures import NetworkOutput, check_shape
from decomr_core.uv.topology import Topology

__all__ = [
    'DEFAULT_RUNTIME',
    'RUNTIMES',
    'Runtime',
    'available_runtimes',
    'check_crops',
    'check_runtime',
]

RUNTIMES = {
    'torch': ('torch', 'pip install torch'),
    'openvino': ('openvino', 'pip install openvino'),
    'onnxruntime': ('onnxruntime', 'pip install onnxruntime'),
    'tensorrt': ('tensorrt', 'pip install tensorrt cuda-python'),
}
"""The required Python module of each runtime, and the command that installs it."""

DEFAULT_RUNTIME = 'openvino'
"""The fastest runtime on a CPU."""


class Runtime(Protocol):
    """A loaded network.

    Attributes:
        name: name of the runtime in `RUNTIMES`.
        precision: numeric precision, `f32`, `tf32`, `bf16` or `fp16`.
        crop_size: S, px.
        box_margin: how far from the person box the network sees, see `NetworkConfig.box_margin`.
        topology: topology of the output meshes.
    """

    name: str
    precision: str
    crop_size: int
    box_margin: float | None
    topology: Topology

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network.

        Args:
            images: (B, S, S, 3) uint8 RGB; B is at least 1.

        Returns:
            NumPy arrays, float32.
        """


def available_runtimes() -> list[str]:
    """Names of the runtimes whose Python module is installed."""
    return [
        name
        for name, (module, _) in RUNTIMES.items()
        if importlib.util.find_spec(module) is not None
    ]


def check_runtime(name: str) -> None:
    """Checks that a runtime exists and is installed.

    Raises:
        ValueError: there is no such runtime.
        RuntimeError: it is not installed.
    """
    if name not in RUNTIMES:
        raise ValueError(f'runtime is {name!r}, expected one of: {", ".join(RUNTIMES)}')
    module, install = RUNTIMES[name]
    available = available_runtimes()
    if name not in available:
        raise RuntimeError(
            f'the runtime {name} needs the Python module {module}, which is not '
            f'installed ({install}); available: {", ".join(available) or "none"}'
        )


def check_crops(images: np.ndarray, crop_size: int) -> None:
    """Checks that the crops are (B, S, S, 3) uint8 with at least one crop.

    Raises:
        ValueError: they are not; the message gives shape or type.
    """
    check_shape('images', images, (None, crop_size, crop_size, 3))
    if images.dtype != np.uint8:
        raise ValueError(f'images have type {images.dtype}, expected uint8 RGB in [0, 255]')
    if len(images) == 0:
        raise ValueError('images are an empty batch, expected at least one crop')
