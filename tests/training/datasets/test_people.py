"""Samples of people: crops, joints in them, bodies and their weights."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import fake_datasets as fake
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from decomr_core.body_models import BodyModel
from decomr_core.geometry.crop import image_from_crop_xy
from training.datasets.photographs import PeopleConfig, PeopleDataset
from training.datasets.readers.npz_format import read_npz
from training.records.augmentation import AugmentationConfig
from training.records.person_record import GENDERS, PersonRecord
from training.records.person_records import PersonRecords
from training.records.root_frame import root_frame_body
from training.records.workers import set_up_worker

SMALL = PeopleConfig(size=32)


@pytest.fixture
def records(tmp_path: Path) -> PersonRecords:
    """Six people, of whom four have bodies."""
    arrays = fake.exchanged(6, np.random.default_rng(1))
    return read_npz(fake.write_exchanged(tmp_path, arrays), tmp_path)


def test_a_sample_shows_the_square_and_the_joints_in_it(
    records: PersonRecords, tiny_body: BodyModel
) -> None:
    sample = PeopleDataset(records, SMALL)[1]
    record = records[1]
    assert sample['image'].shape == (32, 32, 3)
    # The middle of the square is the middle of the image: the left half is bright.
    assert sample['image'][16, 4:12].min() > 210
    assert sample['image'][16, 20:28].max() < 100
    back = image_from_crop_xy(sample['keypoints_2d'][:, :2], record.center, record.side)
    known = record.keypoints_2d[:, 2] > 0
    np.testing.assert_allclose(back[known], record.keypoints_2d[known, :2], atol=1e-3)
    assert not sample['keypoints_2d'][~known].any()
    np.testing.assert_allclose(sample['keypoints_3d'], record.keypoints_3d)
    assert (sample['index'], sample['mesh_weight']) == (1, 1)
    assert sample['gender'] == GENDERS.index('female')
    _, joints = root_frame_body(
        tiny_body, *(torch.from_numpy(sample[name])[None] for name in ('pose', 'shape'))
    )
    up = joints[0, 15] - joints[0, 0]
    assert up[1] < 0, 'the head is above the pelvis, and y points down'


def test_photographs_can_be_black_outside_of_a_box_around_the_joints(
    records: PersonRecords,
) -> None:
    white = np.full((200, 200, 3), 255, np.uint8)
    joints = np.zeros((24, 3), np.float32)
    joints[:2] = [[90, 60, 1], [110, 140, 1]]  # the box around the person: 82 to 118, 52 to 148
    square = replace(records[0], center=np.array([100, 100]), side=150.0, keypoints_2d=joints)

    class OnWhite(PeopleDataset):
        def _readable(self, index: int) -> tuple[int, PersonRecord, np.ndarray]:
            return index, square, white

    boxed = replace(AugmentationConfig.off(), boxed_share=1.0)
    config = PeopleConfig(size=150, augmentation=boxed)
    sides = []
    for seed in range(30):
        is_white = OnWhite(records, config).sample(0, np.random.default_rng(seed))['image'] > 128
        assert is_white[36:114, 66:84].all(), 'the joints stay visible'
        sides.append([is_white.any((0, 2)).sum(), is_white.any((1, 2)).sum()])
    assert 36 - 7 < np.median(sides, axis=0)[0] < 36 + 24
    assert 96 - 7 < np.median(sides, axis=0)[1] < 96 + 24
    plain = OnWhite(records, PeopleConfig(size=150)).sample(0, np.random.default_rng(0))
    assert plain['image'].all()


def test_unknown_values_are_zeros_of_weight_zero(records: PersonRecords) -> None:
    records = replace(records, keypoints_2d=None, keypoints_3d=None)
    sample = PeopleDataset(records, SMALL)[0]
    assert sample['mesh_weight'] == 0
    for name in ('keypoints_2d', 'keypoints_3d', 'pose', 'shape'):
        assert not sample[name].any()


@pytest.mark.parametrize(('weigh', 'weight'), [(True, 0.75), (False, 1.0)])
def test_a_fit_is_weighted_by_its_error_on_request(
    records: PersonRecords, weigh: bool, weight: float
) -> None:
    fitted = replace(records, is_fit=records.has_pose, fit_errors=np.full(6, 0.025, np.float32))
    dataset = PeopleDataset(fitted, config=replace(SMALL, weigh_fits=weigh))
    assert dataset[1]['mesh_weight'] == pytest.approx(weight)
    assert dataset[0]['mesh_weight'] == 0
    assert PeopleDataset(fitted.without_fits(), config=SMALL)[1]['mesh_weight'] == 0


def test_samples_stack_into_batches_of_plain_tensors(records: PersonRecords) -> None:
    loader = DataLoader(PeopleDataset(records, SMALL), batch_size=6)
    batch = next(iter(loader))
    types = {name: (tuple(value.shape), value.dtype) for name, value in batch.items()}
    assert types == {
        'image': ((6, 32, 32, 3), torch.uint8),
        'keypoints_2d': ((6, 24, 3), torch.float32),
        'keypoints_3d': ((6, 24, 4), torch.float32),
        'pose': ((6, 24, 3), torch.float32),
        'shape': ((6, 10), torch.float32),
        'mesh_weight': ((6,), torch.float32),
        'gender': ((6,), torch.int64),
        'crop_from_image': ((6, 2, 3), torch.float64),
        'image_size': ((6, 2), torch.int64),
        'index': ((6,), torch.int64),
    }


@pytest.mark.parametrize('num_workers', [0, 2])
def test_an_unreadable_image_is_replaced_and_counted(
    records: PersonRecords, num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (2, 3, 5):
        (records.root / f'images/p{number}.jpg').write_bytes(b'\xff\xd8 broken since')
    dataset = PeopleDataset(records, config=SMALL)
    with caplog.at_level(logging.WARNING):
        batches = list(
            DataLoader(
                dataset, num_workers=num_workers, batch_size=None, worker_init_fn=set_up_worker
            )
        )
    assert [int(sample['index']) for sample in batches] == [0, 1, 4, 4, 4, 0]
    assert dataset.num_unreadable == 4, 'p2 and p3 from 2, p3 from 3, p5 from 5'
    assert num_workers or 'p5.jpg; using the next image' in caplog.text


def test_a_removed_disk_is_an_error(records: PersonRecords) -> None:
    for image in records.root.glob('images/*'):
        image.unlink()
    with pytest.raises(
        RuntimeError, match='cannot read 20 consecutive images.*check that the disk is mounted'
    ):
        PeopleDataset(records, config=SMALL)[0]


def test_hundreds_of_thousands_of_people_use_little_memory(records: PersonRecords) -> None:
    many = records.select(np.arange(300_000) % 6)
    arrays = [value for value in vars(many).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) < 300_000 * 1100
    assert many[299_999].image == 'images/p5.jpg'


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        ({'center': np.zeros(3)}, r'center of a\.jpg has shape \(3,\)'),
        ({'keypoints_2d': np.zeros((14, 3))}, r'keypoints_2d of a\.jpg has shape'),
        ({'pose': np.zeros((24, 3))}, 'a pose or a shape without the other'),
        ({'gender': 'm'}, "gender of a.jpg is 'm', expected one of '', 'neutral'"),
    ],
)
def test_a_record_of_other_shapes_is_rejected(change: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        PersonRecord(**{'image': 'a.jpg', 'center': np.zeros(2), 'side': 1.0} | change)


def test_an_empty_set_is_rejected(records: PersonRecords) -> None:
    with pytest.raises(ValueError, match='has no people'):
        PeopleDataset(records.select(np.zeros(6, bool)))


def test_the_augmentation_follows_from_the_rng_and_can_be_disabled(records: PersonRecords) -> None:
    lively = PeopleDataset(records, replace(SMALL, augmentation=AugmentationConfig()))
    first, second, other = (lively.sample(1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first['image'], other['image'])
    plain = PeopleDataset(records, SMALL)
    assert np.array_equal(
        plain.sample(1, np.random.default_rng(1))['image'],
        plain.sample(1, np.random.default_rng(2))['image'],
    )
