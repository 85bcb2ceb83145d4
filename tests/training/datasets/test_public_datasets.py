"""Every public data set, read from tiny files in its own published format."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import fake_datasets as fake
import numpy as np
import pytest
import torch

from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS
from training.datasets.registry import PUBLIC_DATASETS, public_dataset
from training.records.image_files import read_rgb
from training.records.person_record import PersonRecord
from training.records.root_frame import root_frame_body
from training.targets.mesh_target import fit_camera


def posed(body: BodyModel, pose: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Joints (24, 3) about the pelvis, in the axes that the body's own frame is turned to."""
    joints = body(
        torch.tensor(pose[None], dtype=torch.float32),
        torch.tensor(shape[None], dtype=torch.float32),
    )[1][0].numpy()
    return joints - joints[0]


def seen_by_camera(body: BodyModel, record: PersonRecord) -> np.ndarray:
    """Joints (24, 3) of a record's body about the pelvis, root frame."""
    joints = root_frame_body(
        body, torch.tensor(record.pose[None]), torch.tensor(record.shape[None])
    )[1][0].numpy()
    return joints - joints[0]


def placed(record: PersonRecord, *joints: str) -> np.ndarray:
    """2D joints of a record by name."""
    return record.keypoints_2d[[ANNOTATED_JOINTS.index(joint) for joint in joints]]


def test_lsp_trains_on_the_first_thousand_and_tests_on_the_rest(tmp_path: Path) -> None:
    joints = fake.write_lsp(tmp_path, 1003, images=[0, 1, 1000, 1002])
    train = public_dataset('lsp').records(tmp_path, 'train')
    assert [record.image for record in train] == ['images/im0001.jpg', 'images/im0002.jpg']
    assert (train.counts.people, train.counts.unreadable_images) == (1000, 998)
    np.testing.assert_allclose(train[1].keypoints_2d[:14, :2], joints[:2, :, 1].T, rtol=1e-5)
    assert (train[1].keypoints_2d[:14, 2] == 1).all(), 'occluded joints are annotated as well'
    assert not train[1].keypoints_2d[14:].any()
    test = public_dataset('lsp').records(tmp_path, 'test')
    assert [record.mask for record in test] == [
        'data/lsp/im1001_segmentation.png',
        'data/lsp/im1003_segmentation.png',
    ]
    assert test[0].part_mask == 'data/lsp/im1001_part_segmentation.png'


def test_the_square_is_a_fifth_larger_than_the_box_around_the_joints(tmp_path: Path) -> None:
    joints = fake.write_lsp(tmp_path, 1, images=[0])[:2, :, 0].T
    record = public_dataset('lsp').records(tmp_path)[0]
    low, high = joints.min(0), joints.max(0)
    np.testing.assert_allclose(record.center, (low + high) / 2, rtol=1e-6)
    assert record.side == pytest.approx(1.2 * (high - low).max())


@pytest.mark.parametrize('high_resolution', [True, False])
def test_lsp_extended_is_read_in_both_releases(tmp_path: Path, high_resolution: bool) -> None:
    joints = fake.write_lsp_extended(tmp_path, 3, high_resolution)
    people = public_dataset('lsp_extended').records(tmp_path)
    assert [record.image for record in people] == [
        f'im{number:05d}.png' if high_resolution else f'images/im{number:05d}.jpg'
        for number in (1, 2, 3)
    ]
    assert people[0].keypoints_2d[6].tolist() == [0, 0, 0], 'the wrist was not placed'
    assert people[0].center.min() > 0, 'a joint that is not placed does not move the square'
    np.testing.assert_allclose(people[2].keypoints_2d[:14], joints[:, :, 2], rtol=1e-5)


def test_lsp_extended_requires_an_image_for_every_row(tmp_path: Path) -> None:
    fake.write_lsp_extended(tmp_path, 3, high_resolution=True)
    (tmp_path / 'im00002.png').unlink()
    with pytest.raises(ValueError, match='2 images and .* 3 people; unpack the whole data set'):
        public_dataset('lsp_extended').records(tmp_path)


