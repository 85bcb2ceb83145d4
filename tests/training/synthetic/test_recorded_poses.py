"""Recorded poses: drawn by action, mirrored, and rejected if the file has another format."""

from __future__ import annotations

import numpy as np
import pytest

from decomr_core.body_models.joints import MIRRORED_JOINTS
from training.synthetic.bodies.recorded_poses import HAND_SPREAD, RARE_POSES, RecordedPoses
from training.synthetic.held_out import held_out_set
from training.synthetic.people import SyntheticPeople
from training.synthetic.synthetic_config import SyntheticConfig


def write(path, poses, action):
    np.savez(path, poses=np.asarray(poses, np.float16), action=action)
    return path


@pytest.fixture
def recorded(tmp_path):
    """Two actions: 0 bends the left elbow in many frames, 1 the left knee in few."""
    poses = np.zeros((20 * RARE_POSES, 24, 3))
    action = np.zeros(len(poses), int)
    action[:RARE_POSES] = 1
    poses[action == 0, 18] = (0.2, 0.5, 1.0)
    poses[action == 1, 4] = (1.0, 0.25, 0.5)
    return write(tmp_path / 'poses.npz', poses, action)


def test_actions_are_drawn_equally_often_and_each_pose_also_mirrored(recorded):
    poses = RecordedPoses(recorded).sample(np.random.default_rng(0), 2000)
    body = poses[:, :22]
    bends_elbow = np.abs(body[:, 18:20]).sum(axis=(1, 2)) > 0
    assert 0.45 < bends_elbow.mean() < 0.55
    left = body[bends_elbow][:, 18, 0] != 0
    assert 0.4 < left.mean() < 0.6
    assert MIRRORED_JOINTS[18] == 19
    np.testing.assert_allclose(
        body[bends_elbow][left][:, 18], [[0.2, 0.5, 1.0]] * left.sum(), atol=1e-3
    )
    np.testing.assert_allclose(
        body[bends_elbow][~left][:, 19], [[0.2, -0.5, -1.0]] * (~left).sum(), atol=1e-3
    )
    assert poses[:, 22:].std() == pytest.approx(HAND_SPREAD, rel=0.05)


@pytest.mark.parametrize(
    ('poses', 'action', 'said'),
    [
        (np.zeros((3, 23, 3)), np.zeros(3, int), r'expected \(N, 24, 3\)'),
        (np.zeros((0, 24, 3)), np.zeros(0, int), r'expected \(N, 24, 3\)'),
        (np.zeros((3, 24, 3)), np.zeros(2, int), r'expected \(N, 24, 3\)'),
        (np.zeros((3, 24, 3)), np.full(3, -1), 'numbers from 0'),
        (np.full((3, 24, 3), np.nan), np.zeros(3, int), 'not finite'),
    ],
)
def test_a_file_of_another_format_is_rejected(tmp_path, poses, action, said):
    with pytest.raises(ValueError, match=said):
        RecordedPoses(write(tmp_path / 'poses.npz', poses, action))


def test_a_damaged_or_missing_file_is_reported(tmp_path, recorded):
    with pytest.raises(FileNotFoundError, match='set data.poses_file'):
        RecordedPoses(tmp_path / 'nowhere.npz')
    (tmp_path / 'text.npz').write_text('no poses')
    (tmp_path / 'cut.npz').write_bytes(recorded.read_bytes()[:1000])
    np.savez(tmp_path / 'other.npz', poses=np.zeros((3, 24, 3)))
    for name in ('text', 'cut', 'other'):
        with pytest.raises(ValueError, match=f'{name}.npz has no poses'):
            RecordedPoses(tmp_path / f'{name}.npz')


def test_half_of_the_people_and_no_held_out_ones_use_recorded_poses(
    recorded, tiny_body, tiny_uv_map
):
    plain = SyntheticConfig(size=32, batch_size=4)
    config = SyntheticConfig(size=32, batch_size=4, poses_file=str(recorded), recorded_share=0.5)
    people = SyntheticPeople(config, tiny_body, tiny_uv_map, seed=1)
    poses = people._sample_poses(np.random.default_rng(0), 400)
    is_recorded = (np.abs(poses[:, 1:22]) > 0).sum(axis=(1, 2)) <= 3
    assert 0.4 < is_recorded.mean() < 0.6
    assert people.batch(0).images.shape == (4, 32, 32, 3)
    for one, other in zip(
        held_out_set(plain, tiny_body, tiny_uv_map, 3).pose,
        held_out_set(config, tiny_body, tiny_uv_map, 3).pose,
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
