"""Generates poses from the tables of `activities.py`, mixed with the usual ones of `poses.py`.

All poses are in SMPL's body frame (x to the person's left, y up, z forward) on a T-pose body.
Limbs are described for the left side and mirrored for the right one.
"""

from __future__ import annotations

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
    MIRRORED_JOINTS,
    NECK,
    NUM_JOINTS,
    PELVIS,
    SHOULDERS,
    SPINE,
    WRISTS,
)
from training.records.rotations import (
    MIRROR,
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    rotation_about,
)
from training.synthetic.bodies.activities import ARMS, POSTURES
from training.synthetic.bodies.body_capsules import builtin_skeleton
from training.synthetic.bodies.poses import ACTIVITIES, ACTIVITY_NAMES, arm_rotations, sample_poses
from training.synthetic.bodies.postures import Arms, Leg, Posture

__all__ = ['WIDE_NAMES', 'sample_wide_poses']

USUAL_SHARE = 0.45
"""Share of people with the poses of `poses.py`."""
WIDE_NAMES = (*ACTIVITY_NAMES, *POSTURES)
SHARPEST_KNEE = 2.65
"""Largest flexion of a knee, radians."""
LIES = {'back': (0, -np.pi / 2), 'front': (0, np.pi / 2), 'side': (2, -np.pi / 2)}
"""Axis and angle, radians, of the rotation from standing to lying."""
GROUND_BELOW_M = {
    PELVIS: 0.11,
    **dict.fromkeys(KNEES, 0.055),
    **dict.fromkeys(ANKLES, 0.06),
    **dict.fromkeys(FEET, 0.025),
}
"""Distance from these joints to the skin below them when they rest on the ground."""
WRIST_ABOVE_M = 0.06
"""Height of a wrist above the ground when its hand is on the ground."""
LONGEST_ARM = 0.99
"""Largest distance from shoulder to wrist, in arm lengths."""


def sample_wide_poses(
    rng: np.random.Generator, count: int, kind: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Samples natural poses, including many that sit, kneel, lie, carry and work.

    Args:
        rng: source of the random numbers.
        count: B, number of poses.
        kind: (B,) index into `WIDE_NAMES`; by default sampled by the shares in the tables.

    Returns:
        pose (B, 24, 3) axis-angle in radians, whose root rotation only tilts the body (upright
        people face +z), and kind (B,).
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
            pose[chosen] = _draw(
                rng, len(chosen), posture, posture.legs[legs_number], ARMS[names[arms_number]]
            )
    return pose, kind


def _shares() -> np.ndarray:
    """Probabilities of `WIDE_NAMES`."""
    usual = np.array([activity.share for activity in ACTIVITIES.values()])
    more = np.array([posture.share for posture in POSTURES.values()])
    return np.concatenate(
        [USUAL_SHARE * usual / usual.sum(), (1 - USUAL_SHARE) * more / more.sum()]
    )


def _draw(
    rng: np.random.Generator,
    count: int,
    posture: Posture,
    legs: tuple[Leg, Leg | None],
    arms: Arms,
) -> np.ndarray:
    """Samples poses (B, 24, 3) of one posture, half of them mirrored."""
    pose = rng.normal(0, 0.03, (count, NUM_JOINTS, 3))
    root = rotation_about(0, _uniform(rng, posture.lean, count)) @ rotation_about(
        2, rng.normal(0, 0.04, count)
    )
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
    """Uniform samples (B,) in radians from a range in degrees."""
    return np.deg2rad(rng.uniform(*degrees, count))


def _pose_legs(
    rng: np.random.Generator, pose: np.ndarray, root: np.ndarray, legs: tuple[Leg, Leg | None]
) -> None:
    """Poses hips, knees and ankles below a pelvis rotated by `root` (B, 3, 3)."""
    count = len(pose)
    ways = [rng.random(count) for _ in range(2)]
    if legs[1] is None:
        # Equal legs have nearly equal angles.
        ways[1] = np.clip(ways[0] + rng.normal(0, 0.15, count), 0, 1)
    for side in range(2):
        leg, mirror = legs[side] or legs[0], MIRROR if side else np.ones(3)
        way = ways[side]
        thigh, shin = (np.deg2rad(low + (high - low) * way) for low, high in (leg.thigh, leg.shin))
        spread, abduct, twist = (
            _uniform(rng, angles, count) for angles in (leg.spread, leg.abduct, leg.twist)
        )
        # The world rotation of a left leg; `root` is mirrored for the right one.
        own = matrix_from_axis_angle(axis_angle_from_matrix(root) * mirror)
        turn = (
            rotation_about(1, spread)
            @ rotation_about(2, abduct)
            @ rotation_about(0, -thigh)
            @ rotation_about(1, twist)
        )
        hip = axis_angle_from_matrix(np.swapaxes(own, -1, -2) @ turn)
        sole = np.clip(shin, -0.6, 0.7) if leg.sole is None else _uniform(rng, leg.sole, count)
        pose[:, HIPS[side]] = hip * mirror
        pose[:, KNEES[side]] *= 0.3
        pose[:, KNEES[side], 0] = np.clip(thigh - shin, 0, SHARPEST_KNEE)
        pose[:, ANKLES[side], 0] += sole


def _pose_trunk(rng: np.random.Generator, pose: np.ndarray, posture: Posture) -> np.ndarray:
    """Poses spine, neck and head; returns the rotation (B, 3, 3) from pelvis to chest."""
    count = len(pose)
    aside, turned = (rng.normal(0, np.deg2rad(spread), count) for spread in posture.sideways)
    bend = np.stack([_uniform(rng, posture.bend, count), turned, aside], axis=1)
    chest = np.eye(3)
    for joint in SPINE:
        pose[:, joint] += bend / 3
        chest = chest @ matrix_from_axis_angle(pose[:, joint])
    head_turn = np.stack(
        [
            _uniform(rng, posture.head_pitch, count),
            rng.normal(0, 0.35, count),
            rng.normal(0, 0.10, count),
        ],
        axis=1,
    )
    head_turn = np.clip(head_turn, [-0.8, -1.1, -0.4], [0.8, 1.1, 0.4])
    pose[:, NECK] += 0.45 * head_turn
    pose[:, HEAD] += 0.55 * head_turn
    return chest


def _pose_arms(rng: np.random.Generator, pose: np.ndarray, chest: np.ndarray, arms: Arms) -> None:
    """Moves both wrists to their targets; `chest` (B, 3, 3) is the rotation of the chest."""
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
            rotation_about(2, -lift) @ shoulder
        )
        pose[:, ELBOWS[side]] = mirror * axis_angle_from_matrix(
            rotation_about(1, -elbow) @ rotation_about(0, half_turn)
        )
        pose[:, WRISTS[side]] += mirror * axis_angle_from_matrix(
            rotation_about(0, half_turn) @ rotation_about(2, bent)
        )
        curl = rng.uniform(0, 0.7, count) * (0.3 if arms.on_floor else 1)
        pose[:, HANDS[side]] += curl[:, None] * [0, 0, -1] * mirror


def _down_to_the_floor(target: np.ndarray, pose: np.ndarray, side: int) -> np.ndarray:
    """Targets (B, 3) of hands on the ground, arm lengths from the shoulder, world axes.

    The ground is below the lowest of pelvis, knees and feet of the pose (B, 24, 3).
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
