"""People of a public data set as samples: crops, joints and bodies of one size each.

One path: record -> image -> `make_sample` (crop; the place of augmentation) -> body model. A
sample is a dictionary of arrays, so that the default collation of a `DataLoader` stacks it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES, BodyModel
from decomr_core.body_models.joint_sets import NUM_ANNOTATED
from decomr_core.crop import crop_from_image_xy, crop_pixels
from training.datasets.fits import fit_weights
from training.datasets.image_files import read_rgb
from training.datasets.person_record import PersonRecord
from training.datasets.person_records import PersonRecords
from training.datasets.root_frame import root_frame_body

__all__ = ['PeopleConfig', 'PeopleDataset', 'Sample', 'make_sample']

logger = logging.getLogger(__name__)
Sample = dict[str, Any]
MOST_UNREADABLE = 20
"""So many images after each other that cannot be read are no accident."""


@dataclass(frozen=True)
class PeopleConfig:
    """How people become samples.

    Attributes:
        size: S, side of the crops, px.
        weigh_fits: whether a fitted body counts less the more its fit is off ("Ours-B"); else
            every fit counts in full.
    """

    size: int = 224
    weigh_fits: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f'size is {self.size} px; take 1 or more')


class PeopleDataset(Dataset):
    """Samples of a set of people.

    An image that cannot be read gives way to the next person's, and is counted.

    Args:
        records: the people.
        bodies: body models by gender, on the CPU; 'neutral' stands in for the others. None makes
            no vertices, for sets that have no poses or where another place makes them.
        config: how they become samples.
        seed: of what chance decides in `dataset[index]`; `sample` is given its chance.

    Raises:
        ValueError: there is nobody, or no neutral body, or the bodies have different faces.
    """

    def __init__(self, records: PersonRecords, bodies: Mapping[str, BodyModel] | None = None,
                 config: PeopleConfig | None = None, seed: int = 0) -> None:
        if not len(records):
            raise ValueError(f'{records.name} has nobody in it')
        if bodies is not None:
            if 'neutral' not in bodies:
                raise ValueError(f'there are bodies for {", ".join(bodies) or "nobody"}; give a '
                                 "'neutral' one, which stands in where a gender is unknown")
            if any(not torch.equal(body.faces, bodies['neutral'].faces)
                   for body in bodies.values()):
                raise ValueError('the bodies have different faces; give male, female and neutral '
                                 'models of one kind')
        self.records, self.bodies, self.seed = records, bodies, seed
        self.config = config or PeopleConfig()
        # Shared with the loader's processes, which cannot say it otherwise.
        self._unreadable = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def num_unreadable(self) -> int:
        """How often an image could not be read, in all processes."""
        return int(self._unreadable)

    def __len__(self) -> int:
        """The number of people."""
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """The sample of a person, always the same."""
        return self.sample(index, np.random.default_rng([self.seed, index]))

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """The sample of a person; chance comes from `rng` alone.

        Returns:
            what `make_sample` gives, and

            * `vertices` (V, 3), `joints` (24, 3) float32, root frame, m (with bodies only);
            * `mesh_weight` float32: how much to believe pose, shape, vertices and joints;
            * `index` int: which person it is.

        Raises:
            RuntimeError: many images in a row cannot be read.
        """
        index, record, image = self._readable(index)
        sample = make_sample(image, record, rng, self.config)
        if self.bodies is not None:
            sample |= self._mesh(sample, record)
        sample['mesh_weight'] = np.float32(self._mesh_weight(record))
        return sample | {'index': index}

    def _readable(self, index: int) -> tuple[int, PersonRecord, np.ndarray]:
        """The person of that index or the next one with an image."""
        for _ in range(MOST_UNREADABLE):
            record = self.records[index]
            image = read_rgb(self.records.root / record.image)
            if image is not None:
                return index, record, image
            self._unreadable += 1
            logger.warning('%s cannot be read; the next image takes its place',
                           self.records.root / record.image)
            index = (index + 1) % len(self)
        raise RuntimeError(f'{MOST_UNREADABLE} images in a row cannot be read, the last one '
                           f'{self.records.root / record.image}; is the disk still there?')

    def _mesh_weight(self, record: PersonRecord) -> float:
        if record.pose is None:
            return 0.0
        if not (record.is_fit and self.config.weigh_fits):
            return 1.0
        error = np.nan if record.fit_error is None else record.fit_error
        return float(fit_weights(np.array([error]))[0])

    @torch.no_grad()
    def _mesh(self, sample: Sample, record: PersonRecord) -> dict[str, np.ndarray]:
        neutral = self.bodies['neutral']
        if record.pose is None:
            return {'vertices': np.zeros((neutral.num_vertices, 3), np.float32),
                    'joints': np.zeros((NUM_JOINTS, 3), np.float32)}
        body = self.bodies.get(record.gender, neutral)
        vertices, joints = root_frame_body(
            body, torch.from_numpy(sample['pose'])[None], torch.from_numpy(sample['shape'])[None])
        return {'vertices': vertices[0].numpy(), 'joints': joints[0].numpy()}


def make_sample(image: np.ndarray, record: PersonRecord, rng: np.random.Generator,
                config: PeopleConfig) -> Sample:
    """The crop of one person and all that is known about it, in one frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        record: the person.
        rng: the source of chance, for augmentation; a plain crop needs none.
        config: the size of the crop.

    Returns:
        `image` (S, S, 3) uint8 RGB; `keypoints_2d` (24, 3): x, y, crop frame, confidence;
        `keypoints_3d` (24, 4): x, y, z, m, axes as in the root frame, confidence; `pose`
        (24, 3) as in `PersonRecord`; `shape` (10,); float32, zeros where nothing is known.
    """
    del rng
    keypoints_2d = _or_zeros(record.keypoints_2d, (NUM_ANNOTATED, 3))
    seen = crop_from_image_xy(keypoints_2d[:, :2], record.center, record.side)
    keypoints_2d[:, :2] = seen * (keypoints_2d[:, 2:] > 0)
    return {
        'image': crop_pixels(image, record.center, record.side, config.size),
        'keypoints_2d': keypoints_2d,
        'keypoints_3d': _or_zeros(record.keypoints_3d, (NUM_ANNOTATED, 4)),
        'pose': _or_zeros(record.pose, (NUM_JOINTS, 3)),
        'shape': _or_zeros(record.shape, (NUM_SHAPES,))}


def _or_zeros(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 copy, or zeros."""
    return np.zeros(shape, np.float32) if array is None else np.array(array, np.float32)
