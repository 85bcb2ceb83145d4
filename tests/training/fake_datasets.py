"""Tiny data sets in exactly the published formats of the public ones."""

from __future__ import annotations

import functools
import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io
import torch

from decomr_core.body_models import BodyModel
from training.records.rotations import axis_angle_from_matrix, rotation_about

SIZE_PX = (120, 90)
"""Width and height of the made-up photographs."""
VIDEOS: dict[tuple[str, int, tuple[int, int]], bytes] = {}
"""Those made so far: encoding takes a second."""


def write_image(path: Path, size_px: tuple[int, int] = SIZE_PX, level: int = 90) -> None:
    """A photograph of nothing, with a bright left half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image(path.suffix, size_px, level))


@functools.cache
def image(suffix: str, size_px: tuple[int, int], level: int) -> bytes:
    """The file of that photograph."""
    image = np.full((size_px[1], size_px[0], 3), level, np.uint8)
    image[:, : size_px[0] // 2] = 220
    return cv2.imencode(suffix, image)[1].tobytes()


def write_video(path: Path, count: int, size_px: tuple[int, int]) -> None:
    """A video whose left half is bright and whose right half is as bright as the frame number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = VIDEOS.get((path.suffix, count, size_px))
    if known is not None:
        path.write_bytes(known)
        return
    kind = 'mp4v' if path.suffix == '.mp4' else 'MJPG'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*kind), 25, size_px)
    assert writer.isOpened()
    for number in range(count):
        frame = np.full((size_px[1], size_px[0], 3), 4 * number, np.uint8)
        frame[:, : size_px[0] // 2] = 250
        writer.write(frame)
    writer.release()
    VIDEOS[path.suffix, count, size_px] = path.read_bytes()


def joints_in_image(
    count: int, rng: np.random.Generator, size_px: tuple[int, int] = SIZE_PX
) -> np.ndarray:
    """(count, 2) places in the image, spread over most of it, image px."""
    places = rng.uniform(0.2, 0.8, (count, 2)) * size_px
    places[0], places[1] = np.multiply(size_px, 0.15), np.multiply(size_px, 0.85)
    return places


def write_lsp(root: Path, count: int, images: list[int]) -> np.ndarray:
    """LSP; returns (3, 14, count)."""
    rng = np.random.default_rng(1)
    joints = np.stack(
        [np.vstack([joints_in_image(14, rng).T, rng.integers(0, 2, 14)]) for _ in range(count)],
        axis=2,
    )
    root.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / 'joints.mat', {'joints': joints})
    for number in images:
        write_image(root / f'images/im{number + 1:04d}.jpg')
    return joints


def write_lsp_extended(root: Path, count: int, high_resolution: bool) -> np.ndarray:
    """LSP Extended; returns (14, 3, count). The right wrist of the first person is not placed."""
    rng = np.random.default_rng(2)
    joints = np.stack(
        [np.hstack([joints_in_image(14, rng), np.ones((14, 1))]) for _ in range(count)], axis=2
    )
    joints[6, :, 0] = (-55, -32, 0)
    root.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / 'joints.mat', {'joints': joints})
    for number in range(count):
        write_image(
            root
            / (f'im{number + 1:05d}.png' if high_resolution else f'images/im{number + 1:05d}.jpg')
        )
    return joints


def write_coco(root: Path) -> list[dict]:
    """COCO: one whole person, one with a hidden knee, one without an ankle, a crowd."""
    rng = np.random.default_rng(3)
    annotations = []
    for number, levels in enumerate(([2] * 17, [2] * 13 + [1] * 4, [2] * 16 + [0])):
        keypoints = np.column_stack([np.rint(joints_in_image(17, rng)), levels])
        keypoints[keypoints[:, 2] == 0] = 0
        annotations.append(
            {
                'id': number,
                'image_id': 7,
                'iscrowd': 0,
                'bbox': [20.5, 10.0, 60.0, 70.0],
                'keypoints': keypoints.ravel().tolist(),
                'category_id': 1,
            }
        )
    annotations.append(
        {
            'id': 9,
            'image_id': 7,
            'iscrowd': 1,
            'bbox': [0, 0, 9, 9],
            'keypoints': [0] * 51,
            'category_id': 1,
        }
    )
    path = root / 'annotations/person_keypoints_train2014.json'
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps(
            {
                'images': [
                    {
                        'id': 7,
                        'file_name': 'COCO_train2014_000000000007.jpg',
                        'width': 120,
                        'height': 90,
                    }
                ],
                'annotations': annotations,
            }
        )
    )
    write_image(root / 'train2014/COCO_train2014_000000000007.jpg')
    return annotations