def test_coco_takes_people_whose_limbs_are_all_annotated(tmp_path: Path) -> None:
    annotations = fake.write_coco(tmp_path)
    people = public_dataset('coco').records(tmp_path)
    assert len(people) == 2
    record = people[1]
    keypoints = np.array(annotations[1]['keypoints']).reshape(17, 3)
    assert record.image == 'train2014/COCO_train2014_000000000007.jpg'
    np.testing.assert_allclose(record.center, [50.5, 45.0])
    assert record.side == pytest.approx(84.0)
    for joint, place in (
        ('nose', 0),
        ('left_eye', 1),
        ('right_ear', 4),
        ('left_shoulder', 5),
        ('right_elbow', 8),
        ('left_wrist', 9),
        ('right_hip', 12),
        ('left_knee', 13),
        ('right_ankle', 16),
    ):
        np.testing.assert_allclose(placed(record, joint)[0], [*keypoints[place, :2], 1])
    assert not placed(record, 'neck', 'pelvis', 'head_top').any()


def test_mpii_takes_training_people_with_all_joints(tmp_path: Path) -> None:
    joints = fake.write_mpii(tmp_path / 'mpii')
    people = public_dataset('mpii').records(tmp_path / 'mpii')
    assert [record.image for record in people] == ['images/a.jpg', 'images/b.jpg']
    record = people[0]
    np.testing.assert_allclose(record.center, [60.0, 45.0])
    assert record.side == pytest.approx(80.0)
    for joint, place in (
        ('right_ankle', 0),
        ('left_hip', 3),
        ('pelvis', 6),
        ('thorax', 7),
        ('neck', 8),
        ('head_top', 9),
        ('right_wrist', 10),
        ('left_wrist', 15),
    ):
        np.testing.assert_allclose(placed(record, joint)[0], [*joints[place] - 1, 1], rtol=1e-5)


def test_up3d_gives_the_published_bodies_in_the_camera_frame(
    tmp_path: Path, tiny_body: BodyModel
) -> None:
    poses, joints = fake.write_up3d(tmp_path / 'up')
    people = public_dataset('up3d').records(tmp_path / 'up')
    assert [record.image for record in people] == ['00000_image.png', '00005_image.png']
    record = people[1]
    np.testing.assert_allclose(record.keypoints_2d[:14], joints[1].T, rtol=1e-5)
    np.testing.assert_allclose(record.center, [50.0, 45.0])
    assert record.side == pytest.approx(60.0)
    np.testing.assert_allclose(
        seen_by_camera(tiny_body, record), posed(tiny_body, poses[1], record.shape), atol=1e-5
    )
    assert (record.gender, people.counts.unknown_genders) == ('neutral', 0)
    assert len(public_dataset('up3d').records(tmp_path / 'up', 'lsp_test')) == 1


@pytest.mark.parametrize(('split', 'numbers'), [('train', [0, 10]), ('val', [6])])
def test_surreal_is_mirrored_back_so_that_bodies_and_images_agree(
    tmp_path: Path, tiny_body: BodyModel, split: str, numbers: list[int]
) -> None:
    info = fake.write_surreal(tmp_path, tiny_body, split, 12)
    people = public_dataset('surreal').records(tmp_path, split)
    assert len(people) == len(numbers)
    for record, number in zip(people, numbers, strict=True):
        assert record.image == f'frames/{split}/run0/01_01/01_01_c0001_{number:06d}.jpg'
        assert record.gender == 'male'
        joints = seen_by_camera(tiny_body, record)
        seen = info['joints2D'][:, :, number].T.copy()
        seen[:, 0] = 319 - seen[:, 0]
        keypoints = np.hstack([seen, np.ones((24, 1))])
        camera = (
            fit_camera(
                *(torch.tensor(array[None], dtype=torch.float32) for array in (joints, keypoints))
            )
            .camera[0]
            .numpy()
        )
        # What is left is perspective: the person is 6.6 m away and some 1.5 m large.
        np.testing.assert_allclose(camera[0] * (joints[:, :2] + camera[1:]), seen, atol=8)
        assert camera[0] == pytest.approx(600 / 6.6, rel=0.1)
        wrist = ANNOTATED_JOINTS.index('left_wrist')
        np.testing.assert_allclose(record.keypoints_2d[wrist], [*seen[20], 1], atol=1e-3)
        np.testing.assert_allclose(record.keypoints_3d[wrist, :3], joints[20], atol=1e-4)
        image = read_rgb(tmp_path / record.image)
        assert image[120, 240].mean() > 230, 'the bright half is on the other side now'
        assert abs(image[120, 80].mean() - 4 * number) < 12, 'the frame of that number'


