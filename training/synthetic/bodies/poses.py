"""Generates natural poses by rules: an activity of the whole body and a gesture of each arm.

All poses are in SMPL's body frame (x to the person's left, y up, z forward) on a T-pose body.
Limbs are described for the left side and mirrored for the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decomr_core.body_models.joints import (
    ANKLES,
    COLLARS,
    ELBOWS,
    FEET,
    HANDS,
    HEAD,
    HIPS,
    KNEES,
    NECK,
    NUM_JOINTS,
    PELVIS,
    SHOULDERS,
    SPINE,
    WRISTS,
)
from training.records.rotations import MIRROR, axis_angle_from_matrix, rotation_about

__all__ = ['ACTIVITIES', 'ACTIVITY_NAMES', 'GESTURES', 'arm_rotations', 'sample_poses']

UPPER_ARM, LOWER_ARM = 0.52, 0.48
"""Lengths in units of the arm from shoulder to wrist."""


@dataclass(frozen=True)
class Gesture:
    """A gesture of one arm, in the chest frame: (outward, up, forward) from the shoulder.

    Attributes:
        target: position of the wrist, in arm lengths.
        spread: standard deviation of the target, in arm lengths.
        pole: direction of the elbow.
    """

    target: tuple[float, float, float]
    spread: tuple[float, float, float]
    pole: tuple[float, float, float]


GESTURES = {
    'hang': Gesture((0.16, -0.97, 0.03), (0.06, 0.02, 0.07), (0.3, 0, -1)),
    'hang bent': Gesture((0.20, -0.86, 0.18), (0.09, 0.07, 0.12), (0.5, 0, -1)),
    'hip': Gesture((0.06, -0.70, 0.08), (0.05, 0.06, 0.07), (1, 0.1, -0.4)),
    'pocket': Gesture((0.10, -0.85, 0.12), (0.04, 0.04, 0.05), (0.8, 0, -0.8)),
    'crossed': Gesture((-0.45, -0.42, 0.42), (0.07, 0.07, 0.05), (0.5, -1, 0.1)),
    'carry': Gesture((-0.12, -0.50, 0.55), (0.10, 0.15, 0.14), (0.6, -1, -0.3)),
    'tray': Gesture((0.08, -0.35, 0.62), (0.10, 0.12, 0.12), (0.5, -1, -0.3)),
    'phone': Gesture((-0.12, 0.28, 0.22), (0.06, 0.06, 0.06), (0.7, -1, 0.3)),
    'screen': Gesture((-0.20, -0.22, 0.55), (0.08, 0.10, 0.08), (0.5, -1, -0.1)),
    'chin': Gesture((-0.28, 0.05, 0.40), (0.05, 0.06, 0.05), (0.4, -1, 0.1)),
    'wave': Gesture((0.35, 0.42, 0.22), (0.15, 0.15, 0.15), (0.6, -1, 0.1)),
    'raise': Gesture((0.12, 0.95, 0.10), (0.18, 0.12, 0.18), (0.8, 0, 0.6)),
    'behind head': Gesture((-0.12, 0.42, -0.06), (0.06, 0.06, 0.06), (1, 0.3, 0.4)),
    'side': Gesture((0.93, 0.0, 0.10), (0.10, 0.25, 0.25), (0, -0.7, -0.7)),
    'front': Gesture((0.05, 0.0, 0.93), (0.20, 0.25, 0.10), (0.3, -1, 0)),
    'low front': Gesture((0.05, -0.65, 0.65), (0.18, 0.18, 0.18), (0.5, -1, -0.4)),
    'across': Gesture((-0.40, -0.15, 0.70), (0.20, 0.25, 0.15), (0.4, -1, 0)),
    'back': Gesture((-0.20, -0.75, -0.28), (0.08, 0.06, 0.06), (1, 0, -0.6)),
    'lap': Gesture((-0.05, -0.78, 0.42), (0.10, 0.08, 0.10), (0.7, -0.3, -0.6)),
    'knee': Gesture((0.08, -0.70, 0.62), (0.10, 0.10, 0.10), (0.6, -0.6, -0.4)),
    'any': Gesture((0.35, -0.05, 0.35), (0.55, 0.65, 0.55), (0.4, -0.8, -0.3)),
}
GESTURE_NAMES = list(GESTURES)
TARGETS, SPREADS, POLES = (
    np.array([getattr(gesture, name) for gesture in GESTURES.values()], dtype=float)
    for name in ('target', 'spread', 'pole')
)

UPRIGHT_ARMS = {
    'hang': 0.30,
    'hang bent': 0.17,
    'hip': 0.06,
    'pocket': 0.06,
    'crossed': 0.05,
    'carry': 0.06,
    'tray': 0.03,
    'phone': 0.03,
    'screen': 0.04,
    'chin': 0.02,
    'wave': 0.03,
    'back': 0.03,
    'low front': 0.05,
    'any': 0.07,
}
REACHING_ARMS = {
    'front': 0.22,
    'low front': 0.16,
    'raise': 0.12,
    'side': 0.12,
    'across': 0.10,
    'wave': 0.10,
    'tray': 0.04,
    'behind head': 0.03,
    'any': 0.11,
}
SEATED_ARMS = {
    'lap': 0.28,
    'knee': 0.22,
    'low front': 0.14,
    'screen': 0.08,
    'crossed': 0.05,
    'phone': 0.04,
    'chin': 0.05,
    'hang': 0.04,
    'tray': 0.04,
    'any': 0.06,
}
LOW_ARMS = {
    'low front': 0.30,
    'front': 0.15,
    'knee': 0.15,
    'hang': 0.10,
    'carry': 0.10,
    'tray': 0.05,
    'any': 0.15,
}
SPORT_ARMS = {'any': 0.40, 'side': 0.15, 'front': 0.15, 'raise': 0.15, 'wave': 0.15}
WALKING_ARMS = {'hang': 0.80, 'carry': 0.07, 'phone': 0.04, 'screen': 0.04, 'pocket': 0.05}


@dataclass(frozen=True)
class Activity:
    """An activity of the whole body; angles are (low, high) in degrees, sampled for each leg.

    Attributes:
        share: relative frequency.
        arms: relative frequency of each gesture.
        same_arms: probability that both arms have the same gesture.
        flex: hip flexion (thigh forward).
        knee: knee flexion.
        abduct: hip abduction (thigh outward).
        lean: forward tilt of the pelvis.
        bend: forward bend of the whole spine.
        legs_alike: weight of the left leg's angles in those of the right leg, 0 to 1.
    """

    share: float
    arms: dict[str, float]
    same_arms: float = 0.5
    flex: tuple[float, float] = (-5, 10)
    knee: tuple[float, float] = (0, 15)
    abduct: tuple[float, float] = (-1, 8)
    lean: tuple[float, float] = (-5, 8)
    bend: tuple[float, float] = (-8, 15)
    legs_alike: float = 0.5


ACTIVITIES = {
    'stand': Activity(0.27, UPRIGHT_ARMS),
    'reach': Activity(0.15, REACHING_ARMS, 0.35, flex=(-10, 20), abduct=(0, 18), bend=(-10, 30)),
    'walk': Activity(0.24, WALKING_ARMS, 0.85),
    'run': Activity(0.05, WALKING_ARMS, 1.0, lean=(2, 18)),
    'sit': Activity(
        0.11, SEATED_ARMS, 0.6, (70, 100), (60, 110), (0, 22), (-20, 12), (-10, 35), 0.75
    ),
    'squat': Activity(0.03, LOW_ARMS, 0.6, (85, 130), (95, 140), (5, 30), (10, 45), (0, 40), 0.85),
    'bend': Activity(0.06, LOW_ARMS, 0.6, (20, 95), (0, 45), (0, 15), (20, 75), (10, 50), 0.85),
    'lunge': Activity(
        0.04, REACHING_ARMS, 0.4, (-25, 85), (5, 100), (0, 20), (-5, 25), (-5, 25), 0
    ),
    'lie': Activity(0.02, SEATED_ARMS, 0.4, (-5, 60), (0, 80), (0, 20), (-5, 5), (-10, 20), 0.3),
    'sport': Activity(
        0.03, SPORT_ARMS, 0.25, (-30, 90), (0, 110), (0, 45), (-15, 30), (-20, 35), 0.1
    ),
}
ACTIVITY_NAMES = list(ACTIVITIES)


def sample_poses(
    rng: np.random.Generator, count: int, kind: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Samples natural poses, reproducible by `rng`; the held-out set uses this generator.

    Args:
        rng: source of the random numbers.
        count: B, number of poses.
        kind: (B,) index into `ACTIVITIES`; by default sampled by their shares.

    Returns:
        pose (B, 24, 3) axis-angle in radians, whose root rotation only tilts the body (lean,
        lying; all face +z), and kind (B,).
    """
    shares = np.array([activity.share for activity in ACTIVITIES.values()])
    if kind is None:
        kind = rng.choice(len(shares), size=count, p=shares / shares.sum())
    pose = rng.normal(0, 0.035, (count, NUM_JOINTS, 3))
    pose[:, HANDS] *= 2
    pose[:, FEET] *= 0.5
    phase = rng.uniform(0, 2 * np.pi, count)
    lean = _pose_legs(rng, pose, kind, phase)
    _pose_trunk(rng, pose, kind, phase)
    _pose_arms(rng, pose, kind, phase)
    root = rotation_about(0, lean) @ rotation_about(2, rng.normal(0, 0.04, count))
    lying = kind == ACTIVITY_NAMES.index('lie')
    face_down = np.where(rng.random(count) < 0.5, np.pi / 2, -np.pi / 2)
    flat = rotation_about(0, face_down) @ rotation_about(1, rng.choice([0, 0, 1.4, -1.4], count))
    root = np.where(lying[:, None, None], flat @ root, root)
    pose[:, PELVIS] = axis_angle_from_matrix(root)
    return pose, kind


