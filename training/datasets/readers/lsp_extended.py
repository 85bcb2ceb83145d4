"""Leeds Sports Pose Extended: 10,000 images, 14 joints each, for training.

Both releases can be read: the original one (`images/im00001.jpg`) and HR-LSPET (`im00001.png`),
which has a higher resolution and new annotations. Row k of the annotations belongs to the k-th
image by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decomr_core.body_models.joint_sets import NUM_LSP
from training.datasets.readers.lsp import ALL
from training.datasets.readers.public_dataset import (
    PublicDataset,
    annotated,
    read_mat,
    square_around,
)
from training.records.person_record import PersonRecord

__all__ = ['LSP_EXTENDED']


def _read(root: Path, _: str) -> Iterator[PersonRecord]:
    path = LSP_EXTENDED.find(root, 'joints.mat')
    joints = read_mat(path).get('joints')
    if joints is None or joints.ndim != 3 or joints.shape[:2] != (NUM_LSP, 3):
        raise ValueError(
            f'{path} has no joints ({NUM_LSP}, 3, images); expected the file of '
            'lspet_dataset or hr-lspet; for the set of 2000 images use lsp'
        )
    images = sorted(root.glob('*.png')) or sorted(root.glob('images/*.jpg'))
    if len(images) != joints.shape[2]:
        raise ValueError(
            f'{root} has {len(images)} images and {path} {joints.shape[2]} people; '
            'unpack the whole data set, because people and images are matched by '
            'their order'
        )
    for image, person in zip(images, joints.transpose(2, 0, 1).astype(np.float64), strict=True):
        is_annotated = (person[:, 2] > 0) & np.isfinite(person).all(1)
        if not is_annotated.any():
            continue
        center, side = square_around(person[is_annotated, :2])
        points = np.where(is_annotated[:, None], person[:, :2], 0)
        yield PersonRecord(
            image.relative_to(root).as_posix(), center, side, annotated(ALL, points, is_annotated)
        )


LSP_EXTENDED = PublicDataset(
    name='lsp_extended',
    title='Leeds Sports Pose Extended',
    splits=('train',),
    licence='for research, from http://sam.johnson.io/research/lspet.html or (high resolution) '
    'http://datasets.d2.mpi-inf.mpg.de/hr-lspet/hr-lspet.zip',
    layout=('joints.mat', 'im00001.png ... (HR-LSPET) or images/im00001.jpg ...'),
    read=_read,
)