def test_surreal_extracts_each_frame_once(tmp_path: Path, tiny_body: BodyModel) -> None:
    fake.write_surreal(tmp_path, tiny_body, 'val', 4)
    first = public_dataset('surreal').records(tmp_path, 'val')[0].image
    (tmp_path / 'data/cmu/val/run0/01_01/01_01_c0001.mp4').write_bytes(b'no video any more')
    assert public_dataset('surreal').records(tmp_path, 'val')[0].image == first


def test_a_file_that_is_not_a_video_is_reported(tmp_path: Path, tiny_body: BodyModel) -> None:
    fake.write_surreal(tmp_path, tiny_body, 'val', 4)
    (tmp_path / 'data/cmu/val/run0/01_01/01_01_c0001.mp4').write_bytes(b'no video')
    with pytest.raises(ValueError, match=r'c0001\.mp4 cannot be read as a video; download it'):
        public_dataset('surreal').records(tmp_path, 'val')


def test_3dpw_has_every_person_of_a_frame_turned_into_the_camera(
    tmp_path: Path, tiny_body: BodyModel
) -> None:
    content = fake.write_pw3d(tmp_path, 3)
    people = public_dataset('pw3d').records(tmp_path)
    assert [(record.image[-9:-4], record.gender) for record in people] == [
        ('00000', 'male'),
        ('00001', 'male'),
        ('00002', 'male'),
        ('00001', 'female'),
        ('00002', 'female'),
    ]
    record = people[3]
    pose = content['poses'][1][1].reshape(24, 3)
    world = posed(tiny_body, pose, content['betas'][1][:10])
    np.testing.assert_allclose(
        seen_by_camera(tiny_body, record), world @ content['cam_poses'][1, :3, :3].T, atol=1e-5
    )
    found = np.delete(content['poses2d'][1][1], 4, axis=1)[:2]
    np.testing.assert_allclose(record.center, (found.min(1) + found.max(1)) / 2, rtol=1e-5)
    assert record.keypoints_2d is None


def test_a_3dpw_file_that_runs_code_is_rejected(tmp_path: Path) -> None:
    fake.write_pw3d(tmp_path, 2)
    path = tmp_path / 'sequenceFiles/test/downtown_bar_00.pkl'
    path.write_bytes(b'cos\nsystem\n(S"true"\ntR.')
    with pytest.raises(ValueError, match='which is not allowed; expected a sequence of 3DPW'):
        public_dataset('pw3d').records(tmp_path)
    path.write_bytes(pickle.dumps({'sequence': 'x'}))
    with pytest.raises(ValueError, match='is not a sequence of 3DPW .*cam_poses'):
        public_dataset('pw3d').records(tmp_path)


def test_human36m_projects_the_joints_of_every_fifth_frame(
    tmp_path: Path, tiny_body: BodyModel
) -> None:
    truth = fake.write_h36m(tmp_path, (9, 11), 7)
    everywhere = public_dataset('h36m').records(tmp_path, 'p1')
    frontal = public_dataset('h36m').records(tmp_path, 'p2')
    assert (len(everywhere), len(frontal)) == (8, 4)
    assert {record.image.split('_ca_')[1][:2] for record in frontal} == {'04'}
    name = 's_09_act_02_subact_01_ca_04'
    assert frontal[1].image == f'images/{name}/{name}_000006.jpg'
    camera = truth['camera']
    seen = truth['joints'][5] @ truth['turn'].T + camera['t']
    for joint, place in (
        ('pelvis', 0),
        ('right_hip', 1),
        ('left_ankle', 6),
        ('spine', 7),
        ('neck', 8),
        ('jaw', 9),
        ('head', 10),
        ('left_shoulder', 11),
        ('right_wrist', 16),
    ):
        number = ANNOTATED_JOINTS.index(joint)
        x, y, z = seen[place]
        np.testing.assert_allclose(
            frontal[1].keypoints_2d[number],
            [1145.0 * x / z + 512.5, 1143.8 * y / z + 515.5, 1],
            rtol=1e-5,
        )
        np.testing.assert_allclose(
            frontal[1].keypoints_3d[number, :3], (seen[place] - seen[0]) / 1000, atol=1e-5
        )
    assert frontal[1].pose is None, 'only the first frame has a body'
    pose = np.array(truth['body']['pose']).reshape(24, 3)
    world = posed(tiny_body, pose, np.array(truth['body']['shape']))
    np.testing.assert_allclose(
        seen_by_camera(tiny_body, frontal[0]), world @ truth['turn'].T, atol=1e-5
    )


