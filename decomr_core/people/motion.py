"""Where a person's box will be: a Kalman filter with constant velocity for each of its numbers.

The filter knows the box as (centre x, centre y, log width, log height), each with a position and
a speed. Noise is said in body heights, so that near and far people are treated alike. Plain
numbers throughout: NumPy takes ten times as long for so few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

__all__ = ['FROM_MESH', 'BoxMotion', 'HeldBoxes', 'detector_noise']

ACCELERATION = (1.2, 0.4, 0.1, 0.3)
"""Standard deviation per second squared: body heights for the centre, logarithm for the sizes.
A walker turns round within a second; nobody grows or gets wider for long."""

FIRST_SPEED = (0.8, 0.3, 0.1, 0.3)
"""What is assumed of somebody new, per second: 0.8 body heights are a brisk walk."""

DAMPING_S = (4.0, 1.0, 0.3, 0.8)
"""After this time without a sight a speed has fallen to 1 / e: people stop and turn."""

DETECTED_PLACE, DETECTED_WIDTH = 0.06, 0.3
"""Standard deviations of a detector's box, in the same units; its height's is the detector's."""

FROM_MESH = (0.1, 0.1, 0.5, 0.2)
"""Likewise of the box around a mesh, several times what is measured: its error hardly changes
from image to image, and would be taken for a truth seen often. The width also changes with every
step of the legs."""

TELLING = (0, 1, 3)
"""Which of the numbers tell people apart: not the width."""

HELD = 0.08
"""A held box stays until centre or longer side have changed by this share of the longer side."""


class _Number(NamedTuple):
    """What is known about one of the numbers."""

    place: float
    """px for the centre, natural logarithm of px for the sizes."""
    speed: float
    """Of this, per second."""
    place_variance: float
    covariance: float
    speed_variance: float

    def predicted(self, step_s: float, acceleration: float, damping_s: float) -> _Number:
        """After so many seconds without a sight."""
        pushed = acceleration**2
        kept = math.exp(-step_s / damping_s)
        return _Number(
            self.place + self.speed * step_s, self.speed * kept,
            self.place_variance + 2 * step_s * self.covariance
            + step_s**2 * self.speed_variance + pushed * step_s**4 / 4,
            (self.covariance + step_s * self.speed_variance) * kept + pushed * step_s**3 / 2,
            self.speed_variance * kept**2 + pushed * step_s**2)

    def corrected(self, seen: float, noise: float) -> _Number:
        """With a sight, whose standard deviation is given."""
        total = self.place_variance + noise**2
        gain, speed_gain = self.place_variance / total, self.covariance / total
        error = seen - self.place
        return _Number(
            self.place + gain * error, self.speed + speed_gain * error,
            self.place_variance * (1 - gain), self.covariance * (1 - gain),
            self.speed_variance - speed_gain * self.covariance)


