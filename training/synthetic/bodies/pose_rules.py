"""Poses from the wider tables of `activities.py`, mixed with the usual ones of `poses.py`.

Everything is in SMPL's body frame (x to the person's left, y up, z forward) on a T-pose body; what
is said of the left side is mirrored for the right one.
"""

from __future__ import annotations

import numpy as np

from decomr_core.body_models.joints import MIRRORED_JOINTS
from training.records.rotations import (
    MIRROR,
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    rotation_about,
)
from training.synthetic.bodies.activities import ARMS, POSTURES, Arms, Leg, Posture
from training.synthetic.bodies.body_capsules import builtin_skeleton
from training.synthetic.bodies.poses import (
    ACTIVITIES,
    ACTIVITY_NAMES,
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
    arm_rotations,
    sample_poses,
)

__all__ = ['WIDE_NAMES', 'sample_wide_poses']

USUAL_SHARE = 0.45
"""So many of the people do what is usual; it stays the most common."""
WIDE_NAMES = (*ACTIVITY_NAMES, *POSTURES)
SHARPEST_KNEE = 2.65
"""Radians."""
LIES = {'back': (0, -np.pi / 2), 'front': (0, np.pi / 2), 'side': (2, -np.pi / 2)}
"""Axis and angle, radians, that lay a standing person down."""
GROUND_BELOW_M = {PELVIS: .11, **dict.fromkeys(KNEES, .055), **dict.fromkeys(ANKLES, .06),
                  **dict.fromkeys(FEET, .025)}
"""How far the skin is below these joints where they rest on the ground."""
WRIST_ABOVE_M = 0.06
"""Height of a wrist over the ground that its hand is on."""
LONGEST_ARM = 0.99


