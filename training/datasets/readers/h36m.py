"""Human3.6M: actors in a studio, four cameras, joints from motion capture.

The annotations are JSON files in the layout that 3DMPPE, I2L-MeshNet and Pose2Mesh share (the
original .cdf files need special software). For each subject:

* `Human36M_subject<n>_data.json`: `images` with `id`, `file_name`, `subject`, `action_idx`,
  `subaction_idx`, `cam_idx` and `frame_idx`, and `annotations` with `image_id`;
* `Human36M_subject<n>_camera.json`: per camera `R`, `t` (mm), `f`, `c` (px);
* `Human36M_subject<n>_joint_3d.json`: action -> subaction -> frame -> (17, 3), world, mm;
* `Human36M_subject<n>_smpl_param.json` (optional): the same tree -> `pose` (72), `shape` (10).

Every fifth frame is used (10 per second). Subjects 1, 5, 6, 7 and 8 are for training, 9 and 11
for tests: all cameras in protocol 1, only the frontal camera in protocol 2. A missing image is
extracted from `videos/<sequence>.mp4`, frame `frame_idx` (the first frame is 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from decomr_core.body_models import NUM_JOINTS
from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS
from training.datasets.readers.coco import read_json
from training.datasets.readers.public_dataset import (
    MM_PER_M,
    PublicDataset,
    annotated,
    square_around,
)
from training.datasets.readers.video_frames import extract_frames
from training.records.person_record import PersonRecord
from training.records.root_frame import turned_poses

__all__ = ['H36M']

SUBJECTS = {'train': (1, 5, 6, 7, 8), 'p1': (9, 11), 'p2': (9, 11)}
FRONTAL_CAMERA = 4
FRAME_STEP = 5
# The order of the annotation files: the right leg first, unlike the joint regressor's.
JOINTS_IN_FILES = (
    'pelvis',
    'right_hip',
    'right_knee',
    'right_ankle',
    'left_hip',
    'left_knee',
    'left_ankle',
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
PLACES = tuple(ANNOTATED_JOINTS.index(joint) for joint in JOINTS_IN_FILES)


def _read(root: Path, split: str) -> Iterator[PersonRecord]:
    for subject in SUBJECTS[split]:
        start = f'annotations/Human36M_subject{subject}'
        path = H36M.find(root, f'{start}_data.json')
        content = read_json(path, 'images', 'annotations')
        cameras = read_json(H36M.find(root, f'{start}_camera.json'))
        joints = read_json(H36M.find(root, f'{start}_joint_3d.json'))
        bodies_path = root / f'{start}_smpl_param.json'
        bodies = read_json(bodies_path) if bodies_path.exists() else {}
        annotated_images = {item['image_id'] for item in content['annotations']}
        images = [
            image
            for image in content['images']
            if image['id'] in annotated_images
            and image['frame_idx'] % FRAME_STEP == 0
            and (split != 'p2' or image['cam_idx'] == FRONTAL_CAMERA)
        ]
        _extract(root, images)
        for image in images:
            try:
                yield _record(
                    image, cameras[str(image['cam_idx'])], _of(joints, image), _of(bodies, image)
                )
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(
                    f'{path} and the files beside it do not agree on '
                    f'{image.get("file_name")} ({type(error).__name__}: {error}); '
                    'unpack or download all of them again'
                ) from error


def _extract(root: Path, images: list[dict[str, Any]]) -> None:
    """Extracts missing images from the videos, if there are videos."""
    sequences: dict[str, dict[int, Path]] = {}
    for image in images:
        sequence = PurePosixPath(image['file_name']).parent.as_posix()
        frames = sequences.setdefault(sequence, {})
        frames[image['frame_idx']] = root / 'images' / image['file_name']
    for sequence, frames in sequences.items():
        video = root / f'videos/{sequence}.mp4'
        if video.exists():
            extract_frames(video, frames)
        else:
            H36M.find(root, f'images/{sequence}')


def _of(tree: dict, image: dict[str, Any]) -> Any:
    """The entry of an image's frame in a tree of actions, or None."""
    for key in ('action_idx', 'subaction_idx', 'frame_idx'):
        tree = tree.get(str(image[key]), {})
    return tree or None


def _record(
    image: dict[str, Any], camera: dict[str, Any], joints: Any, body: dict[str, Any] | None
) -> PersonRecord:
    """The actor in one image: joints in the camera frame, and projected."""
    rotation = np.array(camera['R'], np.float64).reshape(3, 3)
    world = np.array(joints, np.float64).reshape(len(JOINTS_IN_FILES), 3)
    joints_camera = world @ rotation.T + np.array(camera['t'], np.float64).ravel()
    points = joints_camera[:, :2] / joints_camera[:, 2:] * camera['f'] + camera['c']
    pose = shape = None
    if body is not None:
        pose = turned_poses(np.array(body['pose'], float).reshape(NUM_JOINTS, 3), rotation)
        shape = np.array(body['shape'], np.float64).ravel()
    center, side = square_around(points)
    return PersonRecord(
        f'images/{image["file_name"]}',
        center,
        side,
        annotated(PLACES, points),
        annotated(PLACES, (joints_camera - joints_camera[0]) / MM_PER_M),
        pose,
        shape,
        gender='' if body is None else 'neutral',
    )


H36M = PublicDataset(
    name='h36m',
    title='Human3.6M',
    splits=tuple(SUBJECTS),
    licence='for non-commercial research, from http://vision.imar.ro/human3.6m',
    layout=(
        'annotations/Human36M_subject1_data.json, _camera.json, _joint_3d.json and '
        'optionally _smpl_param.json',
        'images/s_01_act_02_subact_01_ca_01/*.jpg or videos/s_01_act_02_subact_01_ca_01.mp4',
        'the same for subjects 5, 6, 7, 8, 9, 11',
    ),
    read=_read,
)
