"""The npz exchange format: what is read, cleaned, counted and written."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import fake_datasets as fake
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS, lsp_regressor
from training.datasets.photographs import PeopleDataset
from training.datasets.readers.npz_format import read_npz, write_npz
from training.datasets.registry import load_people, public_dataset
from training.records.root_frame import root_frame_body, turned_poses
from training.targets.fits import fit_errors, fit_weights, read_fits, with_fit_errors


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Six people with all labels."""
    return fake.exchanged(6, np.random.default_rng(1))


def test_every_key_of_the_exchange_format_is_read(
    tmp_path: Path, arrays: dict[str, np.ndarray], tiny_body: BodyModel
) -> None:
    people = read_npz(fake.write_exchanged(tmp_path, arrays), tmp_path)
    assert (len(people), people.name, people.counts.people) == (6, 'people', 6)
    record = people[1]
    assert (record.image, record.mask, record.part_mask) == (
        'images/p1.jpg',
        'data/m1.png',
        'data/q1.png',
    )
    np.testing.assert_allclose(record.center, [60, 45])
    assert record.side == pytest.approx(70.0), 'scale times 200 px'
    np.testing.assert_allclose(record.keypoints_2d, arrays['part'][1], rtol=1e-6)
    np.testing.assert_allclose(record.keypoints_3d, arrays['S'][1], rtol=1e-6)
    np.testing.assert_allclose(record.shape, arrays['shape'][1], rtol=1e-6)
    assert [person.gender for person in people] == ['male', 'female', 'neutral'] * 2
    assert [person.pose is None for person in people] == [True, False, False] * 2, 'has_smpl'
    public = torch.tensor(arrays['pose'][1].reshape(1, 24, 3), dtype=torch.float32)
    shape = torch.tensor(record.shape[None])
    expected = tiny_body(public, shape)[0][0] - tiny_body(public, shape)[1][0, 0]
    vertices, joints = root_frame_body(tiny_body, torch.tensor(record.pose[None]), shape)
    torch.testing.assert_close(vertices[0] - joints[0, 0], expected, atol=1e-5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(
    st.sets(
        st.sampled_from(
            ['part', 'S', 'smpl', 'has_smpl', 'gender', 'maskname', 'partname', 'openpose']
        )
    )
)
def test_any_of_the_optional_keys_may_be_missing(
    tmp_path_factory: pytest.TempPathFactory, kept: set[str]
) -> None:
    folder = tmp_path_factory.mktemp('people')
    arrays = fake.exchanged(4, np.random.default_rng(2))
    kept = kept | {'imgname', 'center', 'scale'} | ({'pose', 'shape'} if 'smpl' in kept else set())
    subset = {name: array for name, array in arrays.items() if name in kept}
    people = read_npz(fake.write_exchanged(folder, subset), folder, use_openpose=True)
    record = people[1]
    assert (record.keypoints_2d is None) == (not kept & {'part', 'openpose'})
    assert (record.keypoints_3d is None) == ('S' not in kept)
    assert (record.pose is None) == ('smpl' not in kept)
    assert record.gender == ('female' if 'gender' in kept else 'neutral')
    assert people.counts.unknown_genders == (0 if 'gender' in kept else 4)
    assert bool(record.mask) == ('maskname' in kept)
    # Without has_smpl every pose counts.
    assert (people[0].pose is not None) == ('smpl' in kept and 'has_smpl' not in kept)


def test_openpose_joints_replace_missing_annotations(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    nose, elbow, neck = (ANNOTATED_JOINTS.index(joint) for joint in ('nose', 'left_elbow', 'neck'))
    arrays['part'][0, [nose, elbow, neck], 2] = (0, 1, 0)
    path = fake.write_exchanged(tmp_path, arrays)
    filled = read_npz(path, tmp_path, use_openpose=True)[0].keypoints_2d
    np.testing.assert_allclose(filled[nose], arrays['openpose'][0, 0], rtol=1e-6)
    np.testing.assert_allclose(filled[elbow], arrays['part'][0, elbow], rtol=1e-6)
    assert filled[neck, 2] == 0, 'OpenPose has its neck elsewhere'
    assert read_npz(path, tmp_path)[0].keypoints_2d[nose, 2] == 0


def test_unusable_records_are_left_out_and_counted(
    tmp_path: Path, arrays: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    path = fake.write_exchanged(tmp_path, arrays)
    arrays['part'][4, 3, 0] = np.nan
    arrays['S'][4, 5, 2] = np.inf
    arrays['pose'][4, 7] = np.nan
    arrays['gender'] = np.array(['m', 'f', '', 'x', 'm', 'f'])
    arrays['center'][5] = (200, 45)  # the image is 120 px wide, the square 70 px
    arrays['scale'][3] = np.nan
    np.savez(path, **arrays)
    (tmp_path / 'images/p0.jpg').write_bytes(b'')
    (tmp_path / 'images/p1.jpg').unlink()
    with caplog.at_level(logging.INFO):
        people = read_npz(path, tmp_path, 'crowd')
    assert [record.image for record in people] == ['images/p2.jpg', 'images/p4.jpg']
    counts = people.counts
    assert (
        counts.people,
        counts.unreadable_images,
        counts.outside_boxes,
        counts.invalid_boxes,
        counts.nan_keypoints,
        counts.nan_poses,
        counts.unknown_genders,
    ) == (6, 2, 1, 1, 2, 1, 1)
    record = people[1]
    assert record.keypoints_2d[3].tolist() == [0, 0, 0]
    assert record.keypoints_3d[5].tolist() == [0, 0, 0, 0]
    assert record.pose is None
    assert people[0].gender == 'neutral'
    lines = [line.getMessage() for line in caplog.records]
    assert lines == [
        'crowd: 2 of 6 people (2 unreadable images, 1 outside boxes, 1 invalid '
        'boxes, 2 nan keypoints, 1 nan poses, 1 unknown genders)'
    ]


@pytest.mark.parametrize(
    ('x', 'is_in'), [(-35.6, False), (-35.4, True), (154.4, True), (154.6, False)]
)
def test_a_square_that_touches_the_image_is_valid(
    tmp_path: Path, arrays: dict[str, np.ndarray], x: float, is_in: bool
) -> None:
    arrays['center'][2] = (x, 45)
    people = read_npz(fake.write_exchanged(tmp_path, arrays), tmp_path)
    assert (len(people) == 6) == is_in


def test_an_image_cut_off_before_its_size_is_unreadable(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    path = fake.write_exchanged(tmp_path, arrays)
    image = tmp_path / 'images/p2.jpg'
    image.write_bytes(image.read_bytes()[:60])
    (tmp_path / 'images/p3.jpg').write_bytes(b'this is no image')
    assert read_npz(path, tmp_path).counts.unreadable_images == 2
    assert read_npz(path, tmp_path, check_images=False).counts.unreadable_images == 0


def test_a_root_that_has_none_of_the_images_is_an_error(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    path = fake.write_exchanged(tmp_path, arrays)
    with pytest.raises(
        ValueError,
        match=r'6 unreadable images\); is .*images the folder to which '
        r'paths such as images/p0\.jpg are relative',
    ):
        read_npz(path, tmp_path / 'images')
    with pytest.raises(FileNotFoundError, match='elsewhere is not a folder'):
        read_npz(path, tmp_path / 'elsewhere')


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        ({'scale': None}, 'has no scale'),
        ({'center': None, 'scale': None}, 'no center and no scale'),
        (
            {'part': np.zeros((6, 17, 3))},
            r'part in .* has shape \(6, 17, 3\), expected \(6, 24, 3\)',
        ),
        ({'shape': np.zeros((5, 10))}, r'shape in .* for 6 people'),
        ({'imgname': np.arange(6)}, 'imgname in .* has the type int64, expected text'),
        ({'pose': np.full((6, 72), 'a')}, 'pose in .* expected numbers'),
        ({'gender': np.array(list('mfmfmf'), object)}, 'is not an npz of plain arrays'),
    ],
)
def test_an_npz_of_another_format_is_reported_with_the_difference(
    tmp_path: Path, arrays: dict[str, np.ndarray], change: dict, complaint: str
) -> None:
    path = fake.write_exchanged(tmp_path, arrays)
    arrays |= change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=complaint):
        read_npz(path, tmp_path)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut off', b'no zip'])
def test_a_damaged_npz_is_an_error_with_advice(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'people.npz'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'people\.npz is not an npz .*training\.preprocess'):
        read_npz(path, tmp_path)


def test_a_written_file_is_read_back_unchanged(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    people = read_npz(fake.write_exchanged(tmp_path, arrays), tmp_path)
    write_npz(people, tmp_path / 'new/again.npz')
    for image in tmp_path.glob('images/*'):
        image.write_bytes(b'')  # sizes are in the file: nobody looks again
    again = read_npz(tmp_path / 'new/again.npz', tmp_path)
    for ours, theirs in zip(people, again, strict=True):
        assert (ours.image, ours.gender, ours.mask, ours.part_mask) == (
            theirs.image,
            theirs.gender,
            theirs.mask,
            theirs.part_mask,
        )
        for name in ('center', 'side', 'keypoints_2d', 'keypoints_3d', 'shape', 'pose'):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert not list(tmp_path.rglob('*.part.*'))


def test_written_files_have_the_keys_and_units_of_the_format(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    write_npz(read_npz(fake.write_exchanged(tmp_path, arrays), tmp_path), tmp_path / 'again.npz')
    with np.load(tmp_path / 'again.npz', allow_pickle=False) as content:
        for name in ('imgname', 'center', 'scale', 'part', 'S', 'has_smpl', 'gender', 'maskname'):
            expected = arrays[name]
            if expected.dtype.kind == 'U':
                assert content[name].tolist() == expected.tolist()
            else:
                np.testing.assert_allclose(content[name], expected, rtol=1e-6)
        chosen = arrays['has_smpl']
        turns = [
            turned_poses(pose.reshape(-1, 24, 3))[..., 0, :]
            for pose in (content['pose'][chosen], arrays['pose'][chosen])
        ]
        np.testing.assert_allclose(*turns, atol=1e-5)


@pytest.fixture
def without_smpl(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """An npz as SPIN has it for photographs: 2D joints alone; with its fits beside it."""
    for name in ('pose', 'shape', 'has_smpl', 'S', 'gender'):
        if name in ('pose', 'shape'):
            np.save(tmp_path / f'{name}.npy', arrays[name])
        del arrays[name]
    fits = np.hstack([np.load(tmp_path / 'pose.npy'), np.load(tmp_path / 'shape.npy')])
    fits[3] = 0  # no fit
    fits[4, 20] = np.nan
    np.save(tmp_path / 'coco_fits.npy', fits)
    np.savez(
        tmp_path / 'coco_fits.npz',
        pose=fits[:, :72],
        betas=fits[:, 72:],
        valid_fit=np.array([1, 1, 1, 0, 0, 1]),
    )
    return fake.write_exchanged(tmp_path, arrays)


@pytest.mark.parametrize('name', ['coco_fits.npy', 'coco_fits.npz'])
def test_fits_of_spin_become_poses(without_smpl: Path, name: str) -> None:
    folder = without_smpl.parent
    people = read_npz(without_smpl, folder, fits=folder / name)
    assert [record.is_fit for record in people] == [True, True, True, False, False, True]
    assert people[0].fit_error is None
    expected = np.load(folder / 'pose.npy')[0].reshape(24, 3).astype(np.float32)
    np.testing.assert_allclose(people[0].pose, turned_poses(expected), atol=1e-6)
    assert people.without_fits()[0].pose is None
    assert people.without_fits()[0].keypoints_2d is not None


def test_fits_stay_with_their_people_when_others_are_left_out(without_smpl: Path) -> None:
    folder = without_smpl.parent
    (folder / 'images/p0.jpg').unlink()
    people = read_npz(without_smpl, folder, fits=folder / 'coco_fits.npy')
    np.testing.assert_allclose(people[0].shape, np.load(folder / 'shape.npy')[1], rtol=1e-6)
    assert people[0].image == 'images/p1.jpg'


def test_measured_bodies_are_not_replaced_by_fits(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    path = fake.write_exchanged(tmp_path, arrays)
    np.save(tmp_path / 'fits.npy', np.full((6, 82), 0.3))
    people = read_npz(path, tmp_path, fits=tmp_path / 'fits.npy')
    assert [record.is_fit for record in people] == [True, False, False] * 2
    np.testing.assert_allclose(people[1].shape, arrays['shape'][1], rtol=1e-6)
    kept = people.without_fits()
    assert [record.pose is None for record in kept] == [True, False, False] * 2


def test_fits_for_other_people_are_rejected(without_smpl: Path) -> None:
    folder = without_smpl.parent
    np.save(folder / 'few.npy', np.ones((5, 82)))
    with pytest.raises(ValueError, match='5 fits for 6 people'):
        read_npz(without_smpl, folder, fits=folder / 'few.npy')
    np.save(folder / 'wide.npy', np.ones((6, 85)))
    with pytest.raises(ValueError, match=r'wide\.npy has no fits .*an \.npy \(N, 82\)'):
        read_fits(folder / 'wide.npy')
    with pytest.raises(ValueError, match='has no fits'):
        read_fits(without_smpl)


def test_the_weight_of_a_fit_falls_with_its_error() -> None:
    weights = fit_weights(np.array([0, 0.025, 0.05, 0.1, 1, np.inf, np.nan]))
    np.testing.assert_allclose(weights, [1, 0.75, 0.5, 0, 0, 0, 1], atol=1e-6)


@given(st.lists(st.floats(0, 2), min_size=2, max_size=10))
def test_a_worse_fit_never_weighs_more(errors: list[float]) -> None:
    weights = fit_weights(np.sort(errors))
    assert (np.diff(weights) <= 0).all()
    assert ((weights >= 0) & (weights <= 1)).all()


def test_the_error_of_a_fit_is_its_distance_over_the_size_of_the_person(
    tiny_body: BodyModel,
) -> None:
    rng = np.random.default_rng(5)
    pose = turned_poses(np.stack([fake.public_pose(rng) for _ in range(4)]).astype(np.float32))
    shape = np.zeros((4, 10), np.float32)
    regressor = lsp_regressor(tiny_body)
    vertices = root_frame_body(tiny_body, torch.tensor(pose), torch.tensor(shape))[0].numpy()
    keypoints = np.zeros((4, 24, 3), np.float32)
    keypoints[:, :14, :2] = (regressor @ vertices)[..., :2] * 80 + [300, 200]
    keypoints[:, :14, 2] = 1
    sizes = (keypoints[:, :14, :2].max(1) - keypoints[:, :14, :2].min(1)).max(1)
    keypoints[1, :14:2, 0] += 0.02 * sizes[1]  # half of the joints by a fiftieth of the person
    keypoints[2, 0] = 0  # unknown: neither moves the camera nor counts
    keypoints[3, 2:, 2] = 0
    errors = fit_errors(tiny_body, regressor, pose, shape, keypoints)
    np.testing.assert_allclose(errors[[0, 2]], 0, atol=1e-4)
    assert errors[1] == pytest.approx(0.01, rel=0.25)
    assert np.isinf(errors[3]), 'two joints determine no fit'


def test_records_carry_the_errors_of_their_fits(without_smpl: Path, tiny_body: BodyModel) -> None:
    folder = without_smpl.parent
    people = with_fit_errors(
        read_npz(without_smpl, folder, fits=folder / 'coco_fits.npy'),
        tiny_body,
        lsp_regressor(tiny_body),
    )
    errors = [record.fit_error for record in people]
    assert [error is None for error in errors] == [False, False, False, True, True, False]
    assert errors[0] > 0.05, 'the joints of this test are anywhere'


def test_a_fit_with_too_few_known_joints_has_weight_zero(
    without_smpl: Path, tiny_body: BodyModel
) -> None:
    with np.load(without_smpl) as content:
        arrays = dict(content)
    arrays['part'][0, 2:, 2] = 0
    np.savez(without_smpl, **arrays)
    people = with_fit_errors(
        read_npz(without_smpl, without_smpl.parent, fits=without_smpl.parent / 'coco_fits.npy'),
        tiny_body,
        lsp_regressor(tiny_body),
    )
    assert people[0].fit_error == np.inf
    assert PeopleDataset(people)[0]['mesh_weight'] == 0


def test_a_data_set_is_loaded_by_name_from_either_format(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    fake.write_coco(tmp_path)
    direct = load_people('coco', tmp_path)
    assert direct.name == 'coco train'
    path = fake.write_exchanged(tmp_path, arrays)
    assert len(load_people('coco', tmp_path, path)) == 6
    with pytest.raises(
        FileNotFoundError,
        match=re.escape(
            f'python -m training.preprocess coco --root {tmp_path} --out {tmp_path}/none.npz'
        ),
    ):
        load_people('coco', tmp_path, tmp_path / 'none.npz')
    with pytest.raises(
        FileNotFoundError, match=r'nowhere is missing; the expected layout of COCO 2014'
    ):
        load_people('coco', tmp_path / 'nowhere', path)
    with pytest.raises(ValueError, match='give the npz that they were made for'):
        load_people('coco', tmp_path, fits=tmp_path / 'fits.npy')
    with pytest.raises(ValueError, match="no data set 'koko'; take one of coco, h36m"):
        public_dataset('koko')
