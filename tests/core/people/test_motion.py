"""The motion filter against Kalman's equations in matrix form, and its predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.people.motion import (
    ACCELERATION,
    DAMPING_S,
    INITIAL_RATE,
    MESH_NOISE,
    BoxMotion,
    detector_noise,
)

BOXES = st.tuples(st.floats(0, 500), st.floats(0, 300), st.floats(5, 200), st.floats(20, 400))
NOISE = detector_noise(0.1)


def box_of(place: tuple[float, ...]) -> np.ndarray:
    x, y, width, height = place
    return np.array([x, y, x + width, y + height], np.float32)


def numbers_of(box: np.ndarray) -> np.ndarray:
    low, high = box[:2].astype(float), box[2:].astype(float)
    return np.concatenate([(low + high) / 2, np.log(high - low)])


class MatrixFilter:
    """The same filter for one coordinate in its textbook form, as a slow reference."""

    def __init__(self, seen: float, noise: float, initial_rate: float) -> None:
        self.state, self.variance = np.array([seen, 0]), np.diag([noise, initial_rate]) ** 2

    def predict(self, step_s: float, acceleration: float, damping_s: float) -> None:
        kept = np.exp(-step_s / damping_s)
        step = np.array([[1, step_s], [0, kept]])
        push = np.array([step_s**2 / 2, step_s]) * acceleration
        self.state, self.variance = (
            step @ self.state,
            (step @ self.variance @ step.T + np.outer(push, push)),
        )

    def update(self, seen: float, noise: float) -> None:
        gain = self.variance[:, 0] / (self.variance[0, 0] + noise**2)
        self.state = self.state + gain * (seen - self.state[0])
        self.variance = self.variance - np.outer(gain, self.variance[0])


@settings(deadline=None)
@given(st.lists(st.tuples(BOXES, st.floats(0.005, 0.5)), min_size=2, max_size=8))
def test_the_motion_filter_is_a_kalman_filter_per_coordinate(observations: list[tuple]) -> None:
    (first, _), *others = observations
    motion = BoxMotion.from_box(box_of(first), NOISE)

    def units() -> np.ndarray:
        """The noises grow with the expected height."""
        height = motion.box[3] - motion.box[1]
        return np.array([height, height, 1, 1], float)

    filters = [
        MatrixFilter(*values)
        for values in zip(
            numbers_of(box_of(first)), units() * NOISE, units() * INITIAL_RATE, strict=True
        )
    ]
    for place, step_s in others:
        for one, push, damping_s in zip(filters, units() * ACCELERATION, DAMPING_S, strict=True):
            one.predict(step_s, push, damping_s)
        motion = motion.predicted(step_s)
        noises = units() * MESH_NOISE
        for one, seen, noise in zip(filters, numbers_of(box_of(place)), noises, strict=True):
            one.update(seen, noise)
        motion = motion.updated(box_of(place), MESH_NOISE)
        expected = np.array([one.state[0] for one in filters])
        assert numbers_of(motion.box) == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_a_walking_person_is_predicted_along_the_velocity() -> None:
    motion = BoxMotion.from_box(box_of((100, 50, 40, 100)), NOISE)
    for image in range(1, 20):
        motion = motion.predicted(0.1).updated(box_of((100 + 10 * image, 50, 40, 100)), NOISE)
    assert motion.predicted(0.1).box == pytest.approx([300, 50, 340, 150], abs=3)


def test_a_distant_detection_costs_more_and_a_new_track_costs_more_than_an_old_one() -> None:
    box = box_of((100, 50, 40, 100))
    new = known = BoxMotion.from_box(box, NOISE)
    for _ in range(5):
        known = known.predicted(0.03).updated(box, NOISE)
    boxes = np.stack([box, box + (20, 0, 20, 0), box + (60, 0, 60, 0)])
    costs = known.detection_costs(box, boxes, NOISE)
    assert costs.shape == (3,) and (np.diff(costs) > 0).all()
    assert costs[0] < new.detection_costs(box, boxes, NOISE)[0]
    assert new.detection_costs(box, np.zeros((0, 4), np.float32), NOISE).shape == (0,)