def test_human36m_trains_on_five_subjects_and_takes_frames_from_videos(tmp_path: Path) -> None:
    fake.write_h36m(tmp_path, (1, 5, 6, 7, 8), 6, as_video=True)
    people = public_dataset('h36m').records(tmp_path, 'train')
    assert len(people) == 5 * 2 * 2
    assert {record.image[9:11] for record in people} == {'01', '05', '06', '07', '08'}
    level = read_rgb(tmp_path / people[1].image)[500, 750].mean()
    assert abs(level - 4 * 5) < 12, 'the frame of that number'
    assert not list(tmp_path.rglob('*.part.*'))


def test_human36m_annotations_that_do_not_agree_are_named(tmp_path: Path) -> None:
    fake.write_h36m(tmp_path, (9, 11), 1)
    (tmp_path / 'annotations/Human36M_subject9_joint_3d.json').write_text('{"2": {}}')
    with pytest.raises(ValueError, match=r'subject9_data\.json and the files beside it do not'):
        public_dataset('h36m').records(tmp_path, 'p1')


@pytest.mark.parametrize('name', sorted(PUBLIC_DATASETS))
def test_a_missing_file_is_reported_with_its_source(tmp_path: Path, name: str) -> None:
    dataset = PUBLIC_DATASETS[name]
    for split in dataset.splits:
        with pytest.raises(FileNotFoundError) as error:
            dataset.records(tmp_path, split)
        message = str(error.value)
        assert str(tmp_path) in message
        assert all(item in message for item in dataset.layout)
        assert dataset.licence in message
        assert 'http' in message
        assert '\n' not in message
    with pytest.raises(FileNotFoundError, match='nowhere is missing'):
        dataset.records(tmp_path / 'nowhere')


@pytest.mark.parametrize('name', sorted(PUBLIC_DATASETS))
def test_an_unknown_split_is_rejected_with_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f'take one of {PUBLIC_DATASETS[name].splits[0]}'):
        PUBLIC_DATASETS[name].records(tmp_path, 'everything')


@pytest.mark.parametrize(
    ('name', 'damage'),
    [('lsp', b'MATLAB 5.0 MAT-file, cut off'), ('lsp_extended', b''), ('mpii', b'\0' * 200)],
)
def test_a_damaged_matlab_file_is_named(tmp_path: Path, name: str, damage: bytes) -> None:
    (tmp_path / 'images').mkdir()
    path = tmp_path / ('mpii_human_pose_v1_u12_1.mat' if name == 'mpii' else 'joints.mat')
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=f'{path.name} is not a readable MATLAB file'):
        public_dataset(name).records(tmp_path)


def test_the_wrong_joints_file_is_recognised(tmp_path: Path) -> None:
    fake.write_lsp_extended(tmp_path, 2, high_resolution=False)
    with pytest.raises(ValueError, match='for the extended set use lsp_extended'):
        public_dataset('lsp').records(tmp_path)
    fake.write_lsp(tmp_path, 2, [])
    with pytest.raises(ValueError, match='for the set of 2000 images use lsp'):
        public_dataset('lsp_extended').records(tmp_path)


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('{', 'is not JSON'),
        ('{"images": []}', "has no 'annotations'"),
        (json.dumps({'images': [], 'annotations': [{'keypoints': [1] * 51}]}), "KeyError: 'bbox'"),
    ],
)
def test_damaged_json_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    fake.write_coco(tmp_path)
    (tmp_path / 'annotations/person_keypoints_train2014.json').write_text(text)
    with pytest.raises(ValueError, match=complaint):
        public_dataset('coco').records(tmp_path)


def test_the_exif_orientation_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / 'turned.jpg'
    fake.write_image(path)
    # An EXIF segment (APP1) that says orientation 6: to be turned by 90 degrees.
    exif = b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0'
    content = path.read_bytes()
    path.write_bytes(
        content[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + content[2:]
    )
    assert cv2.imread(str(path)).shape == (120, 90, 3)
    assert read_rgb(path).shape == (90, 120, 3)
