from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomr_core.base.structures import HumanMesh
from decomr_core.people.smoothing import MeshSmoother, SmoothingConfig

NUM_VERTICES, NUM_JOINTS, FPS = 40, 6, 30
BODY = np.random.default_rng(0).normal(0, 0.4, (NUM_VERTICES + NUM_JOINTS, 3))


def mesh_at(root: np.ndarray, body: np.ndarray = BODY, track_id: int = 0) -> HumanMesh:
    points = (body + root).astype(np.float32)
    return HumanMesh(
        track_id,
        0.9,
        np.zeros(4),
        points[:NUM_VERTICES],
        points[NUM_VERTICES:],
        np.asarray(root, np.float32),
        True,
        np.ones(NUM_VERTICES, bool),
        np.ones(3),
        np.zeros(2),
        100.0,
        np.zeros((3, 4, 4)),
    )


def turn_about_y(angle: float) -> np.ndarray:
    pose = np.eye(4)
    pose[[0, 0, 2, 2], [0, 2, 0, 2]] = (
        math.cos(angle),
        math.sin(angle),
        -math.sin(angle),
        math.cos(angle),
    )
    return pose


def test_smoothing_halves_the_jitter_of_a_standing_person() -> None:
    rng, smoother = np.random.default_rng(1), MeshSmoother()
    raw, steady = [], []
    for frame in range(150):
        root = np.array([0, 0, 3]) + rng.normal(0, [0.003, 0.003, 0.02])
        mesh = mesh_at(root, BODY + rng.normal(0, 0.006, BODY.shape))
        raw.append(mesh.vertices)
        steady.append(smoother.smooth([mesh], frame / FPS)[0].vertices)
    before, after = (
        np.linalg.norm(np.std(part[30:], axis=0), axis=-1).mean() for part in (raw, steady)
    )
    assert before > 0.02
    assert after < before / 2


def test_smoothing_delays_a_walking_person_by_less_than_an_image() -> None:
    smoother, speed = MeshSmoother(), 1.2
    for frame in range(60):
        root = np.array([speed * frame / FPS, 0, 4])
        (mesh,) = smoother.smooth([mesh_at(root)], frame / FPS)
    assert 0 < root[0] - mesh.translation[0] < speed / FPS
    np.testing.assert_allclose(mesh.vertices - mesh.translation, BODY[:NUM_VERTICES], atol=1e-5)


def test_a_standing_person_does_not_lag_behind_a_turning_camera() -> None:
    smoothers = MeshSmoother(), MeshSmoother()
    world = BODY + [0.3, 0, 4]
    for frame in range(40):
        fixed_from_camera = turn_about_y(0.02 * frame)
        camera = world @ fixed_from_camera[:3, :3]
        root = np.array([0.3, 0, 4]) @ fixed_from_camera[:3, :3]
        mesh = mesh_at(root, camera - root)
        fixed, in_camera = (
            smoother.smooth([mesh], frame / FPS, pose)[0]
            for smoother, pose in zip(smoothers, (fixed_from_camera, None), strict=True)
        )
    np.testing.assert_allclose(fixed.vertices, mesh.vertices, atol=1e-5)
    np.testing.assert_allclose(fixed.joints, mesh.joints, atol=1e-5)
    assert np.abs(in_camera.vertices - mesh.vertices).max() > 0.01


def test_the_fast_filter_agrees_with_the_formula_point_by_point() -> None:
    config, rng = SmoothingConfig(), np.random.default_rng(3)
    smoother, body, speed = MeshSmoother(config), None, np.zeros_like(BODY)

    def share(cutoff_hz: float) -> float:
        """The weight of the new value, by the time constant of the cutoff."""
        return 1 / (1 + FPS / (2 * math.pi * cutoff_hz))

    for frame in range(12):
        seen = BODY + rng.normal(0, 0.02, BODY.shape)
        (mesh,) = smoother.smooth([mesh_at(np.array([0.1, -0.2, 3]), seen)], frame / FPS)
        body = seen if body is None else body
        for point in range(len(seen)):
            gain = share(config.speed_cutoff_hz)
            speed[point] += gain * ((seen[point] - body[point]) * FPS - speed[point])
            moving = config.body_beta * math.hypot(*speed[point])
            body[point] += share(config.min_cutoff_hz + moving) * (seen[point] - body[point])
    points = np.concatenate([mesh.vertices, mesh.joints]) - mesh.translation
    np.testing.assert_allclose(points, body, atol=2e-6)
    assert np.abs(seen - body).max() > 0.01


@pytest.mark.parametrize('next_s', [0.0, 10.6], ids=['time jumps back', 'a gap'])
def test_the_filter_starts_anew(next_s: float) -> None:
    smoother = MeshSmoother()
    smoother.smooth([mesh_at(np.array([0, 0, 3]))], 10.0)
    moved = mesh_at(np.array([1, 0, 3]))
    (mesh,) = smoother.smooth([moved], next_s)
    np.testing.assert_allclose(mesh.vertices, moved.vertices, atol=1e-6)
    # Within the gap it would not.
    (mesh,) = smoother.smooth([mesh_at(np.array([0, 0, 3]))], next_s + 0.03)
    assert mesh.translation[0] > 0.05


def test_non_finite_values_pass_and_do_not_change_the_state() -> None:
    smoother, good = MeshSmoother(), mesh_at(np.array([0, 0, 3]))
    smoother.smooth([good], 0.0)
    bad = dataclasses.replace(good, vertices=good.vertices * np.nan)
    assert smoother.smooth([bad], 0.03)[0] is bad
    np.testing.assert_allclose(smoother.smooth([good], 0.06)[0].vertices, good.vertices, atol=1e-5)


def test_people_without_an_id_are_not_smoothed() -> None:
    smoother, mesh = MeshSmoother(), mesh_at(np.array([0, 0, 3]), track_id=-1)
    smoother.smooth([mesh], 0.0)
    moved = mesh_at(np.array([1, 0, 3]), track_id=-1)
    assert smoother.smooth([moved], 0.03)[0] is moved


@given(st.lists(st.tuples(st.floats(-1, 100), st.sets(st.integers(0, 4))), max_size=12))
def test_every_order_of_times_and_people_gives_finite_meshes_of_the_same_people(
    images: list[tuple[float, set[int]]],
) -> None:
    smoother = MeshSmoother()
    for time_s, people in images:
        meshes = [mesh_at(np.array([number, 0, 3]), track_id=number) for number in people]
        smooth = smoother.smooth(meshes, time_s)
        assert [mesh.track_id for mesh in smooth] == [mesh.track_id for mesh in meshes]
        for mesh, raw in zip(smooth, meshes, strict=True):
            np.testing.assert_allclose(mesh.vertices, raw.vertices, atol=1e-4)
            assert mesh.vertices.dtype == np.float32


def test_an_invalid_smoothing_config_is_rejected() -> None:
    with pytest.raises(ValueError, match='min_cutoff_hz'):
        SmoothingConfig(min_cutoff_hz=0)
    with pytest.raises(ValueError, match='beta at least 0'):
        SmoothingConfig(beta=-1)
    with pytest.raises(ValueError, match='fixed_from_camera has shape'):
        MeshSmoother().smooth([], 0.0, np.eye(3))
