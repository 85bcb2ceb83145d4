"""People of a public data set as samples: crops, joints and bodies of one size each.

One path: record -> image -> augmented crop (`make_sample`). A sample is a dictionary of arrays, so
that the default collation of a `DataLoader` stacks it; `PersonBatchMaker` poses its bodies and
draws its targets.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES
from decomr_core.body_models.joint_sets import NUM_ANNOTATED
from training.records.augmentation import (
    Augmentation,
    AugmentationConfig,
    apply_augmentation,
    sample_augmentation,
)
from training.records.image_files import read_rgb
from training.records.person_record import GENDERS, PersonRecord
from training.records.person_records import PersonRecords
from training.targets.cached_targets import CachedTargets
from training.targets.fits import fit_weights

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
        augmentation: how much chance there is in a crop; by default none.
    """

    size: int = 224
    weigh_fits: bool = True
    augmentation: AugmentationConfig = AugmentationConfig.off()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f'size is {self.size} px; take 1 or more')


class PeopleDataset(Dataset):
    """Samples of a set of people.

    An image that cannot be read gives way to the next person's, and is counted.

    Args:
        records: the people.
        config: how they become samples.
        seed: of what chance decides in `dataset[index]`; `sample` is given its chance.
        targets: IUV targets kept on disk; None leaves them to be drawn batch by batch.

    Raises:
        ValueError: there is nobody.
    """

    def __init__(self, records: PersonRecords, config: PeopleConfig | None = None, seed: int = 0,
                 targets: CachedTargets | None = None) -> None:
        if not len(records):
            raise ValueError(f'{records.name} has nobody in it')
        self.records, self.seed, self.targets = records, seed, targets
        self.config = config or PeopleConfig()
        self._told: set[str] = set()
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

            * `mesh_weight` float32: how much to believe pose and shape;
            * `index` int: which person it is;
            * `iuv` (3, S / 4, S / 4) and `iuv_weight`, float32, with `targets` only.

        Raises:
            RuntimeError: many images in a row cannot be read.
        """
        index, record, image = self._readable(index)
        augmentation = sample_augmentation(rng, self.config.augmentation)
        sample = make_sample(image, record, self.config.size, augmentation)
        sample['mesh_weight'] = np.float32(self._mesh_weight(record))
        if self.targets is not None:
            sample['iuv'], sample['iuv_weight'] = self.targets(record, image.shape, augmentation)
        return sample | {'index': index}

    def _readable(self, index: int) -> tuple[int, PersonRecord, np.ndarray]:
        """The person of that index or the next one with an image."""
        for _ in range(MOST_UNREADABLE):
            record = self.records[index]
            image = read_rgb(self.records.root / record.image)
            if image is not None:
                return index, record, image
            self._unreadable += 1
            if record.image not in self._told:
                self._told.add(record.image)
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


def make_sample(image: np.ndarray, record: PersonRecord, size: int,
                augmentation: Augmentation | None = None) -> Sample:
    """The crop of one person and all that is known about it, in one frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        record: the person.
        size: S, side of the crop, px.
        augmentation: what was drawn for this picture; None for the crop that the robot would cut.

    Returns:
        `image` (S, S, 3) uint8 RGB; `keypoints_2d` (24, 3): x, y, crop frame, confidence;
        `keypoints_3d` (24, 4): x, y, z, m, axes as in the root frame, confidence; `pose`
        (24, 3) as in `PersonRecord`; `shape` (10,); float32, zeros where nothing is known;
        `gender`, index into `GENDERS`; `crop_from_image` (2, 3) float64, image px, 1 -> crop
        frame; `image_size` (2,) width and height of the image, px.
    """
    seen = apply_augmentation(
        Augmentation() if augmentation is None else augmentation, size, image, record.center,
        record.side, _or_zeros(record.keypoints_2d, (NUM_ANNOTATED, 3)),
        _or_zeros(record.keypoints_3d, (NUM_ANNOTATED, 4)),
        _or_zeros(record.pose, (NUM_JOINTS, 3)), _or_zeros(record.shape, (NUM_SHAPES,)))
    return {
        'image': seen.image, 'keypoints_2d': seen.keypoints_2d,
        'keypoints_3d': seen.keypoints_3d,
        'pose': seen.pose * np.float32(record.pose is not None), 'shape': seen.shape,
        'gender': GENDERS.index(record.gender), 'crop_from_image': seen.crop_from_image,
        'image_size': np.array(image.shape[1::-1], np.int64)}


def _or_zeros(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """The array, or zeros."""
    return np.zeros(shape, np.float32) if array is None else array
