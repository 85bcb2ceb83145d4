"""SURREAL: rendered SMPL bodies in front of photographs, as videos of 320x240 px.

Training uses every tenth frame, validation and tests use the middle frame of each clip (the
setting of BodyNet). The published videos are mirrored. Extracted frames and joints are mirrored
back, so that they agree with the SMPL parameters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from decomr_core.body_models import JOINT_NAMES, NUM_JOINTS
from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS
from training.datasets.readers.public_dataset import (
    PublicDataset,
    annotated,
    read_mat,
    square_around,
)
from training.datasets.readers.video_frames import extract_frames
from training.records.person_record import PersonRecord
from training.records.root_frame import turned_poses
from training.records.rotations import rotation_about

__all__ = ['SURREAL', 'frames_of_videos']

logger = logging.getLogger(__name__)
SPLITS = ('train', 'val', 'test')
WIDTH_PX = 320
TRAIN_STEP, MIN_FRAMES = 10, 2
GENDERS = ('female', 'male')
MIRRORED_CAMERA_FROM_WORLD = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
"""From Blender's world (here with y down) to the mirrored camera: x right, z forward."""
# SMPL's joints that are among the annotated joints too; `annotated_regressor` uses the same.
SHARED = tuple(joint for joint in ANNOTATED_JOINTS if joint in JOINT_NAMES)
PLACES = tuple(ANNOTATED_JOINTS.index(joint) for joint in SHARED)
SMPL_PLACES = [JOINT_NAMES.index(joint) for joint in SHARED]
_SIZES = {
    'pose': 3 * NUM_JOINTS,
    'shape': 10,
    'joints2D': 2 * NUM_JOINTS,
    'joints3D': 3 * NUM_JOINTS,
    'zrot': 1,
    'gender': 1,
}


def _read(root: Path, split: str) -> Iterator[PersonRecord]:
    folder = SURREAL.find(root, f'data/cmu/{split}')
    infos = sorted(folder.rglob('*_info.mat'))
    if not infos:
        raise SURREAL.missing(f'{folder}/*/*/*_info.mat')
    for path in infos:
        info = _info(path)
        length = len(info['gender'])
        if length < MIN_FRAMES:
            continue
        clip = path.name.removesuffix('_info.mat')
        numbers = range(0, length, TRAIN_STEP) if split == 'train' else (length // 2,)
        video = SURREAL.find(path.parent, f'{clip}.mp4')
        name = video.relative_to(folder).as_posix()
        images = {number: _frame(split, name, number) for number in numbers}
        extract_frames(
            video, {number: root / image for number, image in images.items()}, mirrored=True
        )
        for number, image in images.items():
            yield _record(image, {name: values[number] for name, values in info.items()})


def frames_of_videos(root: Path, videos: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """Extracts missing frames from the published videos, mirrored back.

    If a video is missing or unreadable, a warning is logged and its images stay missing.

    Args:
        root: folder of the data set.
        videos: N names of videos in a split's folder, such as `run0/01_01/01_01_c0001.mp4`.
        numbers: N frame numbers in these videos; the first is 0.

    Returns:
        N paths, relative to the root.

    Raises:
        OSError: an image cannot be written.
    """
    frames: dict[str, dict[int, str]] = {}
    for video, number in zip(videos, numbers, strict=True):
        frames.setdefault(video, {})[number] = ''
    for video, images in frames.items():
        split = next(
            (
                split
                for split in SPLITS
                if (root / f'data/cmu/{split}' / video).exists()
                or (root / _frame(split, video, min(images))).exists()
            ),
            'val',
        )
        images.update({number: _frame(split, video, number) for number in images})
        path = root / f'data/cmu/{split}' / video
        try:
            extract_frames(
                path, {number: root / image for number, image in images.items()}, mirrored=True
            )
        except ValueError as error:
            logger.warning('%s', error)
    return [frames[video][number] for video, number in zip(videos, numbers, strict=True)]


def _frame(split: str, video: str, number: int) -> str:
    """The image path of a frame, relative to the root."""
    return f'frames/{split}/{PurePosixPath(video).with_suffix("")}_{number:06d}.jpg'


def _info(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays (T, ...) float64 of a clip."""
    content, arrays = read_mat(path), {}
    for name, size in _SIZES.items():
        array = np.asarray(content.get(name, ()), np.float64)
        if array.size == 0 or array.size % size:
            raise ValueError(
                f'{path} has no {name} with {size} numbers per frame; unpack or download it again'
            )
        # The frames are the last axis, except in arrays with one number per frame.
        arrays[name] = array.reshape(size, -1).T if size > 1 else array.ravel()
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f'{path} has arrays of different lengths; unpack or download it again')
    return arrays


def _record(image: str, info: dict[str, np.ndarray]) -> PersonRecord:
    """The person of one frame."""
    points = info['joints2D'].reshape(2, NUM_JOINTS).T.copy()
    points[:, 0] = WIDTH_PX - 1 - points[:, 0]
    joints = info['joints3D'].reshape(3, NUM_JOINTS).T @ MIRRORED_CAMERA_FROM_WORLD.T
    world_from_pose = rotation_about(0, np.pi / 2) @ rotation_about(2, info['zrot'])
    pose = turned_poses(
        info['pose'].reshape(NUM_JOINTS, 3), MIRRORED_CAMERA_FROM_WORLD @ world_from_pose
    )
    center, side = square_around(points)
    return PersonRecord(
        image,
        center,
        side,
        annotated(PLACES, points[SMPL_PLACES]),
        annotated(PLACES, (joints - joints[0])[SMPL_PLACES]),
        pose,
        info['shape'],
        gender=GENDERS[int(info['gender'] > 0)],
    )


SURREAL = PublicDataset(
    name='surreal',
    title='SURREAL',
    splits=SPLITS,
    licence='for research, on request from https://www.di.ens.fr/willow/research/surreal/data/',
    layout=(
        'data/cmu/train/run0/01_01/01_01_c0001.mp4 and 01_01_c0001_info.mat',
        'the same for val and test',
    ),
    read=_read,
)