def _ranges(rng: np.random.Generator, kind: np.ndarray, name: str) -> np.ndarray:
    """Uniform samples (B,) in radians from the activities' range with a name."""
    table = np.deg2rad([getattr(activity, name) for activity in ACTIVITIES.values()])
    low, high = table[kind].T
    return rng.uniform(low, high)


def _is(kind: np.ndarray, name: str) -> np.ndarray:
    return kind == ACTIVITY_NAMES.index(name)


def _pose_legs(
    rng: np.random.Generator, pose: np.ndarray, kind: np.ndarray, phase: np.ndarray
) -> np.ndarray:
    """Poses hips, knees and ankles; returns the forward tilt (B,) of the pelvis, radians."""
    lean = _ranges(rng, kind, 'lean')
    alike = np.array([activity.legs_alike for activity in ACTIVITIES.values()])[kind]
    drawn = [
        {name: _ranges(rng, kind, name) for name in ('flex', 'knee', 'abduct')} for _ in range(2)
    ]
    stride = rng.uniform(0.15, 0.55, len(kind))
    running = _is(kind, 'run')
    pacing = _is(kind, 'walk') | running
    steps_flat = ~(pacing | _is(kind, 'lie') | _is(kind, 'sport'))
    for side in range(2):
        angles = {
            name: drawn[side][name] * (1 - alike) + drawn[0][name] * alike for name in drawn[0]
        }
        own = phase + np.pi * side
        # A leg swings forward with a bent knee and moves back nearly straight.
        swing = np.maximum(0, np.cos(own))
        pace_flex = (0.08 + stride * np.sin(own)) * np.where(running, 1.6, 1)
        pace_knee = 0.08 + swing * (stride * 1.6 + 0.15) * np.where(running, 1.5, 1)
        flex = np.where(pacing, pace_flex + lean, angles['flex'])
        knee = np.where(pacing, pace_knee, angles['knee'])
        flex = np.where(_is(kind, 'stand'), flex + lean, flex)
        knee = np.where(_is(kind, 'stand'), np.maximum(knee - 0.1, 0), knee)
        abduct = np.where(pacing, angles['abduct'] * 0.3, angles['abduct'])
        twist = rng.normal(0.12, 0.15, len(kind)) + 0.3 * abduct
        ankle = np.where(steps_flat, -(lean - flex + knee), rng.normal(0, 0.2, len(kind)))
        hip = rotation_about(2, abduct) @ rotation_about(0, -flex) @ rotation_about(1, twist)
        mirror = MIRROR if side else 1.0
        pose[:, HIPS[side]] += axis_angle_from_matrix(hip) * mirror
        pose[:, KNEES[side], 0] += np.clip(knee, 0, 2.45)
        pose[:, ANKLES[side], 0] += np.clip(ankle, -0.6, 0.7)
    return lean


