from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from decomr_core.people.prediction import DAMPING_S, ROOT_DAMPING_S, predict_joints

JOINTS, VELOCITIES = np.random.default_rng(0).normal(0, 1, (2, 5, 3))
ROOT_VELOCITY = np.array([0.3, -1.2, 0.1])
NUMBERS = arrays(np.float64, (4, 3), elements=st.floats(-100, 100))
DAMPINGS = st.floats(1e-3, 100) | st.just(math.inf)


@given(NUMBERS, NUMBERS, DAMPINGS, DAMPINGS)
def test_the_prediction_for_now_is_the_joints(
    joints: np.ndarray, velocities: np.ndarray, root_damping_s: float, damping_s: float
) -> None:
    (now,) = predict_joints(joints, velocities, [0.0], velocities[0], root_damping_s, damping_s)
    np.testing.assert_array_equal(now, joints)


@given(NUMBERS, NUMBERS, st.floats(0, 10), DAMPINGS, DAMPINGS)
def test_root_and_relative_velocities_are_damped_each_by_its_own_time(
    velocities: np.ndarray,
    joints: np.ndarray,
    horizon_s: float,
    root_damping_s: float,
    damping_s: float,
) -> None:
    root_velocity = velocities[0]
    (predicted,) = predict_joints(
        joints, velocities, [horizon_s], root_velocity, root_damping_s, damping_s
    )
    whole = np.broadcast_to(root_velocity, joints.shape)
    (root,) = predict_joints(joints * 0, whole, [horizon_s], None, damping_s=root_damping_s)
    (own,) = predict_joints(
        joints * 0, velocities - root_velocity, [horizon_s], None, damping_s=damping_s
    )
    np.testing.assert_allclose(predicted, joints + root + own, rtol=1e-9, atol=1e-6)


def test_a_walker_goes_on_while_the_limbs_swing_back() -> None:
    still = np.broadcast_to(ROOT_VELOCITY, JOINTS.shape)
    (walker,) = predict_joints(JOINTS, still, [0.3], ROOT_VELOCITY)
    path = np.linalg.norm(walker - JOINTS, axis=-1)
    assert (path > 0.9 * 0.3 * np.linalg.norm(ROOT_VELOCITY)).all()
    (limbs,) = predict_joints(JOINTS, VELOCITIES, [0.3])  # relative to the root
    assert (np.abs(limbs - JOINTS) < 0.6 * 0.3 * np.abs(VELOCITIES)).all()


def test_the_dampings_are_those_of_the_benchmark_and_nearly_the_best() -> None:
    path = Path(__file__).parents[3] / 'benchmarks' / 'results' / 'prediction.json'
    results = json.loads(path.read_text(encoding='utf-8'))
    assert results['default'] == f'{ROOT_DAMPING_S} {DAMPING_S}'
    for source in ('exact', 'smoothed'):
        errors = results[source]['mean_error_mm']
        mean = {method: np.mean(groups['all']) for method, groups in errors.items()}
        assert mean[results['default']] < min(mean.values()) + 1


@given(NUMBERS, st.floats(0, 10), st.floats(1e-3, 100))
def test_damping_shortens_the_path_of_constant_velocity(
    velocities: np.ndarray, horizon_s: float, damping_s: float
) -> None:
    joints = np.zeros((4, 3))
    (damped,) = np.abs(predict_joints(joints, velocities, [horizon_s], damping_s=damping_s))
    (constant,) = np.abs(predict_joints(joints, velocities, [horizon_s], damping_s=math.inf))
    tiny = np.finfo(np.float64).tiny  # smaller numbers have no relative precision
    assert (damped <= constant * (1 + 1e-12) + tiny).all()
    assert (damped <= np.abs(velocities) * damping_s * (1 + 1e-12) + tiny).all()


def test_the_prediction_is_the_integral_of_a_decaying_velocity() -> None:
    horizons, damping_s, steps = [0.1, 0.3], 0.4, 3000
    predicted = predict_joints(JOINTS, VELOCITIES, horizons, damping_s=damping_s)
    assert predicted.shape == (2, 5, 3)
    for horizon, joints in zip(horizons, predicted, strict=True):
        middles = (np.arange(steps) + 0.5) * horizon / steps
        path = np.exp(-middles / damping_s).mean() * horizon * VELOCITIES
        np.testing.assert_allclose(joints, JOINTS + path, atol=1e-7)


def test_without_damping_the_velocity_is_constant() -> None:
    predicted = predict_joints(JOINTS, VELOCITIES, [0.2], damping_s=math.inf)
    np.testing.assert_allclose(predicted[0], JOINTS + 0.2 * VELOCITIES)
    almost = predict_joints(JOINTS, VELOCITIES, [0.2], damping_s=1e9)
    np.testing.assert_allclose(almost, predicted, atol=1e-6)


def test_unknown_joints_stay_unknown_and_change_no_others() -> None:
    joints, velocities = JOINTS.copy(), VELOCITIES.copy()
    joints[1], velocities[2] = np.nan, np.nan
    predicted = predict_joints(joints, velocities, [0.1, 0.2], ROOT_VELOCITY)
    is_known = np.isfinite(predicted).all((0, 2))
    assert is_known.tolist() == [True, False, False, True, True]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'joints': JOINTS[:, :2]}, 'joints has shape'),
        ({'velocities': VELOCITIES[:4]}, 'velocities has shape'),
        ({'horizons_s': 0.1}, 'horizons_s has shape'),
        ({'horizons_s': [0.1, -0.1]}, 'at least 0'),
        ({'horizons_s': [math.inf]}, 'finite'),
        ({'damping_s': 0.0}, 'damping_s is 0.0'),
        ({'damping_s': math.nan}, 'damping_s is nan'),
        ({'root_damping_s': 0.0}, 'root_damping_s is 0.0'),
        ({'root_velocity': ROOT_VELOCITY[:2]}, 'root_velocity has shape'),
    ],
)
def test_invalid_arguments_are_rejected(changes: dict[str, object], message: str) -> None:
    arguments = {'joints': JOINTS, 'velocities': VELOCITIES, 'horizons_s': [0.1], 'damping_s': 0.5}
    with pytest.raises(ValueError, match=message):
        predict_joints(**{**arguments, **changes})  # type: ignore[arg-type]
