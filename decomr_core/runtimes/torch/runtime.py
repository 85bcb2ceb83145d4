"""The PyTorch runtime, the reference for all other runtimes.

On a CPU the network runs unchanged. On a GPU, batch normalisation is folded into the weights, and
batches are padded to a few sizes. Each size is recorded at start-up as a CUDA graph, which takes
one launch instead of hundreds.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decomr_core.base.structures import NetworkOutput
from decomr_core.geometry.crop import network_input
from decomr_core.networks.decomr import DecoMR
from decomr_core.networks.folding import fold_normalisation
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE, batch_sizes
from decomr_core.runtimes.exported_model import OUTPUT_NAMES
from decomr_core.runtimes.torch.cuda import (
    BatchRunner,
    CudaQueue,
    explaining_memory_errors,
    find_device,
)
from decomr_core.runtimes.torch.precision import (
    arithmetic,
    cached_parity,
    check_precision,
    mixed_network,
)
from decomr_core.uv.topology import Topology

__all__ = ['PackedNetwork', 'TorchRuntime', 'check_options']


class TorchRuntime:
    """Runs on the CPU or on a GPU.

    Attributes:
        name, precision, crop_size, box_margin, topology: see `Runtime`.
        network: the `DecoMR` module; on a GPU a copy with modified weights.
        device: device of the network.
    """

    name = 'torch'

    def __init__(
        self,
        network: DecoMR,
        topology: Topology,
        device: str | int = 'cpu',
        num_threads: int = 0,
        *,
        precision: str = 'auto',
        max_people: int = DEFAULT_MAX_PEOPLE,
        channels_last: bool | None = None,
        weights: Path | None = None,
    ) -> None:
        """Takes a network; on a GPU, runs and records every batch size.

        Args:
            network: float32, in eval mode; it may be moved to the device.
            topology: topology of its body.
            device: `cpu`, `cuda`, `cuda:0`, ... or the index of a GPU.
            num_threads: CPU threads of PyTorch in the whole process; 0: unchanged.
            precision: `f32`, `tf32`, `bf16`, `fp16` or `auto`: f32 on a CPU; on a GPU fp16 if its
                vertices are within the limit from f32 on this GPU, otherwise f32. This is
                measured at the first start and cached.
            max_people: largest batch on a GPU; more people run in several batches.
            channels_last: whether to use the channels-last memory format, which is faster in half
                precision; None: on a GPU.
            weights: the weights file, whose hash identifies the cached measurement of `auto`.

        Raises:
            RuntimeError: PyTorch finds no GPU, or the GPU is out of memory.
            ValueError: an option is invalid.
        """
        self.device = check_options(device, precision, max_people)
        if precision == 'auto' and self.device.type == 'cpu':
            precision = 'f32'
        elif precision == 'auto' and weights is None:
            raise ValueError(
                'precision auto on a GPU needs the weights file; pass weights, or '
                'choose a precision'
            )
        if num_threads:
            torch.set_num_threads(num_threads)
        is_on_gpu = self.device.type == 'cuda'
        layout = is_on_gpu if channels_last is None else channels_last
        self.topology = topology
        self.crop_size = network.config.crop_size
        self.box_margin = network.config.box_margin
        with explaining_memory_errors(self.device, network, max_people):
            if precision == 'auto' and weights is not None:
                precision = _best_precision(network, weights, self.device, layout, max_people)
            self.precision = precision
            self._packed = PackedNetwork(network, self.device, precision, layout, is_on_gpu)
            self.network = self._packed.network
            self._runner = (
                BatchRunner(self._packed, self.crop_size, max_people, CudaQueue(self.device))
                if is_on_gpu
                else None
            )

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; returns NumPy arrays."""
        check_crops(images, self.crop_size)
        if self._runner is None:
            rows = self._packed(torch.from_numpy(images)).numpy()
        else:
            rows = self._runner.run(images)
        return self._packed.unpack(rows)


class PackedNetwork:
    """A network as one function from crops to one row of numbers per crop, on one device.

    With all outputs in one row, a single transfer from the GPU is enough.

    Attributes:
        network: the module; a copy with modified weights if it is folded or in half precision.
    """

    def __init__(
        self,
        network: DecoMR,
        device: torch.device,
        precision: str = 'f32',
        channels_last: bool = False,
        is_folded: bool = False,
    ) -> None:
        """Moves a network to a device.

        Args:
            network: float32, in eval mode; moved in place unless folded or in half precision.
            device: target device.
            precision: one of `PRECISIONS`.
            channels_last: whether to use the channels-last memory format.
            is_folded: whether to fold batch normalisation into the weights.
        """
        self._device, self._precision = device, precision
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        network = fold_normalisation(network) if is_folded else network
        # The stub of Module.to omits memory_format.
        self.network = mixed_network(network, precision).to(  # type: ignore[call-overload]
            device, memory_format=self._format
        )
        self._shapes: list[torch.Size] = []

    def __call__(self, images: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 RGB to (B, N) float32, both on the device."""
        with arithmetic(self._device, self._precision):
            crops = network_input(images).contiguous(memory_format=self._format)
            output = self.network(crops)
            values = [getattr(output, name).float() for name in OUTPUT_NAMES]
            self._shapes = [value.shape[1:] for value in values]
            return torch.cat([value.flatten(1) for value in values], dim=1)

    def unpack(self, rows: np.ndarray) -> NetworkOutput:
        """Converts rows (B, N) of earlier calls to outputs, which share no memory with them."""
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])
        parts = np.split(rows, ends[:-1], axis=1)
        return NetworkOutput(
            **{
                name: part.copy().reshape(len(rows), *shape)
                for name, part, shape in zip(OUTPUT_NAMES, parts, self._shapes, strict=True)
            }
        )


def check_options(device: str | int, precision: str, max_people: int) -> torch.device:
    """Checks the options before a network is loaded.

    Args:
        device: `cpu`, `cuda`, `cuda:0`, ... or the index of a GPU.
        precision: see `TorchRuntime`.
        max_people: largest batch on a GPU.

    Returns:
        The device.

    Raises:
        RuntimeError: PyTorch finds no GPU.
        ValueError: an option is invalid.
    """
    found = find_device(device)
    if precision != 'auto':
        check_precision(precision, found)
    batch_sizes(max_people)  # raises an error if below 1
    return found


def _best_precision(
    network: DecoMR, weights: Path, device: torch.device, channels_last: bool, max_people: int
) -> str:
    """The precision of `auto` on a GPU."""

    def outputs(precision: str, crops: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name for crops (B, S, S, 3)."""
        packed = PackedNetwork(network, device, precision, channels_last, is_folded=True)
        rows = [
            packed(torch.from_numpy(crops[start : start + max_people]).to(device)).cpu()
            for start in range(0, len(crops), max_people)
        ]
        return vars(packed.unpack(torch.cat(rows).numpy()))

    parity = cached_parity(
        weights, torch.cuda.get_device_name(device), outputs, network.config.crop_size
    )
    return 'fp16' if parity.passes('fp16') else 'f32'
