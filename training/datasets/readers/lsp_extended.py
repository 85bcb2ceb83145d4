"""Leeds Sports Pose Extended: 10,000 images, 14 joints each, for training.

Both releases are read: the original one (`images/im00001.jpg`) and the one in high resolution,
annotated anew (HR-LSPET, `im00001.png`). Row k of the annotations is the k-th image by name.
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

__all__ = ['LSP_EXTENDED']

ALL = tuple(range(NUM_LSP))


def _read(root: Path, _: str) -> Iterator[PersonRecord]:
    path = LSP_EXTENDED.find(root, 'joints.mat')
    joints = read_mat(path).get('joints')
    if joints is None or joints.ndim != 3 or joints.shape[:2] != (NUM_LSP, 3):
        raise ValueError(f'{path} holds no joints ({NUM_LSP}, 3, images); expected the file of '
                         'lspet_dataset or hr-lspet; for the 2000 images take lsp')
    images = sorted(root.glob('*.png')) or sorted(root.glob('images/*.jpg'))
    if len(images) != joints.shape[2]:
        raise ValueError(f'{root} has {len(images)} images and {path} {joints.shape[2]} people; '
                         'unpack the whole data set, for only the order says which belongs to '
                         'which')
    for image, person in zip(images, joints.transpose(2, 0, 1).astype(np.float64), strict=True):
        is_placed = (person[:, 2] > 0) & np.isfinite(person).all(1)
        if not is_placed.any():
            continue
        center, side = square_around(person[is_placed, :2])
        points = np.where(is_placed[:, None], person[:, :2], 0)
        yield PersonRecord(image.relative_to(root).as_posix(), center, side,
                           annotated(ALL, points, is_placed))


LSP_EXTENDED = PublicDataset(
    name='lsp_extended', title='Leeds Sports Pose Extended', splits=('train',),
    licence='for research, from http://sam.johnson.io/research/lspet.html or, in high '
            'resolution, http://datasets.d2.mpi-inf.mpg.de/hr-lspet/hr-lspet.zip',
    layout=('joints.mat', 'im00001.png ... (HR-LSPET) or images/im00001.jpg ...'), read=_read)
