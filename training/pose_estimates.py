"""Precomputes the poses and joints that a network predicts for rendered people.

    python -m training.pose_estimates --config config/training/train_rt.yaml --weights rt \
        --people 40000 --seed 1 --out estimates

This is the training data of the lifting head (`training.lifting`): 1.5 kB per crop instead of 200.
Several processes with different seeds may write to one folder. Existing files are kept: run an
interrupted command again to continue it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from decomr_core.base.config import NetworkConfig
from decomr_core.geometry.crop import network_input
from decomr_core.networks.alignment import PixelAlignment
from decomr_core.networks.decomr import DecoMR
from training.loop.head_programs import run_rendering
from training.records.tensor_batch import TensorBatch
from training.synthetic.people import SyntheticPeople
from training.synthetic.shards import hash_of_state, read_shards, write_shards
from training.synthetic.synthetic_batch import SyntheticBatch

__all__ = [
    'ComponentFit',
    'PoseEstimates',
    'estimate_poses',
    'estimator_hash',
    'read_estimates',
    'write_estimates',
]

ORIGIN = 'estimator'
ESTIMATING_PARTS = ('cnet.', 'lnet.posed_head.', 'lnet.camera_head.')
"""Parts of the network before the lifting head."""


@dataclass
class PoseEstimates(TensorBatch):
    """What a network predicts before the lifting head, and the truth, for N crops.

    Attributes:
        located: (N, J, 3) of `PixelAlignment.locate_joints`.
        coefficients: (N, K) of the pose components.
        camera: (N, 3) weak perspective.
        true_coefficients: (N, K), those nearest to the true location map.
        true_camera: (N, 3).
        joints: (N, 24, 3) true joints, metres, root frame.
        joints_2d: (N, 24, 3) true x and y in the crop frame, and 1 inside the image, else 0.
    """

    located: Tensor
    coefficients: Tensor
    camera: Tensor
    true_coefficients: Tensor
    true_camera: Tensor
    joints: Tensor
    joints_2d: Tensor

    def __len__(self) -> int:
        """N, the number of crops."""
        return len(self.located)


class ComponentFit:
    """Least squares fit of a network's pose components to location maps.

    Args:
        network: has pose components.

    Raises:
        ValueError: the network has none.
    """

    def __init__(self, network: DecoMR) -> None:
        components = network.lnet.pose_components
        if components is None:
            raise ValueError('the network has no pose components; use weights of the preset rt')
        with torch.no_grad():
            self.mapper = network.location_mapper
            self._is_inside = network.location_mapper.mask.flatten() > 0
            nothing = components.new_zeros(1, components.shape[1])
            self._still = self._texels(network.lnet.posed_map(nothing))
            inside = components.unflatten(0, (3, -1))[:, self._is_inside].flatten(0, 1)
            self._solution = torch.linalg.pinv(inside.double()).float()

    def __call__(self, location_maps: Tensor) -> Tensor:
        """(B, 3, R, R) location maps, metres, to coefficients (B, K)."""
        return (self._texels(location_maps.float()) - self._still) @ self._solution.T

    def _texels(self, location_maps: Tensor) -> Tensor:
        """(B, 3 n) points of the n texels inside the UV map."""
        return location_maps.flatten(2)[:, :, self._is_inside].flatten(1)


def estimator_hash(network: DecoMR) -> str:
    """The sha256 of the weights before the lifting head."""
    state = network.state_dict()
    return hash_of_state(
        {name: value for name, value in state.items() if name.startswith(ESTIMATING_PARTS)}
    )


@torch.inference_mode()
def estimate_poses(network: DecoMR, fit: ComponentFit, batch: SyntheticBatch) -> PoseEstimates:
    """Runs the parts of a network before the lifting head.

    Args:
        network: locates joints (`NetworkConfig.locates_joints`), in evaluation mode.
        fit: of this network.
        batch: people, with images of the network's crop size.
    """
    dense = network.predict_iuv(network_input(batch.images))
    pose = network.lnet.pose(dense.global_features)
    assert dense.joint_heatmaps is not None and pose.coefficients is not None
    maps = network.location_mapper.location_map_from_vertices(batch.vertices)
    return PoseEstimates(
        PixelAlignment.locate_joints(dense.joint_heatmaps),
        pose.coefficients,
        pose.camera,
        fit(maps),
        batch.camera.clone(),
        batch.joints.clone(),
        batch.joints_2d.clone(),
    )


def write_estimates(network: DecoMR, people: SyntheticPeople, count: int, out: Path) -> None:
    """Renders people and writes what a network predicts for them.

    Existing files are kept.

    Args:
        network: locates joints, in evaluation mode.
        people: renders the people.
        count: number of people, rounded up to whole files.
        out: folder of the files.

    Raises:
        ValueError: a file in the folder comes from other weights.
        OSError: the folder cannot be written.
    """
    fit = ComponentFit(network)
    make = functools.partial(estimate_poses, network, fit)
    write_shards(out, people, count, make, ORIGIN, estimator_hash(network))


def read_estimates(folders: list[Path], estimator: str) -> PoseEstimates:
    """Reads all estimates of some folders.

    Args:
        folders: folders written by `write_estimates`.
        estimator: required hash of the weights before the lifting head.

    Raises:
        FileNotFoundError: a folder has no estimates.
        ValueError: a file is damaged, or comes from other weights.
    """
    return read_shards(PoseEstimates, folders, ORIGIN, estimator, 'training.pose_estimates')


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_rendering('training.pose_estimates', __doc__, _lack, write_estimates, arguments)


def _lack(config: NetworkConfig) -> str:
    return '' if config.locates_joints else 'does not locate joints'


if __name__ == '__main__':
    raise SystemExit(main())
