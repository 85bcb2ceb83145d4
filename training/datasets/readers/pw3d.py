"""3DPW: people outdoors, filmed by a moving phone, with SMPL bodies; used only for tests.

All people in all frames with a known camera pose are used. The bodies are male or female; their
global orientation is transformed from the world frame to the camera frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES
from training.datasets.readers.public_dataset import (
    PublicDataset,
    read_array_pickle,
    square_around,
)
from training.records.person_record import PersonRecord
from training.records.root_frame import turned_poses

__all__ = ['PW3D']

GENDERS = {'m': 'male', 'f': 'female'}
MIN_POINTS = 2
"""Number of detected joints that a person's square needs."""


def _read(root: Path, split: str) -> Iterator[PersonRecord]:
    paths = sorted(PW3D.find(root, f'sequenceFiles/{split}').glob('*.pkl'))
    if not paths:
        raise PW3D.missing(root / f'sequenceFiles/{split}/*.pkl')
    PW3D.find(root, 'imageFiles')
    for path in paths:
        content = read_array_pickle(path, 'expected a sequence of 3DPW, as downloaded')
        try:
            yield from _read_sequence(content)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ValueError(
                f'{path} is not a sequence of 3DPW ({type(error).__name__}: {error});'
                ' unpack or download it again'
            ) from error


def _read_sequence(content: dict[str, Any]) -> Iterator[PersonRecord]:
    cameras = np.asarray(content['cam_poses'], np.float64).reshape(-1, 4, 4)[:, :3, :3]
    for person, poses in enumerate(content['poses']):
        poses = np.asarray(poses, np.float64).reshape(-1, NUM_JOINTS, 3)
        shape = np.asarray(content['betas'][person], np.float64).ravel()[:NUM_SHAPES]
        is_valid = np.asarray(content['campose_valid'][person]).ravel() > 0
        detected = np.asarray(content['poses2d'][person], np.float64)  # (T, 3, 18)
        gender = GENDERS.get(str(content['genders'][person])[:1].lower(), '')
        for frame in np.flatnonzero(is_valid):
            points = detected[frame].T
            points = points[points[:, 2] > 0, :2]
            if len(points) < MIN_POINTS:
                continue
            center, side = square_around(points)
            yield PersonRecord(
                f'imageFiles/{content["sequence"]}/image_{frame:05d}.jpg',
                center,
                side,
                pose=turned_poses(poses[frame], cameras[frame]),
                shape=shape,
                gender=gender,
            )


PW3D = PublicDataset(
    name='pw3d',
    title='3DPW',
    splits=('test',),
    licence='for non-commercial research, from https://virtualhumans.mpi-inf.mpg.de/3DPW',
    layout=('sequenceFiles/test/*.pkl', 'imageFiles/<sequence>/image_00000.jpg'),
    read=_read,
)
