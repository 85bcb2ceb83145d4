"""The network in PyTorch itself: the reference that every other runtime is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from decomr_core.assets import BUILTIN
from decomr_core.body_models import load_body
from decomr_core.checkpoint import load_network
from decomr_core.crop import normalize_images
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes import check_crops
from decomr_core.structures import NetworkOutput
from decomr_core.topology import Topology
from decomr_core.uv.uv_map import load_uv_map

__all__ = ['TorchRuntime', 'load_with_topology']


class TorchRuntime:
    """Runs on the CPU or on a GPU, float32.

    Attributes:
        name, precision, crop_size, topology: see `Runtime`.
        network: the `DecoMR` module.
    """

    name = 'torch'
    precision = 'f32'

    def __init__(self, weights: str | Path = 'rt', device: str = 'cpu',
                 num_threads: int = 0, body: str | Path = BUILTIN,
                 uv_map: str | Path = BUILTIN) -> None:
        """Loads the weights.

        Args:
            weights: a shipped network by name or a safetensors file by path.
            device: `cpu`, `cuda`, `cuda:0`, ...
            num_threads: CPU threads of PyTorch in the whole process; 0: as they are.
            body: the body that the network was trained for, by name or path.
            uv_map: its UV map, by name or path.

        Raises:
            RuntimeError: this PyTorch has no such device.
        """
        self.device = torch.device(device)
        if self.device.type == 'cuda' and not torch.cuda.is_available():
            raise RuntimeError(f'device is {device!r}, but this PyTorch ({torch.__version__}) '
                               "sees no GPU; use device='cpu'")
        if num_threads:
            torch.set_num_threads(num_threads)
        network, self.topology = load_with_topology(weights, body, uv_map)
        self.network = network.to(self.device)
        self.crop_size = network.config.crop_size

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> NetworkOutput:
        """Runs the network on images (B, S, S, 3) uint8 RGB; numpy arrays come back."""
        check_crops(images, self.crop_size)
        output = self.network(normalize_images(torch.from_numpy(images).to(self.device)))
        return NetworkOutput(*(getattr(output, name).float().cpu().numpy() for name in (
            'iuv', 'vertices', 'joints', 'camera', 'location_map')))


def load_with_topology(weights: str | Path = 'rt', body: str | Path = BUILTIN,
                       uv_map: str | Path = BUILTIN) -> tuple[DecoMR, Topology]:
    """A trained network and the topology of its body.

    Args:
        weights: a shipped network by name or a safetensors file by path.
        body: the body that the network was trained for, by name or path.
        uv_map: its UV map, by name or path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is damaged, or the three do not belong together.
    """
    loaded_body = load_body(body)
    loaded_map = load_uv_map(uv_map, loaded_body)
    network = load_network(weights, loaded_body, loaded_map)
    return network, Topology.from_body(loaded_body, loaded_map)
