"""Velocities of a person's joints and vertices: low-pass filtered differences of raw meshes.

The speeds inside the 1 Euro filter only set its cutoff. They are differences between a raw and a
smoothed position, so the lag of the filter makes them too large: 1.8 m/s for a person who walks at
1.2 m/s, with 30 images per second. Differences of raw positions have no such bias.

The low-pass has two stages, each of twice the cutoff. It is as late as a single stage of that
cutoff, but lets through only 0.6 as much of the independent errors of images at 30 per second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = [
    'MIN_STEP_S',
    'NUM_STAGES',
    'PersonMotion',
    'VelocityState',
    'low_pass_weight',
    'velocity_delay_s',
    'velocity_weight',
]

MIN_STEP_S = 1e-3
"""Shortest time between two images over which velocities are measured."""

NUM_STAGES = 2
"""Stages of the low-pass; the cutoff of each is so many times that of the whole."""


@dataclass(frozen=True)
class PersonMotion:
    """Velocities of one person, in the axes of the filter's frame.

    Attributes:
        joint_velocities: (J, 3) float32, m/s.
        vertex_velocities: (V, 3) float32, m/s.
        root_velocity: (3,) m/s; None if the mesh is not metric, because the position of the
            person is then unknown.
        is_metric: whether `joint_velocities` and `vertex_velocities` include the velocity of the
            root. False: they are relative to the root, as for a person whose root stands still.
        is_fixed: True: the axes are those of the fixed frame, and velocities are relative to it.
            False: the axes are those of the camera optical frame (x right, y down, z forward),
            and velocities are relative to the camera.
        observed_s: time since the first mesh that the velocities use, s.
    """

    joint_velocities: np.ndarray
    vertex_velocities: np.ndarray
    root_velocity: np.ndarray | None
    is_metric: bool
    is_fixed: bool
    observed_s: float


@dataclass(frozen=True)
class VelocityState:
    """Velocity filter of one person: a two-stage low-pass of the differences of raw positions.

    It works in a frame that does not move: the fixed frame, or always the camera frame.

    Attributes:
        start_s: time of the first image.
        time_s: time of the last image that was used.
        root: (3,) raw root in that image, m.
        body: (3, V + J) raw root-relative points in that image, m.
        num_vertices: V.
        root_velocity: (3,) m/s; None before the second image.
        body_velocity: (3, V + J) m/s, relative to the root; None before the second image.
        root_first: `root_velocity` after the first stage alone.
        body_first: `body_velocity` after the first stage alone.
    """

    start_s: float
    time_s: float
    root: np.ndarray
    body: np.ndarray
    num_vertices: int
    root_velocity: np.ndarray | None = None
    body_velocity: np.ndarray | None = None
    root_first: np.ndarray | None = None
    body_first: np.ndarray | None = None

    def updated(
        self, root: np.ndarray, body: np.ndarray, time_s: float, cutoff_hz: float
    ) -> VelocityState:
        """The state after one more mesh.

        The velocity starts as the mean since the first image, and not at 0: it has no bias from
        the second image on.

        Args:
            root: (3,) raw root, m.
            body: (3, V + J) raw root-relative points, m.
            time_s: time of the image; the state stays the same within `MIN_STEP_S`.
            cutoff_hz: half the cutoff of each stage of the low-pass.
        """
        step_s = time_s - self.time_s
        if step_s < MIN_STEP_S:
            return self
        root_first = root_velocity = (root - self.root) / step_s
        body_first = body_velocity = (body - self.body) * np.float32(1 / step_s)
        if self.root_velocity is not None:
            weight = velocity_weight(NUM_STAGES * cutoff_hz, step_s, time_s - self.start_s)
            root_first = _mixed(self.root_first, root_first, weight)
            body_first = _mixed(self.body_first, body_first, weight)
            root_velocity = _mixed(self.root_velocity, root_first, weight)
            body_velocity = _mixed(self.body_velocity, body_first, weight)
        return VelocityState(
            self.start_s,
            time_s,
            root,
            body,
            self.num_vertices,
            root_velocity,
            body_velocity,
            root_first,
            body_first,
        )

    def motion(self, is_metric: bool, is_fixed: bool) -> PersonMotion | None:
        """The velocities; None before the second image.

        Args:
            is_metric: see `PersonMotion`.
            is_fixed: see `PersonMotion`.
        """
        if self.root_velocity is None or self.body_velocity is None:
            return None
        points = np.ascontiguousarray(self.body_velocity.T)
        if is_metric:
            points += self.root_velocity.astype(np.float32)
        return PersonMotion(
            joint_velocities=points[self.num_vertices :],
            vertex_velocities=points[: self.num_vertices],
            root_velocity=self.root_velocity.copy() if is_metric else None,
            is_metric=is_metric,
            is_fixed=is_fixed,
            observed_s=self.time_s - self.start_s,
        )


def _mixed(old: np.ndarray | None, new: np.ndarray, weight: float) -> np.ndarray:
    """The old value moved towards the new one by a weight from 0 to 1."""
    assert old is not None  # all velocities are known from the second image on
    mixed = new - old
    mixed *= mixed.dtype.type(weight)
    mixed += old
    return mixed


def low_pass_weight(
    cutoff_hz: np.ndarray | float, step_s: float | np.float32
) -> np.ndarray | float | np.floating:
    """Weight of the new value in a first-order low-pass filter.

    Args:
        cutoff_hz: cutoff frequency, of any shape.
        step_s: time since the last value, s.
    """
    radians = cutoff_hz * (step_s * 2 * math.pi)
    return radians / (radians + 1)


def velocity_weight(cutoff_hz: float, step_s: float, observed_s: float) -> float:
    """Weight of the newest difference in a velocity, which starts as the mean since the start.

    Args:
        cutoff_hz: cutoff of the low-pass.
        step_s: time since the last value, s.
        observed_s: time since the first value, s.
    """
    return max(float(low_pass_weight(cutoff_hz, step_s)), step_s / observed_s)


def velocity_delay_s(cutoff_hz: float, interval_s: float) -> float:
    """Delay of the velocities at low frequency, s: they are those of this time ago.

    A first-order low-pass has the group delay 1 / (2 pi f_c), and two stages of 2 f_c have the
    same together. The difference of two images is the velocity half-way between them. With 1 Hz
    and 30 images per second this is 0.16 + 0.02 s. It is shorter at first, as the velocity is then
    a mean since the first image.

    Args:
        cutoff_hz: f_c.
        interval_s: time between two images.
    """
    return 1 / (2 * math.pi * cutoff_hz) + interval_s / 2
