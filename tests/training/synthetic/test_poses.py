"""Poses by rule, and the check for impossible poses."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pytest
import torch

from decomr_core.body_models import MIRRORED_JOINTS, BodyModel, load_body
from training.records.rotations import MIRROR, axis_angle_from_matrix, rotation_about
from training.synthetic.bodies.body_capsules import BodyCapsules, segment_distances
from training.synthetic.bodies.joint_limits import LIMITS, joint_excess, swing_twist
from training.synthetic.bodies.plausible_poses import (
    MOST_TRIES,
    PoseCheck,
    PoseCounts,
    draw_plausible,
)
from training.synthetic.bodies.pose_rules import WIDE_NAMES, sample_wide_poses
from training.synthetic.bodies.poses import ACTIVITY_NAMES, arm_rotations, sample_poses
from training.synthetic.bodies.recorded_poses import RecordedPoses
from training.synthetic.held_out import held_out_set
from training.synthetic.people import SyntheticPeople
from training.synthetic.scenes.viewpoints import UPPER_SHARE
from training.synthetic.synthetic_config import SyntheticConfig

LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER, LEFT_ELBOW = 1, 4, 16, 18
KNEE_PARTS, FOOT_PARTS, HAND_PARTS = (1, 2, 4, 5), (7, 8, 10, 11), (20, 21, 22, 23)
USUAL_HASH = 'c3d31f63856c6c60'
"""Of 256 usual poses rounded to micro-radians: the held-out set's rest on them."""


@pytest.fixture(scope='module')
def body() -> BodyModel:
    return load_body()


@pytest.fixture(scope='module')
def check(body: BodyModel) -> PoseCheck:
    return PoseCheck(body)


def posed(name: str, count: int = 24) -> np.ndarray:
    kind = np.full(count, WIDE_NAMES.index(name))
    return sample_wide_poses(np.random.default_rng(7), count, kind)[0]


def vertices_of(body: BodyModel, pose: np.ndarray) -> np.ndarray:
    """(B, V, 3) metres, y up."""
    with torch.no_grad():
        return body(torch.tensor(pose, dtype=torch.float32), torch.zeros(len(pose), 10))[0].numpy()


def with_left_wrist_at(target: tuple[float, float, float]) -> np.ndarray:
    """A standing pose (1, 24, 3) whose left wrist is there, arm lengths from the shoulder."""
    pose = hanging()
    shoulder, elbow = arm_rotations(np.array([target]), np.array([[0.6, -1, -0.3]]))
    pose[:, LEFT_SHOULDER] = axis_angle_from_matrix(shoulder)
    pose[0, LEFT_ELBOW] = 0, -elbow[0], 0
    return pose


def hanging() -> np.ndarray:
    pose = np.zeros((1, 24, 3))
    pose[0, LEFT_SHOULDER, 2], pose[0, LEFT_SHOULDER + 1, 2] = -1.35, 1.35
    return pose


def test_usual_poses_do_not_change():
    pose, _ = sample_poses(np.random.default_rng(2020), 256)
    rounded = np.round(pose, 6).astype(np.float32)
    assert hashlib.sha256(rounded.tobytes()).hexdigest()[:16] == USUAL_HASH


def test_the_held_out_set_ignores_rules_and_check(tiny_body, tiny_uv_map):
    usual, wide = (
        held_out_set(config, tiny_body, tiny_uv_map, 8)
        for config in (
            SyntheticConfig(size=32),
            SyntheticConfig(
                size=32, rules='wide', possible_only=True, upper_share=UPPER_SHARE / 2
            ),
        )
    )
    assert torch.equal(usual.images, wide.images)
    expected = SyntheticPeople(SyntheticConfig(size=32), tiny_body, tiny_uv_map, 2020).batch(0)
    assert torch.equal(usual.pose, expected.pose)


