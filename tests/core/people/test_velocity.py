from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from decomr_core.base.structures import HumanMesh
from decomr_core.people.smoothing import MeshSmoother, SmoothingConfig
from decomr_core.people.velocity import PersonMotion, velocity_delay_s
from tests.core.people.test_smoothing import (
    BODY,
    FPS,
    NUM_JOINTS,
    NUM_VERTICES,
    mesh_at,
    turn_about_y,
)


def without_position(body: np.ndarray) -> HumanMesh:
    return dataclasses.replace(mesh_at(np.zeros(3), body), is_metric=False)


def known(smoother: MeshSmoother, track_id: int = 0) -> PersonMotion:
    motion = smoother.motion(track_id)
    assert motion is not None
    return motion


def walk(smoother: MeshSmoother, images: int, first: int = 0, speed: float = 1.2) -> None:
    """A person who walks along x."""
    for frame in range(first, first + images):
        smoother.smooth([mesh_at(np.array([speed * frame / FPS, 0, 4]))], frame / FPS)


def test_a_walker_has_the_same_velocity_whatever_the_camera_does() -> None:
    smoother, velocity = MeshSmoother(measures_motion=True), np.array([0.2, 0.1, -1.179])
    assert np.linalg.norm(velocity) == pytest.approx(1.2, abs=0.001)
    for frame in range(FPS + 1):
        time_s = frame / FPS
        pose = turn_about_y(0.4 * math.sin(2 * time_s))
        pose[:3, 3] = 0.3 * time_s, 0.0, 0.8 * time_s
        root = (np.array([0.2, 0, 6]) + velocity * time_s - pose[:3, 3]) @ pose[:3, :3]
        smoother.smooth([mesh_at(root, BODY @ pose[:3, :3])], time_s, pose)
    motion = known(smoother)
    assert motion.is_fixed and motion.is_metric
    assert motion.joint_velocities.shape == (NUM_JOINTS, 3)
    assert motion.vertex_velocities.shape == (NUM_VERTICES, 3)
    assert motion.observed_s == pytest.approx(1)
    assert motion.root_velocity is not None
    np.testing.assert_allclose(motion.root_velocity, velocity, atol=0.05)
    for points in (motion.joint_velocities, motion.vertex_velocities):
        assert np.linalg.norm(points - velocity, axis=-1).max() < 0.05


def test_without_the_cameras_pose_velocities_are_relative_to_the_camera() -> None:
    smoother = MeshSmoother(measures_motion=True)
    for frame in range(10):  # the camera drives forward at 0.8 m/s
        smoother.smooth([mesh_at(np.array([0, 0, 4 - 0.8 * frame / FPS]))], frame / FPS)
    motion = known(smoother)
    assert not motion.is_fixed
    np.testing.assert_allclose(motion.joint_velocities - [0, 0, -0.8], 0, atol=1e-3)


def test_the_velocity_is_unknown_at_first_and_unbiased_from_the_second_image_on() -> None:
    smoother = MeshSmoother(measures_motion=True)
    assert smoother.motion(0) is None
    walk(smoother, 1)
    assert smoother.motion(0) is None
    for frame in range(1, 40):
        walk(smoother, 1, first=frame)
        np.testing.assert_allclose(known(smoother).joint_velocities - [1.2, 0, 0], 0, atol=1e-3)


def test_a_person_who_is_not_in_the_last_image_has_no_velocity() -> None:
    smoother = MeshSmoother(measures_motion=True)
    walk(smoother, 5)
    smoother.smooth([mesh_at(np.array([0, 0, 3]), track_id=-1)], 5 / FPS)
    assert smoother.motion(0) is None and smoother.motion(-1) is None
    walk(smoother, 1, first=6)
    np.testing.assert_allclose(known(smoother).joint_velocities - [1.2, 0, 0], 0, atol=1e-3)


def test_a_non_finite_mesh_has_no_velocity_and_does_not_change_the_next_one() -> None:
    smoother = MeshSmoother(measures_motion=True)
    walk(smoother, 5)
    bad = mesh_at(np.array([0, 0, 3]))
    smoother.smooth([dataclasses.replace(bad, vertices=bad.vertices * np.nan)], 5 / FPS)
    assert smoother.motion(0) is None
    walk(smoother, 1, first=6)
    np.testing.assert_allclose(known(smoother).vertex_velocities - [1.2, 0, 0], 0, atol=1e-3)


