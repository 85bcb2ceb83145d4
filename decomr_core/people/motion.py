"""Motion model of a person's box: one constant-velocity Kalman filter per coordinate.

The filtered coordinates are (centre x, centre y, log width, log height), each with a value and a
rate. Noise is expressed in body heights, so that near and far people behave alike. Everything is
computed with Python floats: NumPy takes ten times as long for so few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

__all__ = ['MESH_NOISE', 'BoxMotion', 'SteadyBoxes', 'detector_noise']

ACCELERATION = (1.2, 0.4, 0.1, 0.3)
"""Standard deviation of the process noise per second squared: body heights for the centre,
logarithm for the sizes. A walker turns round within a second; sizes never change for long."""

INITIAL_RATE = (0.8, 0.3, 0.1, 0.3)
"""Standard deviation of a new person's rates, per second: 0.8 body heights are a brisk walk."""

DAMPING_S = (4.0, 1.0, 0.3, 0.8)
"""Time without an observation after which a rate has decayed to 1 / e: people stop and turn."""

DETECTOR_CENTER_NOISE, DETECTOR_WIDTH_NOISE = 0.06, 0.3
"""Standard deviations of a detector's box, in the same units. The detector gives that of the
height."""

MESH_NOISE = (0.1, 0.1, 0.5, 0.2)
"""Standard deviations of the box around a mesh, in the same units. They are several times the
measured ones: the error hardly changes from image to image, and a filter that assumes independent
errors would become too certain. The width also changes with every step of the legs."""

ASSOCIATED = (0, 1, 3)
"""Indices of the coordinates that association compares: all but the width."""

HYSTERESIS = 0.08
"""A steady box is replaced when its centre or longer side has changed by more than this share of
the longer side."""


class _Coordinate(NamedTuple):
    """Filter state of one coordinate."""

    value: float
    """px for the centre, natural logarithm of px for the sizes."""
    rate: float
    """Change of `value` per second."""
    value_variance: float
    covariance: float
    rate_variance: float

    def predicted(self, step_s: float, acceleration: float, damping_s: float) -> _Coordinate:
        """The state `step_s` seconds later."""
        process_variance = acceleration**2
        decay = math.exp(-step_s / damping_s)
        return _Coordinate(
            self.value + self.rate * step_s,
            self.rate * decay,
            self.value_variance
            + 2 * step_s * self.covariance
            + step_s**2 * self.rate_variance
            + process_variance * step_s**4 / 4,
            (self.covariance + step_s * self.rate_variance) * decay
            + process_variance * step_s**3 / 2,
            self.rate_variance * decay**2 + process_variance * step_s**2,
        )

    def updated(self, observed: float, noise: float) -> _Coordinate:
        """The state after an observation with a standard deviation of `noise`."""
        total = self.value_variance + noise**2
        gain, rate_gain = self.value_variance / total, self.covariance / total
        error = observed - self.value
        return _Coordinate(
            self.value + gain * error,
            self.rate + rate_gain * error,
            self.value_variance * (1 - gain),
            self.covariance * (1 - gain),
            self.rate_variance - rate_gain * self.covariance,
        )