def test_wide_poses_depend_on_the_rng_and_include_every_activity():
    first, second = (sample_wide_poses(np.random.default_rng(3), 2000) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert set(first[1]) == set(range(len(WIDE_NAMES)))
    assert len(set(WIDE_NAMES)) == len(WIDE_NAMES)
    assert 0.4 < (first[1] < len(ACTIVITY_NAMES)).mean() < 0.5
    assert np.isfinite(first[0]).all()


@pytest.mark.parametrize('name', ['kneel', 'kneel on one knee', 'sit on heels', 'on all fours'])
def test_a_kneeling_person_has_knees_and_feet_on_the_ground(body, name):
    vertices, parts = vertices_of(body, posed(name))[..., 1], body.vertex_parts.numpy()
    ground = vertices.min(axis=1)
    knees = np.isin(parts, KNEE_PARTS)
    touching = [*FOOT_PARTS, *KNEE_PARTS, *(HAND_PARTS if name == 'on all fours' else ())]
    assert np.isin(parts[vertices.argmin(axis=1)], touching).all()
    assert (vertices[:, knees].min(axis=1) - ground < 0.08).all()


def test_a_person_on_all_fours_also_has_hands_on_the_ground(body):
    vertices, parts = vertices_of(body, posed('on all fours'))[..., 1], body.vertex_parts.numpy()
    for side in range(2):
        hand = np.isin(parts, HAND_PARTS[side::2])
        above = vertices[:, hand].min(axis=1) - vertices.min(axis=1)
        assert above.max() < 0.10 and np.median(above) < 0.05
    trunk = np.isin(parts, (0, 3, 6, 9))
    assert (vertices[:, trunk].min(axis=1) - vertices.min(axis=1) > 0.2).all()


@pytest.mark.parametrize('name', ['lie on back', 'lie on side', 'lie on front'])
def test_a_lying_person_is_flat(body, name):
    heights, parts = vertices_of(body, posed(name))[..., 1], body.vertex_parts.numpy()
    trunk_and_head = np.isin(parts, (0, 3, 6, 9, 12, 15))
    assert (np.ptp(heights[:, trunk_and_head], axis=1) < 0.5).all()
    assert (np.ptp(heights, axis=1) < 0.75).all() and np.median(np.ptp(heights, axis=1)) < 0.55


def test_sitting_people_have_level_thighs_and_carrying_people_both_hands_in_front(check):
    skeleton = check.capsules.skeleton
    _, joints = skeleton.pose(posed('sit on chair'))
    assert (np.abs(joints[:, 4, 1] - joints[:, 1, 1]) < 0.12).all()
    _, joints = skeleton.pose(posed('push'))
    ahead = joints[:, [20, 21], 2] - joints[:, [16, 17], 2]
    assert (ahead > 0.2).all()


def test_natural_poses_pass(check):
    natural = np.concatenate(
        [
            np.zeros((1, 24, 3)),
            hanging(),
            with_left_wrist_at((0, -0.5, 0.6)),
            with_left_wrist_at((0.1, 0.95, 0.1)),
            posed('walk'),
            posed('point'),
        ]
    )
    assert check.impossible(natural).mean() < 0.05
    assert not check.impossible(natural[:4]).any()
    for name in WIDE_NAMES[len(ACTIVITY_NAMES) :]:
        assert not check.beyond_limits(posed(name)).mean() > 0.1, name
        assert check.impossible(posed(name)).mean() < 0.6, name


@pytest.mark.parametrize(
    ('joint', 'turn'),
    [
        ('elbow', (0, 1.2, 0)),
        ('knee', (-0.8, 0, 0)),
        ('knee', (0, 0, 1.2)),
        ('hip', (1.8, 0, 0)),
        ('ankle', (0, 2.0, 0)),
        ('neck', (-2.2, 0, 0)),
        ('wrist', (2.6, 0, 0)),
        ('spine', (0, 2.0, 0)),
    ],
)
def test_joints_that_bend_the_wrong_way_fail_on_both_sides(check, joint, turn):
    pose = hanging()
    pose[0, LIMITS[joint].chain[0]] = turn
    mirrored = pose[:, list(MIRRORED_JOINTS)] * MIRROR
    assert check.beyond_limits(pose).all() and check.beyond_limits(mirrored).all()
    assert not check.beyond_limits(hanging()).any()
    assert list(LIMITS)[joint_excess(pose)[0, 0].argmax()] == joint


@pytest.mark.parametrize('target', [(-0.35, -0.35, 0.05), (-0.35, -0.9, 0), (-0.34, 0.45, 0.15)])
def test_a_hand_through_chest_hips_or_head_is_impossible(check, target):
    pose = with_left_wrist_at(target)
    assert check.through_itself(pose).all()
    assert check.through_itself(pose[:, list(MIRRORED_JOINTS)] * MIRROR).all()


def test_a_thigh_through_the_other_one_is_impossible(check):
    pose = hanging()
    pose[0, LEFT_HIP] = 0, 0, -0.5
    assert check.through_itself(pose).all()


def test_swing_and_twist_are_separated():
    rotation = rotation_about(2, np.array(0.9)) @ rotation_about(0, np.array(-0.4))
    first, second, twist = swing_twist(rotation, 0)
    np.testing.assert_allclose([first, second, twist], np.rad2deg([0, 0.9, -0.4]), atol=1e-6)


def test_distances_of_segments_equal_those_of_many_points():
    ends = np.random.default_rng(0).normal(size=(4, 50, 3))
    share = np.linspace(0, 1, 200)[:, None, None]
    first, second = (a + share * (b - a) for a, b in ((ends[0], ends[1]), (ends[2], ends[3])))
    naive = np.linalg.norm(first[:, None] - second[None], axis=-1).min(axis=(0, 1))
    fast = segment_distances((ends[0], ends[2]), (ends[1], ends[3]))
    np.testing.assert_allclose(fast, naive, atol=0.03)
    assert (fast <= naive + 1e-9).all()


def test_capsules_lie_within_the_body_and_follow_its_joints(body):
    capsules = BodyCapsules.from_body(body)
    assert (capsules.radius > 0.02).all() and (capsules.radius < 0.15).all()
    pose = posed('crouch', 4)
    with torch.no_grad():
        joints = body(torch.tensor(pose, dtype=torch.float32), torch.zeros(4, 10))[1].numpy()
    np.testing.assert_allclose(capsules.skeleton.pose(pose)[1], joints, atol=1e-5)
    shin = capsules.names.index('left_shin')
    np.testing.assert_allclose(capsules.pose(pose)[1, :, shin], joints[:, 7], atol=1e-5)


def test_impossible_poses_are_drawn_again_and_counted(check):
    def draw(rng, count, kind):
        """Elbows that bend backwards half of the time; kind 1 always."""
        pose = np.tile(hanging(), (count, 1, 1))
        kind = rng.integers(2, size=count) if kind is None else kind
        pose[(kind == 1) | (rng.random(count) < 0.5), LEFT_ELBOW, 1] = 1.5
        return pose, kind

    counts = PoseCounts()
    pose, kind = draw_plausible(np.random.default_rng(0), draw, 40, check, counts)
    again, _ = draw_plausible(np.random.default_rng(0), draw, 40, check)
    np.testing.assert_array_equal(pose, again)
    np.testing.assert_array_equal(check.impossible(pose), kind == 1)
    assert counts.kept == (kind == 1).sum() > 0
    assert counts.rejected == counts.drawn - 40 + counts.kept
    assert counts.drawn > 40 + MOST_TRIES * counts.kept
    assert f'{counts.kept} impossible ones kept' in str(counts)


def test_a_stream_of_possible_people_counts_what_it_rejects(body, tiny_uv_map):
    with pytest.raises(ValueError, match='take one of usual, wide'):
        SyntheticConfig(rules='none')
    people = SyntheticPeople.__new__(SyntheticPeople)
    people.config = SyntheticConfig(rules='wide', possible_only=True)
    people._pose_check, people._recorded_poses = PoseCheck(body), None
    people.pose_counts = PoseCounts()
    poses = people._sample_poses(np.random.default_rng(0), 200)
    assert not people._pose_check.impossible(poses).any()
    assert people.pose_counts.drawn == 200 + people.pose_counts.rejected
    assert 0 < people.pose_counts.rejected < 100 and people.pose_counts.kept == 0


def test_impossible_recorded_poses_are_left_out(tmp_path, check, caplog):
    poses = np.tile(hanging(), (6, 1, 1))
    poses[:2, LEFT_ELBOW, 1] = 1.5
    poses[2] = with_left_wrist_at((-0.35, -0.35, 0.05))[0]
    action = np.array([0, 0, 1, 1, 2, 2])
    np.savez(tmp_path / 'poses.npz', poses=poses, action=action)
    with caplog.at_level(logging.INFO):
        recorded = RecordedPoses(tmp_path / 'poses.npz', check)
    assert 'excluded 3 of 6 poses' in caplog.text
    assert recorded.probabilities[:3].max() == 0
    assert recorded.probabilities.sum() == pytest.approx(1)
    drawn = recorded.sample(np.random.default_rng(0), 50)
    assert not check.impossible(drawn).any()
    assert (RecordedPoses(tmp_path / 'poses.npz').probabilities > 0).all()
    np.savez(tmp_path / 'none.npz', poses=poses[:2], action=action[:2])
    with pytest.raises(ValueError, match='data.possible_only to false'):
        RecordedPoses(tmp_path / 'none.npz', check)
