"""MPI-INF-3DHP: people in a studio with many cameras, and six test sequences, two outdoors.

Training uses every tenth frame of the eight cameras at chest height, tests use every frame that is
marked valid. As in SPIN, only people with all joints inside the image are used. The test
annotations are HDF5 (MATLAB 7.3), which needs h5py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS
from training.datasets.readers.public_dataset import (
    MM_PER_M,
    PublicDataset,
    annotated,
    read_mat,
    square_around,
)
from training.datasets.readers.video_frames import extract_frames
from training.records.image_files import image_size
from training.records.person_record import PersonRecord

__all__ = ['MPI_INF_3DHP']

CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
TRAIN_STEP = 10
TRAIN_SIZE_PX = (2048, 2048)
JOINTS = (
    'pelvis',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_hip',
    'right_knee',
    'right_ankle',
    'spine',
    'neck',
    'jaw',
    'head',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'right_shoulder',
    'right_elbow',
    'right_wrist',
)
"""The joints of both parts. The data set's head top is the joint that `ANNOTATED_JOINTS` calls
head, its head the one called jaw."""
PLACES = tuple(ANNOTATED_JOINTS.index(joint) for joint in JOINTS)
TRAIN_ROWS = [4, 18, 19, 20, 23, 24, 25, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]
"""Their indices among the 28 joints of the training annotations."""
TEST_ROWS = [14, 11, 12, 13, 8, 9, 10, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
"""Their indices among the 17 joints of the test annotations."""
NUM_TRAIN_JOINTS, NUM_TEST_JOINTS = 28, 17
NO_H5PY = (
    'the test annotations of MPI-INF-3DHP are HDF5 files, which need h5py; install it: '
    'pip install -r requirements/datasets.txt'
)


def _read(root: Path, split: str) -> Iterator[PersonRecord]:
    if split == 'test':
        yield from _read_test(root)
        return
    sequences = sorted(root.glob('S[1-8]/Seq[12]'))
    if not sequences:
        raise MPI_INF_3DHP.missing(root / 'S1/Seq1')
    for sequence in sequences:
        path = MPI_INF_3DHP.find(sequence, 'annot.mat')
        content = read_mat(path)
        for camera in CAMERAS:
            try:
                points = content['annot2'].ravel()[camera].reshape(-1, NUM_TRAIN_JOINTS, 2)
                joints = content['annot3'].ravel()[camera].reshape(-1, NUM_TRAIN_JOINTS, 3)
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f'{path} has no annot2 and annot3 of camera {camera} ({error}); '
                    'unpack or download it again'
                ) from error
            for number, image in _frames(root, sequence, camera, len(points)).items():
                record = _record(
                    image, points[number, TRAIN_ROWS], joints[number, TRAIN_ROWS], TRAIN_SIZE_PX
                )
                if record is not None:
                    yield record


def _frames(root: Path, sequence: Path, camera: int, count: int) -> dict[int, str]:
    """Image paths by frame; extracts the images if there is a video."""
    folder, video = f'imageFrames/video_{camera}', f'imageSequence/video_{camera}.avi'
    images = {
        number: sequence / folder / f'frame_{number + 1:06d}.jpg'
        for number in range(0, count, TRAIN_STEP)
    }
    if (sequence / video).exists():
        extract_frames(sequence / video, images)
    else:
        MPI_INF_3DHP.find(sequence, folder)
    return {number: image.relative_to(root).as_posix() for number, image in images.items()}


def _read_test(root: Path) -> Iterator[PersonRecord]:
    sequences = sorted(MPI_INF_3DHP.find(root, 'mpi_inf_3dhp_test_set').glob('TS[1-6]'))
    if not sequences:
        raise MPI_INF_3DHP.missing(root / 'mpi_inf_3dhp_test_set/TS1')
    for sequence in sequences:
        points, joints, is_valid = _test_annotations(MPI_INF_3DHP.find(sequence, 'annot_data.mat'))
        MPI_INF_3DHP.find(sequence, 'imageSequence')
        size_px = None
        for number in np.flatnonzero(is_valid):
            image = sequence / f'imageSequence/img_{number + 1:06d}.jpg'
            size_px = size_px or image_size(image)  # constant within a sequence
            record = _record(
                image.relative_to(root).as_posix(),
                points[number, TEST_ROWS],
                joints[number, TEST_ROWS],
                size_px or (np.inf, np.inf),
            )
            if record is not None:
                yield record


def _test_annotations(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2D joints (T, 17, 2), 3D joints (T, 17, 3) and validity (T,) of the frames."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(NO_H5PY) from error
    try:
        with h5py.File(path, 'r') as content:
            points = np.array(content['annot2']).reshape(-1, NUM_TEST_JOINTS, 2)
            joints = np.array(content['univ_annot3']).reshape(-1, NUM_TEST_JOINTS, 3)
            is_valid = np.array(content['valid_frame']).ravel() > 0
        if not len(points) == len(joints) == len(is_valid):
            raise ValueError(f'{len(points)}, {len(joints)} and {len(is_valid)} frames')
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f'{path} has no annot2, univ_annot3 and valid_frame of the same length '
            f'({error}); unpack or download it again'
        ) from error
    return points, joints, is_valid


def _record(
    image: str, points: np.ndarray, joints: np.ndarray, size_px: tuple[float, float]
) -> PersonRecord | None:
    """The person of one frame; None if a joint is outside the image.

    Args:
        image: path of the image.
        points: (17, 2) image px.
        joints: (17, 3) camera axes, mm.
        size_px: width and height of the image.
    """
    if not ((points >= 0) & (points < size_px)).all():
        return None
    center, side = square_around(points)
    return PersonRecord(
        image,
        center,
        side,
        annotated(PLACES, points),
        annotated(PLACES, (joints - joints[0]) / MM_PER_M),
    )


MPI_INF_3DHP = PublicDataset(
    name='mpi_inf_3dhp',
    title='MPI-INF-3DHP',
    splits=('train', 'test'),
    licence='for non-commercial research, from http://gvv.mpi-inf.mpg.de/3dhp-dataset',
    layout=(
        'S1/Seq1/annot.mat with imageFrames/video_0/frame_000001.jpg or imageSequence/video_0.avi',
        'mpi_inf_3dhp_test_set/TS1/annot_data.mat with imageSequence/img_000001.jpg',
    ),
    read=_read,
)
