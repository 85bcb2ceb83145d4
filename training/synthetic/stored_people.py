"""Rendered people in files; training takes them in random order, mirrored, in other colours."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from decomr_core.body_models import MIRRORED_JOINTS, BodyModel
from decomr_core.uv.uv_map import UVMap
from training.records.person_batch import PersonBatch
from training.records.recolouring import recolour
from training.records.tensor_batch import TensorBatch
from training.records.workers import end_workers_at_exit, set_up_worker
from training.synthetic.people import SyntheticPeople
from training.synthetic.shards import shard_paths, write_shards
from training.synthetic.synthetic_batch import SyntheticBatch, full_truth

__all__ = ['StoredBatches', 'StoredPeople', 'surface_tag', 'write_people']

ORIGIN = 'body and UV map'
PROGRAM = 'training.render'
MIRRORED_SHARE = 0.5
MAX_ASYMMETRY = 1 / 64
"""Largest mean distance of a UV map's places from those of the other side's, mirrored."""
PREFETCHED_BATCHES = 4
LAST_BATCH = 2**62
"""No training is as long."""
MIRROR_X = (-1.0, 1.0, 1.0)
logger = logging.getLogger(__name__)


@dataclass
class StoredPeople(TensorBatch):
    """What training needs of N rendered people, 300 kB each at 256 px; see `SyntheticBatch`.

    Attributes:
        images: (N, S, S, 3) uint8 RGB.
        iuv: (N, 3, S/4, S/4) float16.
        vertices: (N, V, 3) float16, root frame, m.
        joints: (N, 24, 3) float32, root frame, m.
        joints_2d: (N, 24, 3) float32: x and y in the crop frame, and 1 inside the image, else 0.
    """

    images: Tensor
    iuv: Tensor
    vertices: Tensor
    joints: Tensor
    joints_2d: Tensor


def surface_tag(body: BodyModel, uv_map: UVMap) -> str:
    """A hash of what the labels of rendered people depend on."""
    return hashlib.sha256(f'{body.hash} {uv_map.hash}'.encode()).hexdigest()


def write_people(people: SyntheticPeople, count: int, out: Path) -> None:
    """Renders people and writes files; existing files are kept.

    Args:
        people: renders the people.
        count: number of people, rounded up to whole files.
        out: folder of the files.

    Raises:
        ValueError: a file in the folder is damaged, or is of another body or UV map.
        OSError: the folder cannot be written.
    """

    def stored(batch: SyntheticBatch) -> StoredPeople:
        """The part of a batch that is stored."""
        return StoredPeople(
            batch.images, batch.iuv.half(), batch.vertices.half(), batch.joints, batch.joints_2d
        )

    write_shards(out, people, count, stored, ORIGIN, surface_tag(people.body, people.uv_map))


class StoredBatches(Dataset):
    """Training batches of stored people by their number; in an epoch, everybody appears once.

    A batch depends on its number only: a resumed run gets the same images as an uninterrupted one.

    Args:
        folder: written by `write_people`.
        body: the body of the people.
        uv_map: its UV map.
        crop_size: S, required side of the images, px.
        batch_size: people per batch.
        seed: determines the batches.
        rank: number of this training process, of `num_ranks`, which share the people.
        num_ranks: number of training processes.

    Attributes:
        mirrored_share: share of mirrored people; 0 if the UV map is not symmetric.

    Raises:
        FileNotFoundError: the folder has no such files.
        ValueError: a file is damaged, or has another size of images, body or UV map; or there are
            fewer people than in a batch.
    """

    def __init__(
        self,
        folder: Path,
        body: BodyModel,
        uv_map: UVMap,
        crop_size: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        self.paths = shard_paths(folder, ORIGIN, surface_tag(body, uv_map), PROGRAM)
        sizes = [_people_in(path, crop_size) for path in self.paths]
        self.starts = np.cumsum([0, *sizes])
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.num_ranks = rank, num_ranks
        self.batches_per_epoch = self.num_people // (batch_size * num_ranks)
        if not self.batches_per_epoch:
            raise ValueError(
                f'{folder} has {self.num_people} people, fewer than the {batch_size * num_ranks} '
                f'of a batch; render more: python -m {PROGRAM}'
            )
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self.mirrored_vertices = torch.as_tensor(body.data.mirrored_vertices)
        self.mirrored_share = MIRRORED_SHARE if _is_symmetric(body, uv_map) else 0.0
        if not self.mirrored_share:
            logger.info('the UV map is not symmetric, so stored people are not mirrored')

    @property
    def num_people(self) -> int:
        """Number of people in all files."""
        return int(self.starts[-1])

    def loader(self, num_workers: int, first: int = 0) -> DataLoader:
        """The batches from a number on, without end.

        Args:
            num_workers: processes that read; 0 reads in this process.
            first: number of the first batch.
        """
        end_workers_at_exit()
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(first, LAST_BATCH),
            num_workers=num_workers,
            prefetch_factor=PREFETCHED_BATCHES if num_workers else None,
            worker_init_fn=set_up_worker,
        )

    def __getitem__(self, number: int) -> PersonBatch:
        """The batch with a number.

        Raises:
            OSError: a file cannot be read any more.
        """
        epoch, place = divmod(number, self.batches_per_epoch)
        start = (place * self.num_ranks + self.rank) * self.batch_size
        index = self._order_of(epoch)[start : start + self.batch_size]
        people = self._read(index)
        rng = np.random.default_rng((self.seed, self.rank, number))
        is_mirrored = torch.from_numpy(rng.random(len(people)) < self.mirrored_share)
        people = self._mirrored(people, is_mirrored)
        people.images = recolour(people.images, rng)
        return full_truth(
            people.images,
            people.iuv.float(),
            people.vertices.float(),
            people.joints,
            people.joints_2d,
        )

    def _order_of(self, epoch: int) -> np.ndarray:
        """The order (N,) of all people in an epoch, the same in all processes."""
        if self._epoch != epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.num_people)
            self._epoch = epoch
        return self._order

    def _read(self, index: np.ndarray) -> StoredPeople:
        """Reads the people (K,) from their files."""
        rows: list[StoredPeople] = []
        files = np.searchsorted(self.starts, index, side='right') - 1
        for number, row in zip(files, (index - self.starts[files]).tolist(), strict=True):
            with safe_open(self.paths[number], 'pt') as file:
                values = [
                    file.get_slice(item.name)[row : row + 1] for item in fields(StoredPeople)
                ]
            rows.append(StoredPeople(*values))
        return StoredPeople.concatenate(rows)

    def _mirrored(self, people: StoredPeople, is_mirrored: Tensor) -> StoredPeople:
        """Mirrors those people left to right for whom `is_mirrored` (B,) is true."""
        joints = list(MIRRORED_JOINTS)
        flip = torch.tensor(MIRROR_X)
        iuv = people.iuv.flip(3)
        u = torch.where(iuv[:, 0] > 0, 1 - iuv[:, 1], iuv[:, 1])
        mirrored = StoredPeople(
            people.images.flip(2),
            torch.stack([iuv[:, 0], u, iuv[:, 2]], dim=1),
            people.vertices[:, self.mirrored_vertices] * flip.half(),
            people.joints[:, joints] * flip,
            people.joints_2d[:, joints] * flip,
        )
        return StoredPeople(
            *(
                torch.where(
                    is_mirrored.view(-1, *[1] * (getattr(people, item.name).dim() - 1)),
                    getattr(mirrored, item.name),
                    getattr(people, item.name),
                )
                for item in fields(people)
            )
        )


def _people_in(path: Path, crop_size: int) -> int:
    """Number of people in a file.

    Raises:
        ValueError: its images have another size.
    """
    with safe_open(path, 'pt') as file:
        count, size = file.get_slice('images').get_shape()[:2]
    if size != crop_size:
        raise ValueError(
            f'{path} has images of {size} px, but the network takes crops of {crop_size} px; '
            f'render people with data.size {crop_size}'
        )
    return int(count)


def _is_symmetric(body: BodyModel, uv_map: UVMap) -> bool:
    """Whether the mirrored surface has the places (1 - u, v)."""
    places = np.zeros((len(body.v_template), 2))
    places[uv_map.vertex_index] = uv_map.uv
    is_single = np.bincount(uv_map.vertex_index, minlength=len(places)) == 1
    other = np.asarray(body.data.mirrored_vertices)
    is_used = is_single & is_single[other]
    difference = places[other] * (-1, 1) + (1, 0) - places
    return bool(np.abs(difference[is_used]).mean() < MAX_ASYMMETRY)
