"""The network in PyTorch itself: the reference that every other runtime is compared with.

On a CPU it runs step by step, as it is. On a GPU batch normalisation is folded into the weights,
and batches are filled up to a few sizes, each of which is recorded at start-up as a CUDA graph:
one launch instead of some hundred.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decomr_core.base.structures import NetworkOutput
from decomr_core.geometry.crop import image_statistics, normalize_images
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes import check_crops
from decomr_core.runtimes.batches import DEFAULT_MAX_PEOPLE, batch_sizes
from decomr_core.runtimes.exported_model import OUTPUT_NAMES
from decomr_core.runtimes.torch.cuda import BatchRunner, CudaQueue, find_device, memory_told
from decomr_core.runtimes.torch.folding import fold_normalisation
from decomr_core.runtimes.torch.precision import (
    arithmetic,
    check_precision,
    mixed_network,
    remembered_parity,
)
from decomr_core.uv.topology import Topology

__all__ = ['PackedNetwork', 'TorchRuntime', 'check_options']


class TorchRuntime:
    """Runs on the CPU or on a GPU.

    Attributes:
        name, precision, crop_size, topology: see `Runtime`; precision also `tf32` and `fp16`.
        network: the `DecoMR` module; on a GPU a copy with other weights.
        device: where it is.
    """

    name = 'torch'

    def __init__(self, network: DecoMR, topology: Topology, device: str | int = 'cpu',
                 num_threads: int = 0, *, precision: str = 'auto',
                 max_people: int = DEFAULT_MAX_PEOPLE, channels_last: bool | None = None,
                 weights: Path | None = None) -> None:
        """Takes a network; on a GPU, runs and records every batch size.

        Args:
            network: float32, in eval mode; it may be moved to the device.
            topology: of its body.
            device: `cpu`, `cuda`, `cuda:0`, ... or the number of a GPU.
            num_threads: CPU threads of PyTorch in the whole process; 0: as they are.
            precision: `f32`, `tf32`, `bf16`, `fp16` or `auto`: f32 on a CPU; on a GPU fp16 if
                its vertices are within their gate of those in f32 on this GPU, which is
                measured at the first start and remembered, else f32.
            max_people: of one batch on a GPU; more of them run in several batches.
            channels_last: whether the channels of a pixel lie side by side in memory, as
                half precision likes it; None: on a GPU.
            weights: the network's file, by whose hash `auto` on a GPU remembers its measurement.

        Raises:
            RuntimeError: this PyTorch sees no GPU, or its memory does not suffice.
            ValueError: an option is none of those.
        """
        self.device = check_options(device, precision, max_people)
        if precision == 'auto' and self.device.type != 'cpu' and weights is None:
            raise ValueError('precision is auto on a GPU without the file of the network; give '
                             'weights, or a precision')
        if num_threads:
            torch.set_num_threads(num_threads)
        is_on_gpu = self.device.type == 'cuda'
        layout = is_on_gpu if channels_last is None else channels_last
        self.topology = topology
        self.crop_size = network.config.crop_size
        with memory_told(self.device, network, max_people):
            if precision == 'auto':
                precision = _best_precision(network, weights, self.device, layout, max_people)
            self.precision = precision
            self._packed = PackedNetwork(network, self.device, precision, layout, is_on_gpu)
            self.network = self._packed.network
            self._runner = BatchRunner(self._packed, self.crop_size, max_people,
                                       CudaQueue(self.device)) if is_on_gpu else None

    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; numpy arrays come back."""
        check_crops(images, self.crop_size)
        if self._runner is None:
            rows = self._packed(torch.from_numpy(images)).numpy()
        else:
            rows = self._runner.run(images)
        return self._packed.unpack(rows)


class PackedNetwork:
    """A network as one function from crops to one row of numbers for each, on one device.

    One row, so that everything comes back from a GPU in one copy.

    Attributes:
        network: the module; a copy with other weights if it is folded or half.
    """

    def __init__(self, network: DecoMR, device: torch.device, precision: str = 'f32',
                 channels_last: bool = False, is_folded: bool = False) -> None:
        """Moves a network to a device.

        Args:
            network: float32, in eval mode; it is moved itself unless it is folded or half.
            device: where to.
            precision: one of `PRECISIONS`.
            channels_last: whether the channels of a pixel lie side by side in memory.
            is_folded: whether batch normalisation goes into the weights before it.
        """
        self._device, self._precision = device, precision
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        network = fold_normalisation(network) if is_folded else network
        self.network = mixed_network(network, precision).to(device, memory_format=self._format)
        self._statistics = image_statistics(device)
        self._shapes: list[torch.Size] = []

    def __call__(self, images: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 RGB on the device to (B, N) float32 there."""
        with arithmetic(self._device, self._precision):
            normalized = normalize_images(images, self._statistics)
            output = self.network(normalized.contiguous(memory_format=self._format))
            values = [getattr(output, name).float() for name in OUTPUT_NAMES]
            self._shapes = [value.shape[1:] for value in values]
            return torch.cat([value.flatten(1) for value in values], dim=1)

    def unpack(self, rows: np.ndarray) -> NetworkOutput:
        """The rows (B, N) of earlier calls as outputs; nothing is shared with the rows."""
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])
        parts = np.split(rows, ends[:-1], axis=1)
        return NetworkOutput(**{
            name: part.copy().reshape(len(rows), *shape)
            for name, part, shape in zip(OUTPUT_NAMES, parts, self._shapes, strict=True)})


def check_options(device: str | int, precision: str, max_people: int) -> torch.device:
    """Refuses options that no network can run with; before a network is loaded.

    Args:
        device: `cpu`, `cuda`, `cuda:0`, ... or the number of a GPU.
        precision: as `TorchRuntime` takes it.
        max_people: of one batch on a GPU.

    Returns:
        The device.

    Raises:
        RuntimeError: this PyTorch sees no GPU.
        ValueError: an option is none of those.
    """
    found = find_device(device)
    if precision != 'auto':
        check_precision(precision, found)
    batch_sizes(max_people)  # refuses less than one
    return found


def _best_precision(network: DecoMR, weights: Path | None, device: torch.device,
                    channels_last: bool, max_people: int) -> str:
    """What `auto` stands for."""
    if device.type == 'cpu':
        return 'f32'

    def outputs(precision: str, crops: np.ndarray) -> dict[str, np.ndarray]:
        """By name, of crops (B, S, S, 3)."""
        packed = PackedNetwork(network, device, precision, channels_last, is_folded=True)
        rows = [packed(torch.from_numpy(crops[start:start + max_people]).to(device)).cpu()
                for start in range(0, len(crops), max_people)]
        return vars(packed.unpack(torch.cat(rows).numpy()))

    parity = remembered_parity(weights, torch.cuda.get_device_name(device), outputs,
                               network.config.crop_size)
    return 'fp16' if parity.passes('fp16') else 'f32'
