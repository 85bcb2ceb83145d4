"""Generates natural poses by rules: an activity of the whole body and a gesture of each arm.

All poses are in SMPL's body frame (x to the person's left, y up, z forward) on a T-pose body.
Limbs are described for the left side and mirrored for the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.records.rotations import MIRROR, axis_angle_from_matrix, rotation_about

__all__ = ['ACTIVITIES', 'ACTIVITY_NAMES', 'GESTURES', 'NUM_JOINTS', 'arm_rotations',
           'sample_poses']

NUM_JOINTS = 24
PELVIS, SPINE, NECK, HEAD = 0, (3, 6, 9), 12, 15
# (left, right) joints of SMPL
HIPS, KNEES, ANKLES, FEET = (1, 2), (4, 5), (7, 8), (10, 11)
COLLARS, SHOULDERS, ELBOWS, WRISTS, HANDS = (13, 14), (16, 17), (18, 19), (20, 21), (22, 23)
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
    'hang': Gesture((.16, -.97, .03), (.06, .02, .07), (.3, 0, -1)),
    'hang bent': Gesture((.20, -.86, .18), (.09, .07, .12), (.5, 0, -1)),
    'hip': Gesture((.06, -.70, .08), (.05, .06, .07), (1, .1, -.4)),
    'pocket': Gesture((.10, -.85, .12), (.04, .04, .05), (.8, 0, -.8)),
    'crossed': Gesture((-.45, -.42, .42), (.07, .07, .05), (.5, -1, .1)),
    'carry': Gesture((-.12, -.50, .55), (.10, .15, .14), (.6, -1, -.3)),
    'tray': Gesture((.08, -.35, .62), (.10, .12, .12), (.5, -1, -.3)),
    'phone': Gesture((-.12, .28, .22), (.06, .06, .06), (.7, -1, .3)),
    'screen': Gesture((-.20, -.22, .55), (.08, .10, .08), (.5, -1, -.1)),
    'chin': Gesture((-.28, .05, .40), (.05, .06, .05), (.4, -1, .1)),
    'wave': Gesture((.35, .42, .22), (.15, .15, .15), (.6, -1, .1)),
    'raise': Gesture((.12, .95, .10), (.18, .12, .18), (.8, 0, .6)),
    'behind head': Gesture((-.12, .42, -.06), (.06, .06, .06), (1, .3, .4)),
    'side': Gesture((.93, .0, .10), (.10, .25, .25), (0, -.7, -.7)),
    'front': Gesture((.05, .0, .93), (.20, .25, .10), (.3, -1, 0)),
    'low front': Gesture((.05, -.65, .65), (.18, .18, .18), (.5, -1, -.4)),
    'across': Gesture((-.40, -.15, .70), (.20, .25, .15), (.4, -1, 0)),
    'back': Gesture((-.20, -.75, -.28), (.08, .06, .06), (1, 0, -.6)),
    'lap': Gesture((-.05, -.78, .42), (.10, .08, .10), (.7, -.3, -.6)),
    'knee': Gesture((.08, -.70, .62), (.10, .10, .10), (.6, -.6, -.4)),
    'any': Gesture((.35, -.05, .35), (.55, .65, .55), (.4, -.8, -.3)),
}
GESTURE_NAMES = list(GESTURES)
TARGETS, SPREADS, POLES = (
    np.array([getattr(gesture, name) for gesture in GESTURES.values()], dtype=float)
    for name in ('target', 'spread', 'pole'))

UPRIGHT_ARMS = {'hang': .30, 'hang bent': .17, 'hip': .06, 'pocket': .06, 'crossed': .05,
                'carry': .06, 'tray': .03, 'phone': .03, 'screen': .04, 'chin': .02, 'wave': .03,
                'back': .03, 'low front': .05, 'any': .07}
REACHING_ARMS = {'front': .22, 'low front': .16, 'raise': .12, 'side': .12, 'across': .10,
                 'wave': .10, 'tray': .04, 'behind head': .03, 'any': .11}
SEATED_ARMS = {'lap': .28, 'knee': .22, 'low front': .14, 'screen': .08, 'crossed': .05,
               'phone': .04, 'chin': .05, 'hang': .04, 'tray': .04, 'any': .06}
LOW_ARMS = {'low front': .30, 'front': .15, 'knee': .15, 'hang': .10, 'carry': .10, 'tray': .05,
            'any': .15}
SPORT_ARMS = {'any': .40, 'side': .15, 'front': .15, 'raise': .15, 'wave': .15}
WALKING_ARMS = {'hang': .80, 'carry': .07, 'phone': .04, 'screen': .04, 'pocket': .05}


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
    'stand': Activity(.27, UPRIGHT_ARMS),
    'reach': Activity(.15, REACHING_ARMS, .35, flex=(-10, 20), abduct=(0, 18), bend=(-10, 30)),
    'walk': Activity(.24, WALKING_ARMS, .85),
    'run': Activity(.05, WALKING_ARMS, 1.0, lean=(2, 18)),
    'sit': Activity(.11, SEATED_ARMS, .6, (70, 100), (60, 110), (0, 22), (-20, 12), (-10, 35),
                    .75),
    'squat': Activity(.03, LOW_ARMS, .6, (85, 130), (95, 140), (5, 30), (10, 45), (0, 40), .85),
    'bend': Activity(.06, LOW_ARMS, .6, (20, 95), (0, 45), (0, 15), (20, 75), (10, 50), .85),
    'lunge': Activity(.04, REACHING_ARMS, .4, (-25, 85), (5, 100), (0, 20), (-5, 25), (-5, 25), 0),
    'lie': Activity(.02, SEATED_ARMS, .4, (-5, 60), (0, 80), (0, 20), (-5, 5), (-10, 20), .3),
    'sport': Activity(.03, SPORT_ARMS, .25, (-30, 90), (0, 110), (0, 45), (-15, 30), (-20, 35),
                      .1),
}
ACTIVITY_NAMES = list(ACTIVITIES)


def sample_poses(rng: np.random.Generator, count: int,
                 kind: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
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


def _pose_legs(rng: np.random.Generator, pose: np.ndarray, kind: np.ndarray,
               phase: np.ndarray) -> np.ndarray:
    """Poses hips, knees and ankles; returns the forward tilt (B,) of the pelvis, radians."""
    lean = _ranges(rng, kind, 'lean')
    alike = np.array([activity.legs_alike for activity in ACTIVITIES.values()])[kind]
    drawn = [{name: _ranges(rng, kind, name) for name in ('flex', 'knee', 'abduct')}
             for _ in range(2)]
    stride = rng.uniform(0.15, 0.55, len(kind))
    running = _is(kind, 'run')
    pacing = _is(kind, 'walk') | running
    steps_flat = ~(pacing | _is(kind, 'lie') | _is(kind, 'sport'))
    for side in range(2):
        angles = {name: drawn[side][name] * (1 - alike) + drawn[0][name] * alike
                  for name in drawn[0]}
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


def _pose_trunk(rng: np.random.Generator, pose: np.ndarray, kind: np.ndarray,
                phase: np.ndarray) -> None:
    """Poses spine, neck and head; walkers rotate the chest opposite to the hips."""
    count = len(kind)
    pacing = _is(kind, 'walk') | _is(kind, 'run')
    bend = np.stack([
        _ranges(rng, kind, 'bend'),
        rng.normal(0, 0.18, count) * np.where(pacing, 0.3, 1) + pacing * 0.15 * np.sin(phase),
        rng.normal(0, 0.10, count)], axis=1)
    for joint in SPINE:
        pose[:, joint] += bend / 3
    look = rng.normal(0, 1, (count, 3)) * [0.22, 0.40, 0.12]
    look[:, 0] += 0.10 - 0.4 * np.maximum(bend[:, 0] - 0.3, 0)
    look = np.clip(look, [-0.7, -1.2, -0.5], [0.8, 1.2, 0.5])
    pose[:, NECK] += 0.45 * look
    pose[:, HEAD] += 0.55 * look


def _pose_arms(rng: np.random.Generator, pose: np.ndarray, kind: np.ndarray,
               phase: np.ndarray) -> None:
    """Moves each wrist to its gesture's target by two-bone inverse kinematics."""
    count = len(kind)
    table = np.array([[activity.arms.get(name, 0) for name in GESTURE_NAMES]
                      for activity in ACTIVITIES.values()])
    table = (table / table.sum(1, keepdims=True)).cumsum(1)
    gesture = [np.minimum((table[kind] < rng.random((count, 1))).sum(1), len(GESTURES) - 1)
               for _ in range(2)]
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
        swung = np.stack([rng.uniform(.1, .25, count), -np.cos(angle), np.sin(angle)], axis=1)
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
        pose[:, SHOULDERS[side]] += axis_angle_from_matrix(
            rotation_about(2, -lift) @ shoulder) * mirror
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
    inside = (UPPER_ARM**2 + LOWER_ARM**2 - distance[:, 0]**2) / (2 * UPPER_ARM * LOWER_ARM)
    return rotation, np.pi - np.arccos(np.clip(inside, -1, 1))