def _pose_trunk(
    rng: np.random.Generator, pose: np.ndarray, kind: np.ndarray, phase: np.ndarray
) -> None:
    """Poses spine, neck and head; walkers rotate the chest opposite to the hips."""
    count = len(kind)
    pacing = _is(kind, 'walk') | _is(kind, 'run')
    bend = np.stack(
        [
            _ranges(rng, kind, 'bend'),
            rng.normal(0, 0.18, count) * np.where(pacing, 0.3, 1) + pacing * 0.15 * np.sin(phase),
            rng.normal(0, 0.10, count),
        ],
        axis=1,
    )
    for joint in SPINE:
        pose[:, joint] += bend / 3
    head_turn = rng.normal(0, 1, (count, 3)) * [0.22, 0.40, 0.12]
    head_turn[:, 0] += 0.10 - 0.4 * np.maximum(bend[:, 0] - 0.3, 0)
    head_turn = np.clip(head_turn, [-0.7, -1.2, -0.5], [0.8, 1.2, 0.5])
    pose[:, NECK] += 0.45 * head_turn
    pose[:, HEAD] += 0.55 * head_turn


def _pose_arms(
    rng: np.random.Generator, pose: np.ndarray, kind: np.ndarray, phase: np.ndarray
) -> None:
    """Moves each wrist to its gesture's target by two-bone inverse kinematics."""
    count = len(kind)
    table = np.array(
        [
            [activity.arms.get(name, 0) for name in GESTURE_NAMES]
            for activity in ACTIVITIES.values()
        ]
    )
    table = (table / table.sum(1, keepdims=True)).cumsum(1)
    gesture = [
        np.minimum((table[kind] < rng.random((count, 1))).sum(1), len(GESTURES) - 1)
        for _ in range(2)
    ]
    same = np.array([activity.same_arms for activity in ACTIVITIES.values()])[kind]
    both = np.isin(gesture[0], [GESTURE_NAMES.index(name) for name in ('crossed', 'carry')])
    gesture[1] = np.where((rng.random(count) < same) | both, gesture[0], gesture[1])
    swing = rng.uniform(0.2, 0.8, count)
    running = _is(kind, 'run')
    for side in range(2):
        chosen = gesture[side]
        target = TARGETS[chosen] + rng.normal(0, 1, (count, 3)) * SPREADS[chosen]
        swings = ((_is(kind, 'walk') | running) & (chosen == 0))[:, None]
        # Arms swing opposite to the leg of the same side.
        angle = -swing * np.sin(phase + np.pi * side) + 0.08
        reach = np.where(running, 0.72, 0.96)
        swung = np.stack([rng.uniform(0.1, 0.25, count), -np.cos(angle), np.sin(angle)], axis=1)
        swung = swung / np.linalg.norm(swung, axis=1, keepdims=True) * reach[:, None]
        swung[:, 2] += 0.15 * running
        target = np.where(swings, swung, target)
        pole = POLES[chosen] + rng.normal(0, 0.2, (count, 3))
        shoulder, elbow = arm_rotations(target, pole)
        lift = np.clip(target[:, 1] + 0.2, 0, 1) * 0.3
        mirror = MIRROR if side else np.ones(3)
        wrist = rng.normal(0, 1, (count, 3)) * [0.35, 0.15, 0.2]
        curl = rng.uniform(0, 0.7, count)
        pose[:, COLLARS[side], 2] += lift * mirror[2]
        pose[:, SHOULDERS[side]] += (
            axis_angle_from_matrix(rotation_about(2, -lift) @ shoulder) * mirror
        )
        pose[:, ELBOWS[side], 1] -= elbow * mirror[1]
        pose[:, WRISTS[side]] += wrist * mirror
        pose[:, HANDS[side], 2] -= curl * mirror[2]