def sample_wide_poses(rng: np.random.Generator, count: int,
                      kind: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draws natural poses, of which many sit, kneel, lie, carry and work.

    Args:
        rng: the source of chance.
        count: how many, B.
        kind: (B,) what they do; by default as often as the tables' shares say.

    Returns:
        pose (B, 24, 3) axis-angle in radians; its root only tilts the body, upright ones face
        +z, and kind (B,), index into `WIDE_NAMES`.
    """
    if kind is None:
        kind = rng.choice(len(WIDE_NAMES), size=count, p=_shares())
    pose = np.empty((count, NUM_JOINTS, 3))
    usual = np.flatnonzero(kind < len(ACTIVITY_NAMES))
    pose[usual] = sample_poses(rng, len(usual), kind[usual])[0]
    for number in np.unique(kind[kind >= len(ACTIVITY_NAMES)]):
        rows = np.flatnonzero(kind == number)
        posture = POSTURES[WIDE_NAMES[number]]
        pair = rng.integers(len(posture.legs), size=len(rows))
        names = list(posture.arms)
        weights = np.array(list(posture.arms.values()))
        arms = rng.choice(len(names), size=len(rows), p=weights / weights.sum())
        for legs_number, arms_number in np.unique(np.stack([pair, arms]), axis=1).T:
            chosen = rows[(pair == legs_number) & (arms == arms_number)]
            pose[chosen] = _draw(rng, len(chosen), posture, posture.legs[legs_number],
                                 ARMS[names[arms_number]])
    return pose, kind


def _shares() -> np.ndarray:
    """How often each of `WIDE_NAMES`; their sum is 1."""
    usual, more = (np.array([item.share for item in table.values()])
                   for table in (ACTIVITIES, POSTURES))
    return np.concatenate([USUAL_SHARE * usual / usual.sum(),
                           (1 - USUAL_SHARE) * more / more.sum()])


def _draw(rng: np.random.Generator, count: int, posture: Posture,
          legs: tuple[Leg, Leg | None], arms: Arms) -> np.ndarray:
    """Poses (B, 24, 3) of one posture, half of them mirrored."""
    pose = rng.normal(0, 0.03, (count, NUM_JOINTS, 3))
    root = (rotation_about(0, _uniform(rng, posture.lean, count))
            @ rotation_about(2, rng.normal(0, 0.04, count)))
    pose[:, PELVIS] = axis_angle_from_matrix(root)
    _pose_legs(rng, pose, root, legs)
    chest = root @ _pose_trunk(rng, pose, posture)
    _pose_arms(rng, pose, chest, arms)
    if posture.lies:
        axis, angle = LIES[posture.lies]
        pose[:, PELVIS] = axis_angle_from_matrix(rotation_about(axis, np.array(angle)) @ root)
    mirrored = rng.random(count) < 0.5
    pose[mirrored] = pose[mirrored][:, list(MIRRORED_JOINTS)] * MIRROR
    return pose


def _uniform(rng: np.random.Generator, degrees: tuple[float, float], count: int) -> np.ndarray:
    """A draw (B,) in radians from a range in degrees."""
    return np.deg2rad(rng.uniform(*degrees, count))


def _pose_legs(rng: np.random.Generator, pose: np.ndarray, root: np.ndarray,
               legs: tuple[Leg, Leg | None]) -> None:
    """Poses hips, knees and ankles below a pelvis turned by `root` (B, 3, 3)."""
    count = len(pose)
    ways = [rng.random(count) for _ in range(2)]
    if legs[1] is None:
        # Legs that do the same do nearly the same.
        ways[1] = np.clip(ways[0] + rng.normal(0, 0.15, count), 0, 1)
    for side in range(2):
        leg, mirror = legs[side] or legs[0], MIRROR if side else np.ones(3)
        way = ways[side]
        thigh, shin = (np.deg2rad(low + (high - low) * way) for low, high in (leg.thigh, leg.shin))
        spread, abduct, twist = (_uniform(rng, angles, count)
                                 for angles in (leg.spread, leg.abduct, leg.twist))
        # A leg's world rotation, as if it were the left one; `root` is mirrored for the right.
        own = matrix_from_axis_angle(axis_angle_from_matrix(root) * mirror)
        turn = (rotation_about(1, spread) @ rotation_about(2, abduct)
                @ rotation_about(0, -thigh) @ rotation_about(1, twist))
        hip = axis_angle_from_matrix(np.swapaxes(own, -1, -2) @ turn)
        sole = np.clip(shin, -.6, .7) if leg.sole is None else _uniform(rng, leg.sole, count)
        pose[:, HIPS[side]] = hip * mirror
        pose[:, KNEES[side]] *= 0.3
        pose[:, KNEES[side], 0] = np.clip(thigh - shin, 0, SHARPEST_KNEE)
        pose[:, ANKLES[side], 0] += sole


def _pose_trunk(rng: np.random.Generator, pose: np.ndarray, posture: Posture) -> np.ndarray:
    """Bends the spine, turns neck and head; gives the chest's rotation (B, 3, 3) in the pelvis."""
    count = len(pose)
    aside, turned = (rng.normal(0, np.deg2rad(spread), count) for spread in posture.sideways)
    bend = np.stack([_uniform(rng, posture.bend, count), turned, aside], axis=1)
    chest = np.eye(3)
    for joint in SPINE:
        pose[:, joint] += bend / 3
        chest = chest @ matrix_from_axis_angle(pose[:, joint])
    look = np.stack([_uniform(rng, posture.look, count), rng.normal(0, .35, count),
                     rng.normal(0, .10, count)], axis=1)
    look = np.clip(look, [-0.8, -1.1, -0.4], [0.8, 1.1, 0.4])
    pose[:, NECK] += 0.45 * look
    pose[:, HEAD] += 0.55 * look
    return chest


def _pose_arms(rng: np.random.Generator, pose: np.ndarray, chest: np.ndarray, arms: Arms) -> None:
    """Brings both wrists to their targets; `chest` (B, 3, 3) is the chest's rotation."""
    count = len(pose)
    misses = rng.normal(0, 1, (2, count, 3))
    misses[1] = arms.alike * misses[0] + np.sqrt(1 - arms.alike**2) * misses[1]
    for side in range(2):
        arm, mirror = (arms.right or arms.left) if side else arms.left, MIRROR if side else 1.0
        target = arm.target + misses[side] * arm.spread
        pole = arm.pole + rng.normal(0, 0.15, (count, 3))
        if arms.on_floor:
            target = _down_to_the_floor(target, pose, side)
        if arms.is_level:
            own = matrix_from_axis_angle(axis_angle_from_matrix(chest) * mirror)
            target, pole = (np.einsum('bji,bj->bi', own, vector) for vector in (target, pole))
        lift = np.clip(target[:, 1] + 0.2, 0, 1) * 0.3
        shoulder, elbow = arm_rotations(target, pole)
        half_turn = np.deg2rad(arm.pronate + rng.normal(0, 12, count)) / 2
        bent = np.deg2rad(arm.wrist + rng.normal(0, 8, count))
        pose[:, COLLARS[side]] += lift[:, None] * [0, 0, 1] * mirror
        pose[:, SHOULDERS[side]] = mirror * axis_angle_from_matrix(
            rotation_about(2, -lift) @ shoulder)
        pose[:, ELBOWS[side]] = mirror * axis_angle_from_matrix(
            rotation_about(1, -elbow) @ rotation_about(0, half_turn))
        pose[:, WRISTS[side]] += mirror * axis_angle_from_matrix(
            rotation_about(0, half_turn) @ rotation_about(2, bent))
        curl = rng.uniform(0, 0.7, count) * (0.3 if arms.on_floor else 1)
        pose[:, HANDS[side]] += curl[:, None] * [0, 0, -1] * mirror


def _down_to_the_floor(target: np.ndarray, pose: np.ndarray, side: int) -> np.ndarray:
    """Targets (B, 3) of hands on the ground, arm lengths from the shoulder, in the world's axes.

    The ground is where the lowest of pelvis, knees and feet of the pose (B, 24, 3) rests.
    """
    skeleton = builtin_skeleton()
    height = skeleton.pose(pose)[1][..., 1]
    ground = np.min([height[:, joint] - below for joint, below in GROUND_BELOW_M.items()], axis=0)
    arm_m = abs(skeleton.rest_joints[WRISTS[0], 0] - skeleton.rest_joints[SHOULDERS[0], 0])
    down = (height[:, SHOULDERS[side]] - ground - WRIST_ABOVE_M) / arm_m
    down = np.clip(down, 0.3, LONGEST_ARM)
    aside = target[:, [0, 2]]
    longest = np.sqrt(LONGEST_ARM**2 - down**2)
    aside *= np.minimum(longest / np.maximum(np.linalg.norm(aside, axis=1), 1e-6), 1)[:, None]
    return np.stack([aside[:, 0], -down, aside[:, 1]], axis=1)
