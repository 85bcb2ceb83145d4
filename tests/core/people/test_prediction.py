from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from decomr_core.people.prediction import predict_joints

JOINTS, VELOCITIES = np.random.default_rng(0).normal(0, 1, (2, 5, 3))
NUMBERS = arrays(np.float64, (4, 3), elements=st.floats(-100, 100))


@given(NUMBERS, NUMBERS, st.floats(1e-3, 100) | st.just(math.inf))
def test_the_prediction_for_now_is_the_joints(
    joints: np.ndarray, velocities: np.ndarray, damping_s: float
) -> None:
    (now,) = predict_joints(joints, velocities, [0.0], damping_s)
    np.testing.assert_array_equal(now, joints)


@given(NUMBERS, st.floats(0, 10), st.floats(1e-3, 100))
def test_damping_shortens_the_path_of_constant_velocity(
    velocities: np.ndarray, horizon_s: float, damping_s: float
) -> None:
    joints = np.zeros((4, 3))
    (damped,) = np.abs(predict_joints(joints, velocities, [horizon_s], damping_s))
    (constant,) = np.abs(predict_joints(joints, velocities, [horizon_s], math.inf))
    tiny = np.finfo(np.float64).tiny  # smaller numbers have no relative precision
    assert (damped <= constant * (1 + 1e-12) + tiny).all()
    assert (damped <= np.abs(velocities) * damping_s * (1 + 1e-12) + tiny).all()


def test_the_prediction_is_the_integral_of_a_decaying_velocity() -> None:
    horizons, damping_s, steps = [0.1, 0.3], 0.4, 3000
    predicted = predict_joints(JOINTS, VELOCITIES, horizons, damping_s)
    assert predicted.shape == (2, 5, 3)
    for horizon, joints in zip(horizons, predicted, strict=True):
        middles = (np.arange(steps) + 0.5) * horizon / steps
        path = np.exp(-middles / damping_s).mean() * horizon * VELOCITIES
        np.testing.assert_allclose(joints, JOINTS + path, atol=1e-7)


def test_without_damping_the_velocity_is_constant() -> None:
    predicted = predict_joints(JOINTS, VELOCITIES, [0.2], math.inf)
    np.testing.assert_allclose(predicted[0], JOINTS + 0.2 * VELOCITIES)
    almost = predict_joints(JOINTS, VELOCITIES, [0.2], 1e9)
    np.testing.assert_allclose(almost, predicted, atol=1e-6)


def test_unknown_joints_stay_unknown_and_change_no_others() -> None:
    joints, velocities = JOINTS.copy(), VELOCITIES.copy()
    joints[1], velocities[2] = np.nan, np.nan
    predicted = predict_joints(joints, velocities, [0.1, 0.2])
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
    ],
)
def test_invalid_arguments_are_rejected(changes: dict[str, object], message: str) -> None:
    arguments = {'joints': JOINTS, 'velocities': VELOCITIES, 'horizons_s': [0.1], 'damping_s': 0.5}
    with pytest.raises(ValueError, match=message):
        predict_joints(**{**arguments, **changes})  # type: ignore[arg-type]
