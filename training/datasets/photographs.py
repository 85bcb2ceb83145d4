"""Samples of the people of a public data set: crops, joints and body parameters.

Each record becomes an augmented crop of its image (`make_sample`). A sample is a dictionary of
arrays of fixed shapes, which the default collation of a `DataLoader` stacks. `PersonBatchMaker`
then poses the bodies and renders the targets.
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
from training.records.person_boxes import blacken_randomly, box_of_joints
from training.records.person_record import GENDERS, PersonRecord
from training.records.person_records import PersonRecords
from training.targets.cached_targets import CachedTargets
from training.targets.fits import fit_weights

__all__ = ['PeopleConfig', 'PeopleDataset', 'Sample', 'make_sample']

logger = logging.getLogger(__name__)
Sample = dict[str, Any]
MAX_UNREADABLE = 20
"""Number of consecutive unreadable images after which an error is raised."""


@dataclass(frozen=True)
class PeopleConfig:
    """How samples are made.

    Attributes:
        size: S, side of the crops, px.
        weigh_fits: whether to weight fitted bodies by the error of the fit ("Ours-B"); otherwise
            every fit has weight 1.
        augmentation: ranges of the augmentation; off by default.
    """

    size: int = 224
    weigh_fits: bool = True
    augmentation: AugmentationConfig = AugmentationConfig.off()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f'size is {self.size} px; take 1 or more')


class PeopleDataset(Dataset):
    """Samples of a set of people.

    If an image cannot be read, the next person is used instead, and the failure is counted.

    Args:
        records: the people.
        config: how samples are made.
        seed: seed of the augmentation in `dataset[index]`; `sample` takes a generator instead.
        targets: cache of IUV targets; None leaves the targets to `PersonBatchMaker`.

    Raises:
        ValueError: there are no people.
    """

    def __init__(
        self,
        records: PersonRecords,
        config: PeopleConfig | None = None,
        seed: int = 0,
        targets: CachedTargets | None = None,
    ) -> None:
        if not len(records):
            raise ValueError(f'{records.name} has no people')
        self.records, self.seed, self.targets = records, seed, targets
        self.config = config or PeopleConfig()
        self._logged: set[str] = set()
        # Shared memory: the loader's processes count too.
        self._unreadable = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def num_unreadable(self) -> int:
        """Number of times an image could not be read, in all processes."""
        return int(self._unreadable)

    def __len__(self) -> int:
        """The number of people."""
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """The sample of a person, the same at every call."""
        return self.sample(index, np.random.default_rng([self.seed, index]))

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """The sample of a person, augmented with random numbers from `rng`.

        Returns:
            the entries of `make_sample`, and

            * `mesh_weight` float32: weight of pose and shape in the losses;
            * `index` int: index of the person;
            * `iuv` (3, S / 4, S / 4) and `iuv_weight`, float32, only with `targets`.

        Raises:
            RuntimeError: many images in a row cannot be read.
        """
        index, record, image = self._readable(index)
        augmentation = sample_augmentation(rng, self.config.augmentation)
        sample = make_sample(image, record, self.config.size, augmentation)
        if self.config.augmentation.boxed_share:
            box = box_of_joints(sample['keypoints_2d'])
            blacken_randomly(sample['image'], box, rng, self.config.augmentation.boxed_share)
        sample['mesh_weight'] = np.float32(self._mesh_weight(record))
        if self.targets is not None:
            sample['iuv'], sample['iuv_weight'] = self.targets(record, image.shape, augmentation)
        return sample | {'index': index}

    def _readable(self, index: int) -> tuple[int, PersonRecord, np.ndarray]:
        """The person at an index, or the next one with a readable image."""
        for _ in range(MAX_UNREADABLE):
            record = self.records[index]
            image = read_rgb(self.records.root / record.image)
            if image is not None:
                return index, record, image
            self._unreadable += 1
            if record.image not in self._logged:
                self._logged.add(record.image)
                logger.warning(
                    'cannot read %s; using the next image instead',
                    self.records.root / record.image,
                )
            index = (index + 1) % len(self)
        raise RuntimeError(
            f'cannot read {MAX_UNREADABLE} consecutive images, the last one '
            f'{self.records.root / record.image}; check that the disk is mounted'
        )

    def _mesh_weight(self, record: PersonRecord) -> float:
        if record.pose is None:
            return 0.0
        if not (record.is_fit and self.config.weigh_fits):
            return 1.0
        error = np.nan if record.fit_error is None else record.fit_error
        return float(fit_weights(np.array([error]))[0])


def make_sample(
    image: np.ndarray, record: PersonRecord, size: int, augmentation: Augmentation | None = None
) -> Sample:
    """The crop of one person with its annotations.

    Args:
        image: (H, W, 3) uint8 RGB.
        record: the person.
        size: S, side of the crop, px.
        augmentation: augmentation of this image; None for the crop that the estimator would take.

    Returns:
        `image` (S, S, 3) uint8 RGB; `keypoints_2d` (24, 3): x, y, crop frame, confidence;
        `keypoints_3d` (24, 4): x, y, z, m, axes as in the root frame, confidence; `pose`
        (24, 3) as in `PersonRecord`; `shape` (10,); all float32, zeros if unknown;
        `gender`, index into `GENDERS`; `crop_from_image` (2, 3) float64, image px, 1 -> crop
        frame; `image_size` (2,) width and height of the image, px.
    """
    person = apply_augmentation(
        Augmentation() if augmentation is None else augmentation,
        size,
        image,
        record.center,
        record.side,
        _or_zeros(record.keypoints_2d, (NUM_ANNOTATED, 3)),
        _or_zeros(record.keypoints_3d, (NUM_ANNOTATED, 4)),
        _or_zeros(record.pose, (NUM_JOINTS, 3)),
        _or_zeros(record.shape, (NUM_SHAPES,)),
    )
    return {
        'image': person.image,
        'keypoints_2d': person.keypoints_2d,
        'keypoints_3d': person.keypoints_3d,
        'pose': _or_zeros(None if record.pose is None else person.pose, (NUM_JOINTS, 3)),
        'shape': person.shape,
        'gender': GENDERS.index(record.gender),
        'crop_from_image': person.crop_from_image,
        'image_size': np.array(image.shape[1::-1], np.int64),
    }


def _or_zeros(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """The array, or zeros for None."""
    return np.zeros(shape, np.float32) if array is None else array
