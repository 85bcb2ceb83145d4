"""Leeds Sports Pose: 2000 images, 14 joints each.

The paper trains on the first 1000 (of the high-resolution release, `lsp_dataset_original`) and
tests on the last 1000 (of `lsp_dataset`), where silhouettes and body parts come from UPi-S1h.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decomr_core.body_models.joint_sets import NUM_LSP
from training.datasets.readers.public_dataset import (
    PublicDataset,
    annotated,
    read_mat,
    square_around,
)
from training.records.person_record import PersonRecord

__all__ = ['LSP']

NUM_TRAIN = 1000
ALL = tuple(range(NUM_LSP))


def _read(root: Path, split: str) -> Iterator[PersonRecord]:
    path = LSP.find(root, 'joints.mat')
    LSP.find(root, 'images')
    joints = read_mat(path).get('joints')
    if joints is None or joints.ndim != 3 or joints.shape[:2] != (3, NUM_LSP):
        raise ValueError(
            f'{path} has no joints (3, {NUM_LSP}, images); expected the file of '
            'lsp_dataset or lsp_dataset_original; for the extended set use '
            'lsp_extended'
        )
    people = joints.transpose(2, 1, 0)
    numbers = range(NUM_TRAIN) if split == 'train' else range(NUM_TRAIN, len(people))
    for number in numbers[: len(people)]:
        # The third value marks occluded joints, whose positions are annotated too.
        points = people[number, :, :2].astype(np.float64)
        center, side = square_around(points)
        stem = f'im{number + 1:04d}'
        has_masks = split != 'train'
        yield PersonRecord(
            f'images/{stem}.jpg',
            center,
            side,
            annotated(ALL, points),
            mask=f'data/lsp/{stem}_segmentation.png' if has_masks else '',
            part_mask=f'data/lsp/{stem}_part_segmentation.png' if has_masks else '',
        )


LSP = PublicDataset(
    name='lsp',
    title='Leeds Sports Pose',
    splits=('train', 'test'),
    licence='for research, from http://sam.johnson.io/research/lsp.html',
    layout=('joints.mat', 'images/im0001.jpg ... im2000.jpg'),
    read=_read,
)