@dataclass(frozen=True)
class BoxMotion:
    """What is known about one box and its speed; `predicted` and `corrected` give the next.

    Attributes:
        numbers: centre x and y, logarithm of width and height.
    """

    numbers: tuple[_Number, ...]

    @classmethod
    def from_box(cls, box: np.ndarray, noise: Sequence[float]) -> BoxMotion:
        """Of somebody who is seen for the first time.

        Args:
            box: (4,) image px.
            noise: of the box, from `detector_noise`.
        """
        places = _places(box)
        return cls(tuple(
            _Number(place, 0.0, (deviation * unit) ** 2, 0.0, (speed * unit) ** 2)
            for place, deviation, speed, unit in zip(places, noise, FIRST_SPEED, _units(places[3]),
                                                     strict=True)))

    @cached_property
    def box(self) -> np.ndarray:
        """(4,) float32 x_min, y_min, x_max, y_max, image px."""
        x, y, *sizes = (number.place for number in self.numbers)
        width, height = (math.exp(size) / 2 for size in sizes)
        return np.array([x - width, y - height, x + width, y + height], np.float32)

    def surprises(self, before: np.ndarray, boxes: np.ndarray, noise: Sequence[float]
                  ) -> np.ndarray:
        """How unlikely each detection is, (N,): minus twice the logarithm of its likelihood.

        Width apart; up to a constant, in body heights. Of somebody of whom little is known
        everything is somewhat surprising, so that those who are known well are served first.

        Args:
            before: (4,) where the person was at the time of the detections, image px.
            boxes: (N, 4) image px.
            noise: of these boxes, from `detector_noise`.
        """
        expected = _places(before)
        units = _units(expected[3])
        variances = [number.place_variance + (deviation * unit) ** 2
                     for number, deviation, unit in zip(self.numbers, noise, units, strict=True)]
        places = np.array([_places(box) for box in boxes]).reshape(-1, 4)
        return sum((places[:, which] - expected[which]) ** 2 / variances[which]
                   + math.log(variances[which] / units[which] ** 2) for which in TELLING)

    def predicted(self, step_s: float) -> BoxMotion:
        """After so many seconds without a sight."""
        return BoxMotion(tuple(
            number.predicted(step_s, acceleration * unit, damping_s)
            for number, acceleration, unit, damping_s in zip(
                self.numbers, ACCELERATION, self._units, DAMPING_S, strict=True)))

    def corrected(self, box: np.ndarray, noise: Sequence[float]) -> BoxMotion:
        """With a sight.

        Args:
            box: (4,) image px.
            noise: of the box: from `detector_noise`, or `FROM_MESH`.
        """
        return BoxMotion(tuple(
            number.corrected(seen, deviation * unit)
            for number, seen, deviation, unit in zip(
                self.numbers, _places(box), noise, self._units, strict=True)))

    @property
    def _units(self) -> tuple[float, ...]:
        return _units(self.numbers[3].place)


def detector_noise(height_noise: float) -> tuple[float, ...]:
    """Standard deviations of a detector's box, for `BoxMotion`.

    Args:
        height_noise: of the logarithm of its height.
    """
    return DETECTED_PLACE, DETECTED_PLACE, DETECTED_WIDTH, height_noise


def _places(box: np.ndarray) -> tuple[float, ...]:
    """The four numbers that the filter knows a box (4,) by."""
    x_min, y_min, x_max, y_max = box.tolist()
    return ((x_min + x_max) / 2, (y_min + y_max) / 2, math.log(max(x_max - x_min, 1.0)),
            math.log(max(y_max - y_min, 1.0)))


def _units(log_height: float) -> tuple[float, ...]:
    """What the noises are measured in: the height for the centre, 1 for the logarithms."""
    height = math.exp(log_height)
    return height, height, 1.0, 1.0


class HeldBoxes:
    """Boxes that stand still while people hardly move.

    Mesh and crop feed each other: where the crop followed the mesh's noise, the mesh of a person
    who stands still trembled five times as much.
    """

    def __init__(self) -> None:
        """Starts with nobody."""
        self._held: dict[int, np.ndarray] = {}

    def of(self, boxes: Mapping[int, np.ndarray]) -> np.ndarray:
        """The boxes (T, 4) to crop for people whose boxes (4,) are given by number, image px."""
        self._held = {number: self._held[number] if number in self._held
                      and _is_near(self._held[number], box) else box
                      for number, box in boxes.items()}
        return np.array(list(self._held.values()), np.float32).reshape(-1, 4)


def _is_near(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether a crop for one box (4,) serves for the other."""
    one, other = one.tolist(), other.tolist()
    side, other_side = (max(box[2] - box[0], box[3] - box[1]) for box in (one, other))
    shift = max(abs(one[axis] + one[axis + 2] - other[axis] - other[axis + 2]) / 2
                for axis in (0, 1))
    return max(shift, abs(side - other_side)) <= HELD * side