def arm_rotations(target: np.ndarray, pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations of the left arm's joints that move the wrist to a target.

    Args:
        target: (B, 3) from the shoulder, in arm lengths, chest frame.
        pole: (B, 3) direction of the elbow.

    Returns:
        shoulder (B, 3, 3) rotation of an arm along +x whose elbow bends towards +z, and the
        elbow's flexion (B,), radians.
    """
    distance = np.linalg.norm(target, axis=1, keepdims=True)
    along = target / np.maximum(distance, 1e-6)
    distance = np.clip(distance, 0.30, 0.997)
    pole = pole - (pole * along).sum(1, keepdims=True) * along
    pole = pole / np.maximum(np.linalg.norm(pole, axis=1, keepdims=True), 1e-6)
    cosine = (UPPER_ARM**2 + distance**2 - LOWER_ARM**2) / (2 * UPPER_ARM * distance)
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    upper = cosine * along + sine * pole
    bends_to = -(pole - (pole * upper).sum(1, keepdims=True) * upper)
    bends_to = bends_to / np.maximum(np.linalg.norm(bends_to, axis=1, keepdims=True), 1e-6)
    rotation = np.stack([upper, np.cross(bends_to, upper), bends_to], axis=-1)
    inside = (UPPER_ARM**2 + LOWER_ARM**2 - distance[:, 0] ** 2) / (2 * UPPER_ARM * LOWER_ARM)
    return rotation, np.pi - np.arccos(np.clip(inside, -1, 1))
