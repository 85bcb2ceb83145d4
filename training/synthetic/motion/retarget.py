"""Retargets the motion of any skeleton to poses of the body.

The world rotation of each of our joints is the rotation of the file's bone since the file's rest
pose, times a constant for limbs: the smallest rotation from the bone of our T-pose to the bone of
that rest pose. Limbs therefore have the same directions as in the file, whether its rest pose is a
T-pose or an A-pose, and keep the twist of that rest pose.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from decomr_core.body_models.joints import JOINT_NAMES, NUM_JOINTS, PARENTS
from training.records.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    rotation_about,
)
from training.synthetic.bodies.body_capsules import builtin_skeleton
from training.synthetic.motion.rest_pose import RestPose, find_rest_pose
from training.synthetic.motion.rig import LIMBS, find_joints
from training.synthetic.motion.skeleton_motion import SkeletonMotion

__all__ = ['body_joints', 'retarget']

JOINT = {name: number for number, name in enumerate(JOINT_NAMES)}
SPINE = ('spine1', 'spine2', 'spine3')
LYING = 0.94
"""Vertical component of a unit forward vector above which it does not define a heading."""


def retarget(
    motion: SkeletonMotion,
    joint_names: dict[str, str] | None = None,
    rest_frame: int | None = None,
) -> np.ndarray:
    """Converts a motion to poses (T, 24, 3), axis-angle in radians, on a T-pose body.

    Joint 0 has no heading, so that the person always faces +z. Hands do not move.

    Args:
        motion: the motion of the file.
        joint_names: names in the file of our joints that are not recognised.
        rest_frame: index of a frame in which the person stands in a T-pose or an A-pose; None for
            the pose with all angles zero.

    Raises:
        ValueError: a joint is not found, or the person does not stand in the rest pose.
    """
    found = find_joints(motion, joint_names or {})
    rest = find_rest_pose(motion, found, rest_frame)

    def turn(joint: int) -> np.ndarray:
        """The rotation of a joint of the file since its rest pose: (T, 3, 3), our axes."""
        since_rest = motion.rotations[:, joint] @ rest.rotations[joint].T
        return rest.axes @ since_rest @ rest.axes.T

    constants = _constants(rest)
    spine = _spine_turns(motion, found, turn)
    world = np.empty((len(motion.rotations), NUM_JOINTS, 3, 3))
    for number, name in enumerate(JOINT_NAMES):
        if name in found and not name.endswith('hand'):
            world[:, number] = turn(found[name]) @ constants.get(name, np.eye(3))
            if name in rest.bones:
                along = motion.between(found[name], found[LIMBS[name]]) @ rest.axes.T
                world[:, number] = _pointed(world[:, number], _our_bone(name), along)
        else:
            world[:, number] = spine[name] if name in spine else world[:, PARENTS[number]]
    for side in ('left', 'right'):
        constant = constants[f'{side}_elbow']
        _share_twist(world, side, turn(_forearm_end(motion, found, side)) @ constant)
    return _poses(world)


def body_joints() -> np.ndarray:
    """The joints (24, 3) of the built-in body in T-pose, metres."""
    return builtin_skeleton().rest_joints


def _constants(rest: RestPose) -> dict[str, np.ndarray]:
    """The rotation (3, 3) from our T-pose to the file's rest pose, by joint of the limbs."""
    constants = {
        start: _smallest_turn(_our_bone(start), along) for start, along in rest.bones.items()
    }
    for side in ('left', 'right'):
        # Without fingers, the hand has the direction of the forearm.
        constants.setdefault(f'{side}_wrist', constants[f'{side}_elbow'])
        # A foot points forward in both poses; it only tilts sideways with the shin.
        lean = _sideways(rest.bones[f'{side}_knee']) - _sideways(_our_bone(f'{side}_knee'))
        constants[f'{side}_ankle'] = constants[f'{side}_foot'] = rotation_about(2, lean)
    return constants


def _our_bone(start: str) -> np.ndarray:
    """The vector (3,) along the limb bone that a joint rotates, in T-pose, metres."""
    return body_joints()[JOINT[LIMBS[start]]] - body_joints()[JOINT[start]]


def _sideways(bone: np.ndarray) -> float:
    """The angle of a bone (3,) from straight down to the person's left, radians."""
    return float(np.arctan2(bone[0], -bone[1]))


def _pointed(world: np.ndarray, bone: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Adjusts rotations (T, 3, 3) minimally so that our bone points along (T, 3).

    This changes nothing unless the file has joints within one of our bones.
    """
    return _smallest_turn(world @ bone, along) @ world


def _spine_turns(
    motion: SkeletonMotion, found: dict[str, int], turn: Callable[[int], np.ndarray]
) -> dict[str, np.ndarray]:
    """Rotations (T, 3, 3) of our three spine joints, interpolated between those of the file.

    The file's spine is the chain between pelvis and neck; its last joint is our last one.
    """
    chain = motion.ancestors(found['neck'])[1:]
    chain = chain[: chain.index(found['pelvis'])][::-1] if found['pelvis'] in chain else []
    turns = [turn(joint) for joint in (found['pelvis'], *chain)]
    spread = {}
    for number, name in enumerate(SPINE, start=1):
        low, share = divmod(number * len(chain), len(SPINE))
        spread[name] = turns[low]
        if share:
            between = np.swapaxes(turns[low], -1, -2) @ turns[low + 1]
            part = axis_angle_from_matrix(between) * share / len(SPINE)
            spread[name] = turns[low] @ matrix_from_axis_angle(part)
    return spread


def _forearm_end(motion: SkeletonMotion, found: dict[str, int], side: str) -> int:
    """The joint that rotates the end of the forearm: one between elbow and hand, or the hand."""
    wrist = found[f'{side}_wrist']
    before = motion.parents[wrist]
    is_between = found[f'{side}_elbow'] in motion.ancestors(before)[1:]
    return before if is_between else wrist


def _share_twist(world: np.ndarray, side: str, end: np.ndarray) -> None:
    """Gives the forearm half of the twist of its end, a rotation (T, 3, 3); in place."""
    elbow = JOINT[f'{side}_elbow']
    axis = _our_bone(f'{side}_elbow') / np.linalg.norm(_our_bone(f'{side}_elbow'))
    half = axis_angle_from_matrix(np.swapaxes(world[:, elbow], -1, -2) @ end) / 2
    # Swing-twist: tan(twist / 2) is the quaternion's component along the axis, divided by w.
    angle = np.linalg.norm(half, axis=-1)
    twist = np.arctan2(half @ axis * np.sinc(angle / np.pi), np.cos(angle))
    world[:, elbow] = world[:, elbow] @ matrix_from_axis_angle(twist[:, None] * axis)


def _poses(world: np.ndarray) -> np.ndarray:
    """Poses (T, 24, 3) from world rotations (T, 24, 3, 3), without heading."""
    local = world.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(world[:, parent], -1, -2) @ world[:, joint]
    up, forward = world[:, 0, :, 1], world[:, 0, :, 2]
    # The heading of a lying person is the direction of the head (on the front) or its opposite.
    is_lying = np.abs(forward[:, 1:2]) > LYING
    heading = np.where(is_lying, -np.sign(forward[:, 1:2]) * up, forward)
    local[:, 0] = rotation_about(1, -np.arctan2(heading[:, 0], heading[:, 2])) @ world[:, 0]
    return axis_angle_from_matrix(local)


def _smallest_turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) by the smallest angle from directions (..., 3) to others."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (start * end).sum(-1, keepdims=True))
    return matrix_from_axis_angle(axis / np.maximum(sine, 1e-12) * angle)