def structs(items: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB array of structs."""
    array = np.zeros((1, len(items)), [(name, object) for name in items[0]])
    for place, item in zip(array[0], items, strict=True):
        for name, value in item.items():
            place[name] = value
    return array


def write_mpii(root: Path) -> np.ndarray:
    """MPII: a whole person; two people, of whom one lacks joints; a test image; returns joints.

    The returned (16, 2) are of the first person, as MATLAB counts.
    """
    rng = np.random.default_rng(4)
    places = joints_in_image(16, rng)

    def person(count: int) -> dict[str, Any]:
        points = structs(
            [
                {
                    'x': places[joint, 0],
                    'y': places[joint, 1],
                    'id': float(joint),
                    'is_visible': np.zeros((0, 0)) if joint == 9 else '1',
                }
                for joint in reversed(range(count))
            ]
        )
        return {
            'scale': 0.4,
            'objpos': structs([{'x': 61.0, 'y': 46.0}]),
            'annopoints': structs([{'point': points}]),
            'x1': 1.0,
        }

    empty = {
        'scale': np.zeros((0, 0)),
        'objpos': np.zeros((0, 0)),
        'annopoints': np.zeros((0, 0)),
        'x1': np.zeros((0, 0)),
    }
    images = [
        {'image': structs([{'name': name}]), 'annorect': annorect}
        for name, annorect in (
            ('a.jpg', structs([person(16)])),
            ('b.jpg', structs([person(12), person(16), empty])),
            ('c.jpg', np.zeros((0, 0))),
            ('d.jpg', structs([{'scale': 1.0}])),
        )
    ]
    root.mkdir(parents=True)
    release = structs(
        [{'annolist': structs(images), 'img_train': np.array([[1, 1, 1, 0]]), 'version': '12'}]
    )
    scipy.io.savemat(root / 'mpii_human_pose_v1_u12_1.mat', {'RELEASE': release})
    for name in 'abcd':
        write_image(root / f'images/{name}.jpg')
    return places


def cells(count: int, columns: int, frames: int, values: np.ndarray) -> np.ndarray:
    """A MATLAB cell array (count, 1), the same frames in each cell."""
    array = np.empty((count, 1), object)
    for place in array:
        place[0] = values.reshape(frames, columns)
    return array


def write_mpi_train(root: Path, frames: int, as_video: bool) -> tuple[np.ndarray, np.ndarray]:
    """MPI-INF-3DHP, one training sequence; returns (T, 28, 2) px and (T, 28, 3) mm."""
    rng = np.random.default_rng(5)
    points = rng.uniform(300, 1500, (frames, 28, 2))
    joints = rng.normal(0, 400, (frames, 28, 3)) + [0, 0, 3000]
    sequence = root / 'S1/Seq1'
    sequence.mkdir(parents=True)
    scipy.io.savemat(
        sequence / 'annot.mat',
        {'annot2': cells(14, 56, frames, points), 'annot3': cells(14, 84, frames, joints)},
    )
    for camera in (0, 1, 2, 4, 5, 6, 7, 8):
        if as_video:
            write_video(sequence / f'imageSequence/video_{camera}.avi', frames, (64, 64))
        else:
            for number in range(frames):
                write_image(
                    sequence / f'imageFrames/video_{camera}/frame_{number + 1:06d}.jpg',
                    (2048, 2048) if number % 10 == 0 else (64, 64),
                )
    return points, joints


def write_mpi_test(root: Path, frames: int) -> dict[str, np.ndarray]:
    """MPI-INF-3DHP, one test sequence without its HDF5 file; returns what that would hold."""
    rng = np.random.default_rng(6)
    sequence = root / 'mpi_inf_3dhp_test_set/TS1'
    for number in range(frames):
        write_image(sequence / f'imageSequence/img_{number + 1:06d}.jpg')
    is_valid = np.ones((frames, 1))
    is_valid[1] = 0
    points = np.stack([joints_in_image(17, rng) for _ in range(frames)])
    points[2, 5] = (500, 20)
    return {
        'annot2': points[:, None],
        'valid_frame': is_valid,
        'univ_annot3': rng.normal(0, 400, (frames, 1, 17, 3)),
    }


def public_pose(rng: np.random.Generator) -> np.ndarray:
    """(24, 3) an upright pose as data sets have it: turned to y down, about to walk away."""
    pose = rng.normal(0, 0.15, (24, 3))
    upright = rotation_about(0, np.array(np.pi)) @ rotation_about(1, np.array(0.7))
    pose[0] = axis_angle_from_matrix(upright)
    return pose


def write_up3d(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """UP-3D: two people; returns poses (2, 24, 3) as public ones, and joints (2, 3, 14)."""
    rng = np.random.default_rng(7)
    root.mkdir(parents=True)
    poses, joints = [], []
    for number in (0, 5):
        stem = f'{number:05d}'
        write_image(root / f'{stem}_image.png')
        poses.append(public_pose(rng))
        joints.append(np.vstack([joints_in_image(14, rng).T, rng.integers(0, 2, 14)]))
        np.save(root / f'{stem}_joints.npy', joints[-1])
        body = {
            'pose': poses[-1].ravel(),
            'betas': np.arange(10.0) / 10,
            'rt': np.zeros(3),
            't': np.zeros(3),
            'trans': np.zeros(3),
            'f': np.array(5000.0),
        }
        (root / f'{stem}_body.pkl').write_bytes(pickle.dumps(body, protocol=2))
        render = np.full((90, 120, 3), 255, np.uint8)
        render[20:70, 40:60] = (180, 190, 255)
        cv2.imwrite(str(root / f'{stem}_render_light.png'), render)
    (root / 'trainval.txt').write_text('/00000_image.png\n/00005_image.png\n\n')
    (root / 'namesUPlsp.txt').write_text('/00005_image.png\n')
    return np.stack(poses), np.stack(joints)


def write_surreal(root: Path, body: BodyModel, split: str, frames: int) -> dict[str, np.ndarray]:
    """SURREAL, one clip whose camera and joints follow its authors' published relations.

    The published camera is the identity up to axes: image x = 160 - 600 z / d, y = 120 + 600 y / d
    at the distance d = camera x - x, all in Blender's world.
    """
    rng = np.random.default_rng(8)
    camera = np.array([6.7, -0.9, -1.9])
    info: dict[str, list] = {name: [] for name in ('pose', 'shape', 'joints2D', 'joints3D')}
    zrot = rng.uniform(-np.pi, np.pi)
    for _ in range(frames):
        pose = rng.normal(0, 0.2, (24, 3))
        tilted = rotation_about(0, np.array(np.pi / 2)) @ rotation_about(1, np.array(0.4))
        pose[0] = axis_angle_from_matrix(tilted)  # z up
        shape = rng.normal(0, 0.5, 10)
        world = pose.copy()
        world[0] = axis_angle_from_matrix(
            rotation_about(0, np.array(np.pi / 2)) @ rotation_about(2, np.array(zrot)) @ tilted
        )
        joints = body(
            torch.tensor(world[None], dtype=torch.float32),
            torch.tensor(shape[None], dtype=torch.float32),
        )[1][0].numpy()
        joints = joints - joints[0] + [0.1, -1.0, -1.9]
        distance = camera[0] - joints[:, 0]
        seen = np.stack(
            [
                160 - 600 * (joints[:, 2] - camera[2]) / distance,
                120 + 600 * (joints[:, 1] - camera[1]) / distance,
            ]
        )
        for name, value in (
            ('pose', pose.ravel()),
            ('shape', shape),
            ('joints2D', seen),
            ('joints3D', joints.T),
        ):
            info[name].append(value)
    arrays = {name: np.stack(values, axis=-1).astype(np.float32) for name, values in info.items()}
    folder = root / f'data/cmu/{split}/run0/01_01'
    write_video(folder / '01_01_c0001.mp4', frames, (320, 240))
    scipy.io.savemat(
        folder / '01_01_c0001_info.mat',
        {
            **arrays,
            'gender': np.ones((frames, 1), np.uint8),
            'sequence': '01_01_c0001',
            'zrot': np.full((frames, 1), zrot, np.float32),
            'camLoc': camera[:, None],
        },
    )
    return arrays | {'zrot': np.array(zrot)}


def write_pw3d(root: Path, frames: int) -> dict[str, Any]:
    """3DPW, one sequence of two people; the second is lost in the first frame."""
    rng = np.random.default_rng(9)
    turns = rotation_about(0, np.pi + rng.normal(0, 0.2, frames))
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, :3, :3], cameras[:, 2, 3] = turns, 3.0
    found = np.stack(
        [np.vstack([joints_in_image(18, rng).T, np.ones(18)]) for _ in range(2 * frames)]
    ).reshape(2, frames, 3, 18)
    found[:, :, :, 4] = 0  # not found
    content = {
        'sequence': 'downtown_bar_00',
        'genders': ['m', 'f'],
        'poses': list(rng.normal(0, 0.3, (2, frames, 72))),
        'betas': [rng.normal(0, 1, 10), rng.normal(0, 1, 300)],
        'poses2d': list(found),
        'cam_poses': cameras,
        'cam_intrinsics': np.eye(3),
        'img_frame_ids': np.arange(frames),
        'campose_valid': [np.ones(frames, np.int64), np.array([0] + [1] * (frames - 1))],
        'texture_maps': [],
        'trans': list(np.zeros((2, frames, 3))),
    }
    path = root / 'sequenceFiles/test/downtown_bar_00.pkl'
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    for number in range(frames):
        write_image(root / f'imageFiles/downtown_bar_00/image_{number:05d}.jpg')
    return content


def write_h36m(
    root: Path, subjects: tuple[int, ...], frames: int, as_video: bool = False
) -> dict[str, Any]:
    """Human3.6M, one action of each subject in two cameras; returns camera, joints, body."""
    rng = np.random.default_rng(10)
    annotations = root / 'annotations'
    annotations.mkdir(parents=True)
    turn = rotation_about(0, np.array(np.pi / 2)) @ rotation_about(2, np.array(0.3))
    camera = {
        'R': turn.tolist(),
        't': [100.0, 900.0, 4000.0],
        'f': [1145.0, 1143.8],
        'c': [512.5, 515.5],
    }
    joints = rng.normal(0, 300, (frames, 17, 3)) + [0, 0, 900]
    body = {
        'pose': rng.normal(0, 0.3, 72).tolist(),
        'shape': rng.normal(0, 1, 10).tolist(),
        'trans': [0, 0, 0],
    }
    for subject in subjects:
        images = []
        for place in (1, 4):
            sequence = f's_{subject:02d}_act_02_subact_01_ca_{place:02d}'
            names = [f'{sequence}/{sequence}_{number + 1:06d}.jpg' for number in range(frames)]
            images += [
                {
                    'id': 1000 * place + number,
                    'file_name': name,
                    'width': 1000,
                    'height': 1002,
                    'subject': subject,
                    'action_idx': 2,
                    'subaction_idx': 1,
                    'cam_idx': place,
                    'frame_idx': number,
                }
                for number, name in enumerate(names)
            ]
            if as_video:
                write_video(root / f'videos/{sequence}.mp4', frames, (1000, 1002))
            else:
                for name in names:
                    write_image(root / 'images' / name, (1000, 1002))
        tree = {str(number): joints[number].tolist() for number in range(frames)}
        for name, content in (
            (
                'data',
                {
                    'images': images,
                    'annotations': [
                        {'id': image['id'], 'image_id': image['id'], 'bbox': [0, 0, 9, 9]}
                        for image in images
                    ],
                },
            ),
            ('camera', {'1': camera, '4': camera}),
            ('joint_3d', {'2': {'1': tree}}),
            ('smpl_param', {'2': {'1': {'0': body}}}),
        ):
            path = annotations / f'Human36M_subject{subject}_{name}.json'
            path.write_text(json.dumps(content))
    return {'turn': turn, 'camera': camera, 'joints': joints, 'body': body}


def exchanged(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Arrays of an npz as SPIN exchanges it, with every key."""
    joints = np.stack([joints_in_image(24, rng) for _ in range(count)])
    return {
        'imgname': np.array([f'images/p{number}.jpg' for number in range(count)]),
        'center': np.tile([60.0, 45.0], (count, 1)),
        'scale': np.full(count, 0.35),
        'part': np.concatenate([joints, rng.integers(0, 2, (count, 24, 1))], axis=2),
        'S': np.concatenate([rng.normal(0, 1, (count, 24, 3)), np.ones((count, 24, 1))], axis=2),
        'pose': np.stack([public_pose(rng).ravel() for _ in range(count)]),
        'shape': rng.normal(0, 1, (count, 10)),
        'has_smpl': np.arange(count) % 3 > 0,
        'gender': np.array(list('mfn' * count)[:count]),
        'maskname': np.array([f'data/m{number}.png' for number in range(count)]),
        'partname': np.array([f'data/q{number}.png' for number in range(count)]),
        'openpose': np.concatenate(
            [joints[:, :1] + rng.normal(0, 1, (count, 25, 2)), np.full((count, 25, 1), 0.9)],
            axis=2,
        ),
    }


def write_exchanged(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """The npz, beside the images that it names."""
    for name in arrays['imgname']:
        write_image(folder / str(name))
    np.savez(folder / 'people.npz', **arrays)
    return folder / 'people.npz'