@dataclass(frozen=True)
class BoxMotion:
    """Filter state of one box; `predicted` and `updated` return the next state.

    Attributes:
        coordinates: centre x and y, logarithm of width and height.
    """

    coordinates: tuple[_Coordinate, ...]

    @classmethod
    def from_box(cls, box: np.ndarray, noise: Sequence[float]) -> BoxMotion:
        """The initial state of a person.

        Args:
            box: (4,) first observed box, image px.
            noise: standard deviations of the box, from `detector_noise`.
        """
        values = _box_coordinates(box)
        return cls(
            tuple(
                _Coordinate(value, 0.0, (deviation * unit) ** 2, 0.0, (rate * unit) ** 2)
                for value, deviation, rate, unit in zip(
                    values, noise, INITIAL_RATE, _units(values[3]), strict=True
                )
            )
        )

    @cached_property
    def box(self) -> np.ndarray:
        """(4,) float32 x_min, y_min, x_max, y_max, image px."""
        x, y, *sizes = (coordinate.value for coordinate in self.coordinates)
        width, height = (math.exp(size) / 2 for size in sizes)
        return np.array([x - width, y - height, x + width, y + height], np.float32)

    def detection_costs(
        self, expected: np.ndarray, boxes: np.ndarray, noise: Sequence[float]
    ) -> np.ndarray:
        """Association costs (N,) of detections: -2 log likelihood, up to a constant.

        The width is ignored. The likelihood is per body height, so that near and far people
        compare. An uncertain track has a higher cost everywhere, so that well-known tracks are
        associated first.

        Args:
            expected: (4,) box of the person at the time of the detections, image px.
            boxes: (N, 4) detected boxes, image px.
            noise: standard deviations of these boxes, from `detector_noise`.
        """
        predicted = _box_coordinates(expected)
        units = _units(predicted[3])
        variances = [
            coordinate.value_variance + (deviation * unit) ** 2
            for coordinate, deviation, unit in zip(self.coordinates, noise, units, strict=True)
        ]
        observed = np.array([_box_coordinates(box) for box in boxes]).reshape(-1, 4)
        costs = [
            (observed[:, axis] - predicted[axis]) ** 2 / variances[axis]
            + math.log(variances[axis] / units[axis] ** 2)
            for axis in ASSOCIATED
        ]
        return sum(costs, np.zeros(len(boxes)))

    def predicted(self, step_s: float) -> BoxMotion:
        """The state `step_s` seconds later."""
        return BoxMotion(
            tuple(
                coordinate.predicted(step_s, acceleration * unit, damping_s)
                for coordinate, acceleration, unit, damping_s in zip(
                    self.coordinates, ACCELERATION, self._units, DAMPING_S, strict=True
                )
            )
        )

    def updated(self, box: np.ndarray, noise: Sequence[float]) -> BoxMotion:
        """The state after an observed box.

        Args:
            box: (4,) image px.
            noise: standard deviations of the box: from `detector_noise`, or `MESH_NOISE`.
        """
        return BoxMotion(
            tuple(
                coordinate.updated(observed, deviation * unit)
                for coordinate, observed, deviation, unit in zip(
                    self.coordinates, _box_coordinates(box), noise, self._units, strict=True
                )
            )
        )

    @property
    def _units(self) -> tuple[float, ...]:
        return _units(self.coordinates[3].value)


def detector_noise(height_noise: float) -> tuple[float, ...]:
    """Standard deviations of a detector's box, for `BoxMotion`.

    Args:
        height_noise: standard deviation of the logarithm of the box's height.
    """
    return DETECTOR_CENTER_NOISE, DETECTOR_CENTER_NOISE, DETECTOR_WIDTH_NOISE, height_noise


def _box_coordinates(box: np.ndarray) -> tuple[float, ...]:
    """The four filtered coordinates of a box (4,)."""
    x_min, y_min, x_max, y_max = box.tolist()
    return (
        (x_min + x_max) / 2,
        (y_min + y_max) / 2,
        math.log(max(x_max - x_min, 1.0)),
        math.log(max(y_max - y_min, 1.0)),
    )


def _units(log_height: float) -> tuple[float, ...]:
    """Units of the noise: the body height in px for the centre, 1 for the logarithms."""
    height = math.exp(log_height)
    return height, height, 1.0, 1.0


class SteadyBoxes:
    """Boxes with hysteresis: they stay constant while people hardly move.

    Mesh and crop form a feedback loop: when the crop followed the noise of the mesh, the mesh of a
    person who stood still jittered five times as much.
    """

    def __init__(self) -> None:
        """Starts without boxes."""
        self._boxes: dict[int, np.ndarray] = {}

    def update(self, boxes: Mapping[int, np.ndarray]) -> np.ndarray:
        """The steady boxes (T, 4), image px.

        Args:
            boxes: expected box (4,) by track id, image px.
        """
        self._boxes = {
            track_id: self._boxes[track_id]
            if track_id in self._boxes and _is_within_hysteresis(self._boxes[track_id], box)
            else box
            for track_id, box in boxes.items()
        }
        return np.array(list(self._boxes.values()), np.float32).reshape(-1, 4)


def _is_within_hysteresis(steady: np.ndarray, box: np.ndarray) -> bool:
    """Whether a crop of the steady box (4,) still serves for the box (4,)."""
    steady, box = steady.tolist(), box.tolist()
    side, other_side = (max(b[2] - b[0], b[3] - b[1]) for b in (steady, box))
    shift = max(
        abs(steady[axis] + steady[axis + 2] - box[axis] - box[axis + 2]) / 2 for axis in (0, 1)
    )
    return max(shift, abs(side - other_side)) <= HYSTERESIS * side