@pytest.mark.parametrize('why', ['reset', 'back in time', 'gap', 'fixed frame', 'no position'])
def test_the_velocity_is_unknown_after_a_new_start(why: str) -> None:
    smoother = MeshSmoother(measures_motion=True)
    walk(smoother, 30)
    known(smoother)
    mesh, time_s, pose = mesh_at(np.array([9, 0, 4])), 1.0, None
    if why == 'reset':
        smoother.reset()
        assert smoother.motion(0) is None
    elif why == 'back in time':
        time_s = 0.5
    elif why == 'gap':
        time_s = 1.0 + 2 * smoother.config.max_gap_s
    elif why == 'fixed frame':
        pose = np.eye(4)
    else:
        mesh = without_position(BODY)
    smoother.smooth([mesh], time_s, pose)
    assert smoother.motion(0) is None


def test_the_same_image_again_changes_no_velocity() -> None:
    smoother = MeshSmoother(measures_motion=True)
    walk(smoother, 5)
    before = known(smoother)
    smoother.smooth([mesh_at(np.array([8, 0, 4]))], 4 / FPS)
    np.testing.assert_array_equal(known(smoother).joint_velocities, before.joint_velocities)
    walk(smoother, 1, first=5)
    np.testing.assert_allclose(known(smoother).joint_velocities - [1.2, 0, 0], 0, atol=1e-3)


@pytest.mark.parametrize('is_fixed', [False, True])
def test_without_a_position_only_root_relative_velocities_are_known(is_fixed: bool) -> None:
    smoother, moving = MeshSmoother(measures_motion=True), np.zeros_like(BODY)
    moving[:3], moving[-1] = [0.5, 0, 0], [0, -0.7, 0.1]
    for frame in range(10):
        pose = turn_about_y(0.1 * frame)
        pose[:3, 3] = frame, 0, 0
        body = BODY + moving * frame / FPS
        mesh = without_position(body @ pose[:3, :3] if is_fixed else body)
        smoother.smooth([mesh], frame / FPS, pose if is_fixed else None)
    motion = known(smoother)
    assert not motion.is_metric and motion.is_fixed == is_fixed
    assert motion.root_velocity is None
    points = np.concatenate([motion.vertex_velocities, motion.joint_velocities])
    np.testing.assert_allclose(points, moving, atol=1e-3)


def test_noise_of_the_distance_hardly_moves_a_person_who_stands_still() -> None:
    rng, smoother, speeds = np.random.default_rng(0), MeshSmoother(measures_motion=True), []
    for frame in range(12 * FPS):
        smoother.smooth([mesh_at(np.array([0, 0, 4 + rng.normal(0, 0.02)]))], frame / FPS)
        if frame >= 2 * FPS:
            motion = known(smoother)
            assert motion.root_velocity is not None
            speeds.append(motion.root_velocity[2])
    assert np.std(speeds) < 0.08, 'a single stage that is as late gives 0.11 m/s'


@pytest.mark.parametrize(('cutoff_hz', 'fps'), [(1.0, 30), (2.0, 30), (1.0, 10)])
def test_the_velocity_is_late_by_the_stated_time(cutoff_hz: float, fps: int) -> None:
    config, acceleration = SmoothingConfig(speed_cutoff_hz=cutoff_hz), 0.8
    smoother = MeshSmoother(config, measures_motion=True)
    rates = np.zeros_like(BODY)
    rates[-1] = 0, 0.5, 0  # one joint accelerates relative to the root, too
    for frame in range(3 * fps + 1):
        time_s = frame / fps
        root = np.array([acceleration * time_s**2 / 2, 0, 4])
        smoother.smooth([mesh_at(root, BODY + rates * time_s**2 / 2)], time_s)
    motion = known(smoother)
    assert motion.root_velocity is not None
    delays = [
        time_s - motion.root_velocity[0] / acceleration,
        time_s - motion.joint_velocities[-1, 1] / 0.5,
    ]
    np.testing.assert_allclose(delays, velocity_delay_s(cutoff_hz, 1 / fps), rtol=0.2)


@given(st.lists(st.tuples(st.floats(-1, 100), st.booleans()), max_size=12))
@example([(0.0, True), (0.5, True), (0.5, False)])
def test_every_order_of_times_gives_finite_velocities_or_none(
    images: list[tuple[float, bool]],
) -> None:
    smoother = MeshSmoother(measures_motion=True)
    for index, (time_s, is_here) in enumerate(images):
        meshes = [mesh_at(np.array([index, 0, 3]))] if is_here else []
        smoother.smooth(meshes, time_s)
        motion = smoother.motion(0)
        assert is_here or motion is None
        if motion is not None:
            assert np.isfinite(motion.joint_velocities).all()
            assert np.isfinite(motion.vertex_velocities).all()


def test_velocities_are_measured_only_on_request() -> None:
    smoother = MeshSmoother()
    walk(smoother, 3)
    with pytest.raises(RuntimeError, match=r'MeshSmoother\(measures_motion=True\)'):
        smoother.motion(0)
