"""Precomputes the encoder's output for rendered people, as training data of the pose heads.

    python -m training.summaries --config config/training/train_rt.yaml --weights rt \
        --people 50000 --seed 1 --out summaries

While the encoder is frozen, its output (the *summary* of a crop) can be stored instead of the
image: 19 kB per crop instead of 200, and no encoder pass in each epoch. `training.pose_heads`
trains on such a folder. Each person is stored twice, the second time mirrored. Several processes
with different seeds may write to one folder. Existing files are kept: run an interrupted command
again to continue it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from decomr_core.base.config import NetworkConfig
from decomr_core.body_models import BodyModel
from decomr_core.body_models.joints import MIRRORED_JOINTS
from decomr_core.networks.decomr import DecoMR
from training.loop.bfloat16 import has_bfloat16
from training.loop.head_programs import run_rendering
from training.records.root_frame import root_frame_body
from training.records.rotations import MIRROR
from training.records.tensor_batch import TensorBatch
from training.synthetic.people import SyntheticPeople
from training.synthetic.shards import hash_of_state, read_shards, write_shards
from training.synthetic.synthetic_batch import SyntheticBatch

__all__ = [
    'Summaries',
    'encoder_hash',
    'mirrored',
    'read_summaries',
    'summarise',
    'write_summaries',
]

ORIGIN = 'encoder'
LARGEST_HALF = 60000.0
"""The largest float16 is 65504."""


@dataclass
class Summaries(TensorBatch):
    """The encoder's output and the truth for N crops, without the images.

    Attributes:
        summaries: (N, S) float16, from `for_decoder` of the encoder's features.
        location_maps: (N, 3, R, R) float16, metres, root frame.
        joints: (N, 24, 3) float32, metres, root frame.
        joints_2d: (N, 24, 3) float32: x and y in the crop frame, and 1 inside the image, else 0.
    """

    summaries: Tensor
    location_maps: Tensor
    joints: Tensor
    joints_2d: Tensor

    def __len__(self) -> int:
        """N, the number of crops."""
        return len(self.summaries)


def encoder_hash(network: DecoMR) -> str:
    """The sha256 of an encoder's weights, which identifies the encoder."""
    return hash_of_state(network.cnet.encoder.state_dict())


def mirrored(batch: SyntheticBatch, body: BodyModel) -> SyntheticBatch:
    """Mirrors people left to right, in the image and in the body.

    Args:
        batch: people of a body with a symmetric shape space, such as the built-in one.
        body: this body.

    Returns:
        The batch with mirrored images, vertices, joints, joints_2d and pose. IUV image, mask and
        camera are *not* mirrored.
    """
    order = list(MIRRORED_JOINTS)
    pose = batch.pose[:, order] * torch.as_tensor(MIRROR, dtype=batch.pose.dtype)
    vertices, joints = root_frame_body(body, pose, batch.shape)
    joints_2d = batch.joints_2d[:, order] * torch.tensor([-1.0, 1.0, 1.0])
    return SyntheticBatch(
        batch.images.flip(2),
        batch.iuv,
        batch.mask,
        vertices,
        joints,
        joints_2d,
        batch.camera,
        pose,
        batch.shape,
    )


@torch.inference_mode()
def summarise(network: DecoMR, batch: SyntheticBatch) -> Summaries:
    """Summarises a batch; the encoder computes in bfloat16 where the device has it.

    Args:
        network: has a pretrained encoder, in evaluation mode.
        batch: people, with images of the network's crop size.
    """
    images = batch.images.permute(0, 3, 1, 2).float() / 255
    images = images.contiguous(memory_format=torch.channels_last)
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(device)):
        summaries = network.cnet.encoder(images).for_decoder().summary
    maps = network.location_mapper.location_map_from_vertices(batch.vertices)
    return Summaries(
        summaries.float().clamp(-LARGEST_HALF, LARGEST_HALF).half(),
        maps.half(),
        batch.joints.clone(),
        batch.joints_2d.clone(),
    )


def write_summaries(network: DecoMR, people: SyntheticPeople, count: int, out: Path) -> None:
    """Renders people and writes their summaries.

    Existing files are kept.

    Args:
        network: its encoder computes the summaries.
        people: renders the people.
        count: number of people, rounded up to whole files.
        out: folder of the files.

    Raises:
        ValueError: a file in the folder comes from another encoder.
        OSError: the folder cannot be written.
    """

    def both_sides(batch: SyntheticBatch) -> Summaries:
        """The summaries of people and of their mirror images."""
        return Summaries.concatenate(
            [summarise(network, batch), summarise(network, mirrored(batch, people.body))]
        )

    write_shards(out, people, count, both_sides, ORIGIN, encoder_hash(network))


def read_summaries(folders: list[Path], encoder: str) -> Summaries:
    """Reads all summaries of some folders.

    Args:
        folders: folders written by `write_summaries`.
        encoder: required hash of the encoder.

    Raises:
        FileNotFoundError: a folder has no summaries.
        ValueError: a file is damaged, or comes from another encoder.
    """
    return read_shards(Summaries, folders, ORIGIN, encoder, 'training.summaries')


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_rendering('training.summaries', __doc__, _lack, write_summaries, arguments)


def _lack(config: NetworkConfig) -> str:
    return '' if config.is_pretrained else 'has no pretrained encoder'


if __name__ == '__main__':
    raise SystemExit(main())
