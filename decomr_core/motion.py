"""Where a person's box will be: a Kalman filter with constant velocity for each of its numbers.

The filter knows the box as (centre x, centre y, log width, log height), each with a position and
a speed. Noise is said in body heights, so that near and far people are treated alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ['FROM_MESH', 'BoxMotion', 'HeldBoxes', 'detector_noise']

ACCELERATION = np.array([1.2, 0.4, 0.1, 0.3])
"""Standard deviation per second squared: body heights for the centre, logarithm for the sizes.
A walker turns round within a second; nobody grows or gets wider for long."""

FIRST_SPEED = np.array([0.8, 0.3, 0.1, 0.3])
"""What is assumed of somebody new, per second: 0.8 body heights are a brisk walk."""

DAMPING_S = np.array([4.0, 1.0, 0.3, 0.8])
"""After this time without a sight a speed has fallen to 1 / e: people stop and turn."""

DETECTED_PLACE, DETECTED_WIDTH = 0.06, 0.3
"""Standard deviations of a detector's box, in the same units; its height's is the detector's."""

FROM_MESH = np.array([0.1, 0.1, 0.5, 0.2])
"""Likewise of the box around a mesh, several times what is measured: its error hardly changes
from image to image, and would be taken for a truth seen often. The width also changes with every
step of the legs."""

TELLING = [0, 1, 3]
"""Which of the numbers tell people apart: not the width."""

HELD = 0.08
"""A held box stays until centre or longer side have changed by this share of the longer side."""


@dataclass(frozen=True)
class BoxMotion:
    """What is known about one box and its speed; `predicted` and `corrected` give the next.

    Attributes:
        place: (4,) centre x and y, image px; natural logarithm of width and height in px.
        speed: (4,) of these, per second.
        place_variance: (4,) px squared for the centre.
        covariance: (4,) of place and speed.
        speed_variance: (4,).
    """

    place: np.ndarray
    speed: np.ndarray
    place_variance: np.ndarray
    covariance: np.ndarray
    speed_variance: np.ndarray

    @classmethod
    def from_box(cls, box: np.ndarray, noise: np.ndarray) -> BoxMotion:
        """Of somebody who is seen for the first time.

        Args:
            box: (4,) image px.
            noise: (4,) of the box, from `detector_noise`.
        """
        place = _places(box)
        units = _units(place)
        return cls(place, np.zeros(4), (noise * units) ** 2, np.zeros(4),
                   (FIRST_SPEED * units) ** 2)

    @cached_property
    def box(self) -> np.ndarray:
        """(4,) float32 x_min, y_min, x_max, y_max, image px."""
        half = np.exp(self.place[2:]) / 2
        return np.concatenate([self.place[:2] - half, self.place[:2] + half]).astype(np.float32)

    def surprises(self, before: np.ndarray, boxes: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """How unlikely each detection is, (N,): minus twice the logarithm of its likelihood.

        Width apart; up to a constant, in body heights. Of somebody of whom little is known
        everything is somewhat surprising, so that those who are known well are served first.

        Args:
            before: (4,) where the person was at the time of the detections, image px.
            boxes: (N, 4) image px.
            noise: (4,) of these boxes, from `detector_noise`.
        """
        expected = _places(before)
        units = _units(expected)
        variance = (self.place_variance + (noise * units) ** 2)[TELLING]
        squares = (_places(boxes) - expected)[:, TELLING] ** 2 / variance
        return squares.sum(1) + np.log(variance / units[TELLING] ** 2).sum()

    def predicted(self, step_s: float) -> BoxMotion:
        """After so many seconds without a sight."""
        units = _units(self.place)
        pushed = (ACCELERATION * units) ** 2
        kept = np.exp(-step_s / DAMPING_S)
        return BoxMotion(
            self.place + self.speed * step_s, self.speed * kept,
            self.place_variance + 2 * step_s * self.covariance
            + step_s**2 * self.speed_variance + pushed * step_s**4 / 4,
            (self.covariance + step_s * self.speed_variance) * kept + pushed * step_s**3 / 2,
            self.speed_variance * kept**2 + pushed * step_s**2)

    def corrected(self, box: np.ndarray, noise: np.ndarray) -> BoxMotion:
        """With a sight.

        Args:
            box: (4,) image px.
            noise: (4,) of the box: from `detector_noise`, or `FROM_MESH`.
        """
        seen = _places(box)
        total = self.place_variance + (noise * _units(self.place)) ** 2
        gain, speed_gain = self.place_variance / total, self.covariance / total
        error = seen - self.place
        return BoxMotion(
            self.place + gain * error, self.speed + speed_gain * error,
            self.place_variance * (1 - gain), self.covariance * (1 - gain),
            self.speed_variance - speed_gain * self.covariance)


def detector_noise(height_noise: float) -> np.ndarray:
    """Standard deviations (4,) of a detector's box, for `BoxMotion`.

    Args:
        height_noise: of the logarithm of its height.
    """
    return np.array([DETECTED_PLACE, DETECTED_PLACE, DETECTED_WIDTH, height_noise])


def _places(boxes: np.ndarray) -> np.ndarray:
    """The four numbers that the filter knows boxes (..., 4) by, (..., 4)."""
    boxes = np.asarray(boxes, np.float64)
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, np.log(np.maximum(high - low, 1.0))], axis=-1)


def _units(place: np.ndarray) -> np.ndarray:
    """What the noises are measured in: the height for the centre, 1 for the logarithms."""
    height = np.exp(place[3])
    return np.array([height, height, 1.0, 1.0])


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
    sides = [float((box[2:] - box[:2]).max()) for box in (one, other)]
    shift = np.abs((one[:2] + one[2:]) - (other[:2] + other[2:])).max() / 2
    return max(shift, abs(sides[0] - sides[1])) <= HELD * sides[0]
