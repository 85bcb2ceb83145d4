"""UP-3D: SMPL bodies fitted to photographs (LSP, MPII, FashionPose) and checked by people.

Lists name the images of each split, one `/00000_image.png` per line. The split `lsp_test`, which
GraphCMR and its successors evaluate, is not among the published lists: its list `namesUPlsp.txt`
comes with GraphCMR and must be copied into the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES
from decomr_core.body_models.joint_sets import NUM_LSP
from training.datasets.readers.public_dataset import (
    PublicDataset,
    annotated,
    read_array_pickle,
    square_around,
)
from training.records.image_files import read_rgb
from training.records.person_record import PersonRecord
from training.records.root_frame import turned_poses
from training.records.rotations import matrix_from_axis_angle

__all__ = ['UP3D']

LISTS = {
    'trainval': 'trainval.txt',
    'train': 'train.txt',
    'val': 'val.txt',
    'test': 'test.txt',
    'lsp_test': 'namesUPlsp.txt',
}
ENDING = '_image.png'
BACKGROUND = 255
"""Gray value of the empty part of a rendered body."""


def _read(root: Path, split: str) -> Iterator[PersonRecord]:
    names = UP3D.find(root, LISTS[split]).read_text(encoding='utf-8').split()
    for name in names:
        stem = name.strip('/').removesuffix(ENDING)
        pose, shape = _body(UP3D.find(root, f'{stem}_body.pkl'))
        joints = _joints(UP3D.find(root, f'{stem}_joints.npy'))
        rendered = UP3D.find(root, f'{stem}_render_light.png')
        image = read_rgb(rendered)
        pixels = np.zeros((0, 2)) if image is None else np.argwhere(image.min(2) < BACKGROUND)
        if not len(pixels):
            raise ValueError(f'{rendered} shows no body; unpack or download it again')
        # From the first pixel to the one after the last.
        center, side = square_around(np.stack([pixels.min(0), pixels.max(0) + 1])[:, ::-1])
        yield PersonRecord(
            stem + ENDING,
            center,
            side,
            annotated(tuple(range(NUM_LSP)), joints[:, :2], joints[:, 2]),
            pose=pose,
            shape=shape,
            gender='neutral',
        )


def _body(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pose (24, 3) and shape (10,) as in `PersonRecord`."""
    content = read_array_pickle(path, 'expected a body of UP-3D, as downloaded')
    try:
        pose = np.array(content['pose'], np.float64).reshape(NUM_JOINTS, 3)
        shape = np.array(content['betas'], np.float64).ravel()[:NUM_SHAPES]
        camera = matrix_from_axis_angle(np.array(content.get('rt', (0, 0, 0)), float).reshape(3))
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f'{path} has no pose and shape ({error}); expected a body of UP-3D, as downloaded'
        ) from error
    return turned_poses(pose, camera), shape


def _joints(path: Path) -> np.ndarray:
    """Joints (14, 3): x, y, image px, and visibility."""
    try:
        return np.load(path, allow_pickle=False).reshape(3, NUM_LSP).T
    except (ValueError, EOFError) as error:
        raise ValueError(
            f'{path} has no joints (3, {NUM_LSP}) ({error}); unpack or download it again'
        ) from error


UP3D = PublicDataset(
    name='up3d',
    title='UP-3D',
    splits=tuple(LISTS),
    licence='for research, from http://files.is.tuebingen.mpg.de/classner/up/ (up-3d.zip)',
    layout=(
        'trainval.txt, train.txt, val.txt, test.txt',
        '00000_image.png, 00000_joints.npy, 00000_body.pkl, 00000_render_light.png and so on',
    ),
    read=_read,
)
