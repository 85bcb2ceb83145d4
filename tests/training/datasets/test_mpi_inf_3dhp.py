"""MPI-INF-3DHP: the training videos, and the test sequences with their HDF5 annotations."""

from __future__ import annotations

import sys
from pathlib import Path

import fake_datasets as fake
import numpy as np
import pytest
import scipy.io

from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS
from training.datasets.registry import public_dataset
from training.records.image_files import read_rgb


@pytest.mark.parametrize('as_video', [False, True])
def test_mpi_inf_3dhp_trains_on_every_tenth_frame_of_eight_cameras(
    tmp_path: Path, as_video: bool
) -> None:
    points, joints = fake.write_mpi_train(tmp_path, 12, as_video)
    people = public_dataset('mpi_inf_3dhp').records(tmp_path, 'train', check_images=False)
    assert len(people) == 16
    record = people[1]
    assert record.image == 'S1/Seq1/imageFrames/video_0/frame_000011.jpg'
    for joint, place in (
        ('pelvis', 4),
        ('left_knee', 19),
        ('right_ankle', 25),
        ('spine', 3),
        ('neck', 5),
        ('jaw', 6),
        ('head', 7),
        ('left_wrist', 11),
        ('right_shoulder', 14),
    ):
        number = ANNOTATED_JOINTS.index(joint)
        np.testing.assert_allclose(record.keypoints_2d[number], [*points[10, place], 1], rtol=1e-5)
        np.testing.assert_allclose(
            record.keypoints_3d[number, :3], (joints[10, place] - joints[10, 4]) / 1000, atol=1e-5
        )
    absent = [ANNOTATED_JOINTS.index(joint) for joint in ('head_top', 'nose')]
    assert not record.keypoints_2d[absent].any()
    if as_video:
        image = read_rgb(tmp_path / record.image)
        assert abs(int(image[32, 48, 0]) - 40) < 12, 'the frame of that number'
        assert len(list(tmp_path.rglob('*.jpg'))) == 16


def test_mpi_inf_3dhp_leaves_out_people_who_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / 'S1/Seq1/annot.mat'
    fake.write_mpi_train(tmp_path, 12, as_video=False)
    content = scipy.io.loadmat(path)
    content['annot2'][0, 0][0, 8] = -3.0  # the root's x in camera 0, first frame
    scipy.io.savemat(path, {name: content[name] for name in ('annot2', 'annot3')})
    people = public_dataset('mpi_inf_3dhp').records(tmp_path, 'train')
    assert len(people) == 15
    assert people[0].image.endswith('video_0/frame_000011.jpg')


def check_mpi_test_people(root: Path, content: dict[str, np.ndarray]) -> None:
    people = public_dataset('mpi_inf_3dhp').records(root, 'test')
    start = 'mpi_inf_3dhp_test_set/TS1/imageSequence'
    # The second frame is not valid, in the third a joint is outside the image.
    assert [record.image for record in people] == [
        f'{start}/img_000001.jpg',
        f'{start}/img_000004.jpg',
    ]
    for joint, place in (
        ('pelvis', 14),
        ('left_hip', 11),
        ('right_ankle', 10),
        ('spine', 15),
        ('neck', 1),
        ('jaw', 16),
        ('head', 0),
        ('left_wrist', 7),
        ('right_wrist', 4),
    ):
        number = ANNOTATED_JOINTS.index(joint)
        np.testing.assert_allclose(
            people[1].keypoints_2d[number, :2], content['annot2'][3, 0, place], rtol=1e-5
        )
        expected = content['univ_annot3'][3, 0, place] - content['univ_annot3'][3, 0, 14]
        np.testing.assert_allclose(people[1].keypoints_3d[number, :3], expected / 1000, atol=1e-5)


def test_the_test_set_of_mpi_inf_3dhp_has_its_own_joint_order(
    tmp_path: Path, hdf5: dict[str, np.ndarray]
) -> None:
    hdf5 |= fake.write_mpi_test(tmp_path, 4)
    (tmp_path / 'mpi_inf_3dhp_test_set/TS1/annot_data.mat').touch()
    check_mpi_test_people(tmp_path, hdf5)


def test_the_test_set_of_mpi_inf_3dhp_is_read_from_real_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip('h5py')
    content = fake.write_mpi_test(tmp_path, 4)
    with h5py.File(tmp_path / 'mpi_inf_3dhp_test_set/TS1/annot_data.mat', 'w') as handle:
        for name, array in content.items():
            handle[name] = array
    check_mpi_test_people(tmp_path, content)


def test_without_h5py_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.write_mpi_test(tmp_path, 3)
    (tmp_path / 'mpi_inf_3dhp_test_set/TS1/annot_data.mat').touch()
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ImportError, match=r'pip install -r requirements/datasets\.txt'):
        public_dataset('mpi_inf_3dhp').records(tmp_path, 'test')
