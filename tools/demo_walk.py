"""Walking motions for the demo clip: a course on the floor, footprints along it, and poses.

The world frame has y up and z towards the camera, like the body frame; lengths are in metres,
times in seconds. A foot on the ground does not slide: the legs are posed by inverse kinematics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from training.records.rotations import (
    MIRROR,
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    rotation_about,
)
from training.synthetic.bodies.poses import GESTURES

__all__ = ['DURATION_S', 'Course', 'Motion', 'passing_by', 'round_with_a_stop', 'walk']

DURATION_S = 10.0
"""Period of the closed course."""
CLOCK_S = np.arange(-3, DURATION_S + 3, 0.01)
STANCE = 0.6
"""Share of a stride during which a foot is on the ground."""
FOOT_PITCH = PchipInterpolator(
    [0, 0.1, 0.33, STANCE, 0.72, 0.9, 1], [-0.3, 0, 0, 0.75, 0.6, -0.15, -0.3]
)
"""Downward pitch of the foot, radians, over one stride that begins at heel strike."""
HEEL_BEHIND_M, TOE_OUT, HALF_GAIT_WIDTH_M, FOOT_LIFT_M = 0.05, 0.16, 0.09, 0.05
FOOT_BEHIND_M = 0.03
"""Distance of a walker's foot behind the body's middle at mid-stance."""
STRAIGHTEST = 0.985
"""Largest length of a leg, as a share of thigh and shin."""
DOWN, BACK, OUT, FRONT = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0], [0, 0, 1]], float)
ArmKeys = tuple[tuple[float, float, str], ...]
"""Transitions of an arm: start and end time, s, and the gesture at the end."""


@dataclass(frozen=True)
class Course:
    """The path of a person, sampled at the times `CLOCK_S`.

    Attributes:
        position: (N, 2) x and z.
        yaw: (N,) radians; 0 faces the camera, pi / 2 its right.
        pace: (N,) 0 standing to 1 walking.
        phase: (N,) strides; at whole numbers the left foot is on the ground under the body.
        arms: gestures of the left and the right arm in addition to the swing.
    """

    position: np.ndarray
    yaw: np.ndarray
    pace: np.ndarray
    phase: np.ndarray
    arms: tuple[ArmKeys, ArmKeys] = ((), ())


@dataclass(frozen=True)
class Motion:
    """A walk at T times.

    Attributes:
        pose: (T, 24, 3) axis-angle, radians; the root rotation is from the body to the world.
        root: (T, 3) position of the pelvis in the world.
        ankles: (2, T, 3) target positions of the left and the right ankle.
        stands: (2, T) bool, whether the foot is flat on the ground.
    """

    pose: np.ndarray
    root: np.ndarray
    ankles: np.ndarray
    stands: np.ndarray


def round_with_a_stop(
    center: tuple[float, float], half_axes: tuple[float, float], strides: int
) -> Course:
    """A closed course with a stop at the front, where the person faces the camera, arms raised.

    Args:
        center: x and z of the centre.
        half_axes: half axes of the ellipse, along x and z.
        strides: number of strides, a whole number so that the course closes.
    """
    time = CLOCK_S % DURATION_S
    pace = 1 - _ease(time, 1.9, 2.8) + _ease(time, 6.3, 7.2)
    turned = _ease(time, 2.5, 3.5) - _ease(time, 5.8, 6.8)
    angle = np.linspace(-2 * np.pi, 4 * np.pi, 3001)
    line = np.stack(
        [center[0] - half_axes[0] * np.cos(angle), center[1] + half_axes[1] * np.sin(angle)],
        axis=1,
    )
    lap = _lengths(line)[-1] / 3
    distance = _over_time(pace)
    distance *= lap / _gain(distance)
    # Slow steps are both shorter and slower; a quarter turn takes three steps.
    phase = _over_time(0.95 * np.sqrt(pace) + 1.5 * np.abs(np.gradient(turned, CLOCK_S)))
    phase *= strides / _gain(phase)
    # Between two steps both feet are on the ground.
    phase += 0.25 - np.interp(4.5, CLOCK_S, phase) % 0.5
    position, heading = _along(line, distance + lap - 0.75)
    arms = (
        ((3.2, 4.0, 'side'), (3.9, 4.5, 'raise'), (4.9, 5.5, 'side'), (5.4, 6.1, 'hang')),
        ((3.3, 4.1, 'side'), (4.0, 4.6, 'raise'), (5.0, 5.6, 'front'), (6.1, 6.8, 'hang')),
    )
    return Course(position, heading - 1.45 * turned, pace, phase, arms)


def passing_by(points: list[tuple[float, float]], speed: float, start_s: float) -> Course:
    """A walk along a smooth line through points.

    Args:
        points: x and z of the points.
        speed: metres per second.
        start_s: time at the first point.
    """
    spline = CubicSpline(_lengths(np.array(points)), points)
    first, last = spline.x[[0, -1]]
    outside = np.linspace(0, 12, 50)[1:, None]
    line = np.concatenate(
        [
            points[0] - spline(first, 1) * outside[::-1],
            spline(np.linspace(first, last, 2001)),
            points[-1] + spline(last, 1) * outside,
        ]
    )
    before = _lengths(line[:50])[-1]
    position, heading = _along(line, before + speed * (CLOCK_S - start_s))
    return Course(position, heading, np.ones_like(CLOCK_S), CLOCK_S + 3)


def walk(course: Course, rest: np.ndarray, sole: float, times: np.ndarray) -> Motion:
    """Computes the poses of a walk.

    Args:
        course: the path.
        rest: (24, 3) joints of the person in T-pose.
        sole: y of the soles in T-pose.
        times: (T,) seconds.
    """
    phase, pace = (np.interp(times, CLOCK_S, values) for values in (course.phase, course.pace))
    fore = -np.sin(2 * np.pi * phase) * pace  # 1 where the left foot is ahead
    yaw = np.interp(times, CLOCK_S, course.yaw)
    pose = np.zeros((len(times), 24, 3))
    turn = rotation_about(1, yaw - 0.08 * fore) @ rotation_about(0, 0.04 * pace)
    pose[:, 0] = axis_angle_from_matrix(turn)
    feet = [_foot(course, rest, sole, times, side) for side in range(2)]
    root = _root(course, rest, times, turn, [foot.ankle for foot in feet])
    for side, foot in enumerate(feet):
        hip, knee, heel = 1 + side, 4 + side, 7 + side
        target = foot.ankle - root - turn @ (rest[hip] - rest[0])
        pole = foot.turn[..., 2] * [1, 0, 1] + turn[..., 2]
        first, second = _bend(
            rest[knee] - rest[hip],
            rest[heel] - rest[knee],
            BACK,
            _unturn(turn, target),
            _unturn(turn, pole),
        )
        inverse = np.swapaxes(turn @ first @ second, 1, 2)
        for joint, rotation in ((hip, first), (knee, second), (heel, inverse @ foot.turn)):
            pose[:, joint] = axis_angle_from_matrix(rotation)
        # The toes stay on the ground after heel-off.
        pose[:, 10 + side, 0] = -0.8 * np.maximum(foot.pitch, 0)
    pose[:, 3:10:3, 1] = 0.07 * fore[:, None]
    pose[:, 3:10:3, 0] = 0.03 + 0.01 * np.sin(1.5 * times)[:, None]
    head_turn = np.clip(np.interp(times + 0.3, CLOCK_S, course.yaw) - yaw, -0.7, 0.7)
    pose[:, (12, 15), 1] = 0.5 * head_turn[:, None] - 0.03 * fore[:, None]
    pose[:, 15, 0] = 0.05
    for side in range(2):
        _pose_arm(pose, course.arms[side], times, fore * (1 - 2 * side), side)
    return Motion(
        pose,
        root,
        np.stack([foot.ankle for foot in feet]),
        np.stack([foot.stands for foot in feet]),
    )


@dataclass(frozen=True)
class _Foot:
    """One foot at T times.

    Attributes:
        ankle: (T, 3) position of the ankle.
        turn: (T, 3, 3) rotation of the foot in the world.
        pitch: (T,) downward pitch, radians.
        stands: (T,) bool, whether the foot is flat on the ground.
    """

    ankle: np.ndarray
    turn: np.ndarray
    pitch: np.ndarray
    stands: np.ndarray


def _foot(course: Course, rest: np.ndarray, sole: float, times: np.ndarray, side: int) -> _Foot:
    """The left (0) or right (1) foot: stays at its footprints and swings between them."""
    sign = 1 - 2 * side
    stride = np.interp(times, CLOCK_S, course.phase) - 0.5 * side + STANCE / 2
    number = np.floor(stride)
    part = stride - number
    share = _ease(part, STANCE, 1)
    prints = []
    for ahead in (0, 1):
        when = np.interp(number + ahead + 0.5 * side, course.phase, CLOCK_S)
        x, z, yaw = (
            np.interp(when, CLOCK_S, values) for values in (*course.position.T, course.yaw)
        )
        late = FOOT_BEHIND_M * np.interp(when, CLOCK_S, course.pace)
        gap = HALF_GAIT_WIDTH_M * sign
        prints.append(
            np.stack(
                [
                    x + gap * np.cos(yaw) - late * np.sin(yaw),
                    z - gap * np.sin(yaw) - late * np.cos(yaw),
                    yaw + TOE_OUT * sign,
                ],
                axis=1,
            )
        )
    x, z, yaw = (prints[0] + (prints[1] - prints[0]) * share[:, None]).T
    stepped = np.linalg.norm((prints[1] - prints[0])[:, :2], axis=1)
    pace = np.interp(times, CLOCK_S, course.pace)
    pitch = FOOT_PITCH(part) * pace
    lift = FOOT_LIFT_M * (0.4 + 0.6 * np.clip(stepped, 0, 1)) * np.sin(np.pi * share)
    ankle, ball = rest[7 + side], rest[10 + side]
    tall = ankle[1] - sole
    turn = rotation_about(1, yaw)
    foot = turn @ rotation_about(0, pitch)
    # The foot rolls over the heel, then over the ball.
    pivot = np.where(
        pitch[:, None] > 0, [0, -tall, ball[2] - ankle[2]], [0, -tall, -HEEL_BEHIND_M]
    )
    target = np.stack([x, tall + lift, z], axis=1)
    target = target + np.einsum('tij,tj->ti', turn - foot, pivot)
    return _Foot(target, foot, pitch, (part < STANCE) & (np.abs(pitch) < 0.02))


def _root(
    course: Course, rest: np.ndarray, times: np.ndarray, turn: np.ndarray, ankles: list[np.ndarray]
) -> np.ndarray:
    """Positions of the pelvis (T, 3): over the course, as high as both legs allow."""
    x, z = (np.interp(times, CLOCK_S, values) for values in course.position.T)
    heights = []
    for side, ankle in enumerate(ankles):
        hip = turn @ (rest[1 + side] - rest[0])
        longest = STRAIGHTEST * sum(
            np.linalg.norm(rest[upper + side] - rest[upper + 3 + side]) for upper in (1, 4)
        )
        away = ankle[:, [0, 2]] - np.stack([x, z], axis=1) - hip[:, [0, 2]]
        rise = np.sqrt(np.maximum(longest**2 - (away**2).sum(1), 0.2))
        heights.append(ankle[:, 1] + rise - hip[:, 1])
    lowest = -np.log(np.exp(-60 * np.array(heights)).sum(0)) / 60
    step_s = float(np.mean(np.diff(times)))
    return np.stack([x, gaussian_filter1d(lowest, 0.06 / step_s, mode='wrap'), z], axis=1)


def _pose_arm(
    pose: np.ndarray, keys: ArmKeys, times: np.ndarray, fore: np.ndarray, side: int
) -> None:
    """Poses an arm: swing opposite to the leg of its side, `fore` (T,), and gestures; in place."""
    angle = 0.1 - 0.42 * fore
    hang = np.stack([np.full_like(angle, 0.17), -np.cos(angle), np.sin(angle)], axis=1) * 0.94
    hang_pole = np.array(GESTURES['hang'].pole)
    target, pole = hang, np.tile(hang_pole, (len(times), 1))
    for start, end, name in keys:
        share = _ease(times, start, end)[:, None]
        gesture = GESTURES[name]
        to, to_pole = (
            (hang, hang_pole)
            if name == 'hang'
            else (np.array(gesture.target), np.array(gesture.pole))
        )
        target, pole = target + (to - target) * share, pole + (to_pole - pole) * share
    lift = 0.3 * np.clip(target[:, 1] + 0.2, 0, 1)
    shoulder, elbow = _bend(0.52 * OUT, 0.48 * OUT, FRONT, target, pole)
    mirror = MIRROR if side else np.ones(3)
    pose[:, 13 + side, 2] = lift * mirror[2]
    pose[:, 16 + side] = axis_angle_from_matrix(rotation_about(2, -lift) @ shoulder) * mirror
    pose[:, 18 + side] = axis_angle_from_matrix(elbow) * mirror
    pose[:, 22 + side, 2] = -0.35 * mirror[2]


def _bend(
    upper: np.ndarray,
    lower: np.ndarray,
    bends_to: np.ndarray,
    target: np.ndarray,
    pole: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves the end of a limb to a target by two-bone inverse kinematics.

    Args:
        upper: (3,) vector from its first to its second joint in T-pose.
        lower: (3,) vector from its second joint to its end in T-pose.
        bends_to: (3,) direction in which the lower part bends in T-pose.
        target: (T, 3) target relative to the first joint.
        pole: (T, 3) direction of the second joint.

    Returns:
        Rotations (T, 3, 3) of the first and of the second joint.
    """
    a, b = np.linalg.norm(upper), np.linalg.norm(lower)
    along = _unit(target)
    distance = np.clip(np.linalg.norm(target, axis=1), 0.3 * (a + b), 0.998 * (a + b))[:, None]
    pole = _unit(pole - (pole * along).sum(1, keepdims=True) * along)
    cosine = (a**2 + distance**2 - b**2) / (2 * a * distance)
    first = cosine * along + np.sqrt(1 - cosine**2) * pole
    frame = _frames(first, (pole * first).sum(1, keepdims=True) * first - pole)
    rotation = frame @ _frames(upper[None] / a, bends_to[None]).swapaxes(1, 2)
    second = _unit(_unturn(rotation, distance * along - a * first))
    axis = np.cross(lower[None] / b, second)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arctan2(sine, second @ lower[:, None] / b)
    return rotation, matrix_from_axis_angle(axis / np.maximum(sine, 1e-9) * angle)


def _frames(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) whose first two columns are along given vectors (T, 3)."""
    second = _unit(second - (second * first).sum(1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _unturn(turn: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum('tji,tj->ti', turn, vectors)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _ease(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """A smooth step from 0 at the start to 1 at the end."""
    share = np.clip((time - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _over_time(rate: np.ndarray) -> np.ndarray:
    """The integral over `CLOCK_S`, 0 at time 0."""
    total = np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(CLOCK_S))])
    return total - np.interp(0, CLOCK_S, total)


def _gain(values: np.ndarray) -> float:
    return float(np.interp(DURATION_S, CLOCK_S, values) - np.interp(0, CLOCK_S, values))


def _lengths(line: np.ndarray) -> np.ndarray:
    """Arc length (N,) of a polyline at its points (N, 2)."""
    return np.concatenate([[0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])


def _along(line: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) at arc lengths (N,) of a polyline, and the headings (N,) there."""
    lengths = _lengths(line)
    heading = np.unwrap(np.arctan2(*np.gradient(line, lengths, axis=0).T))
    position = np.stack([np.interp(distance, lengths, values) for values in line.T], axis=1)
    return position, np.interp(distance, lengths, heading)
