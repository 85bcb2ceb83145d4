"""Motion of any skeleton as poses of the body.

Each of our joints takes the turn of the file's bone in the world since the file's rest pose, times
one constant for limbs: the smallest turn that brings the bone of our T-pose to the bone of that
rest pose. So limbs point where the file's do, whether its people rest in a T or an A, and keep
the twist of that rest pose.
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
"""Height of the direction a person faces, a unit vector, from which on it is no heading."""


def retarget(motion: SkeletonMotion, told: dict[str, str] | None = None,
             rest_frame: int | None = None) -> np.ndarray:
    """Poses (T, 24, 3) of a motion, axis-angle in radians, SMPL's joints on a T-pose body.

    Joint 0 leaves out where the person is heading, so everybody faces +z; hands do not move.

    Args:
        motion: the file's.
        told: the file's name of any of our joints that is not found by itself.
        rest_frame: frame, from 0, in which the person stands in a T or an A; None for the pose
            in which all angles are zero.

    Raises:
        ValueError: a joint is not found, or nobody stands in the rest pose.
    """
    found = find_joints(motion, told or {})
    rest = find_rest_pose(motion, found, rest_frame)

    def turn(joint: int) -> np.ndarray:
        """How a joint of the file has turned since its rest pose: (T, 3, 3), our axes."""
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
    """(24, 3) joints of the built-in body in T-pose, metres."""
    return builtin_skeleton().rest_joints


def _constants(rest: RestPose) -> dict[str, np.ndarray]:
    """The turn (3, 3) from our T-pose to the file's rest pose, per joint of the limbs."""
    constants = {start: _smallest_turn(_our_bone(start), along)
                 for start, along in rest.bones.items()}
    for side in ('left', 'right'):
        # Without fingers the hand goes on as the forearm does.
        constants.setdefault(f'{side}_wrist', constants[f'{side}_elbow'])
        # A foot points forward in both poses; it only leans to the side with the shin.
        lean = _sideways(rest.bones[f'{side}_knee']) - _sideways(_our_bone(f'{side}_knee'))
        constants[f'{side}_ankle'] = constants[f'{side}_foot'] = rotation_about(2, lean)
    return constants


def _our_bone(start: str) -> np.ndarray:
    """(3,) along the limb bone that this joint turns, in T-pose, metres."""
    return body_joints()[JOINT[LIMBS[start]]] - body_joints()[JOINT[start]]


def _sideways(bone: np.ndarray) -> float:
    """The angle of a bone (3,) from straight down to the person's left, radians."""
    return np.arctan2(bone[0], -bone[1])


def _pointed(world: np.ndarray, bone: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) turned as little as needed for our bone to point along (T, 3).

    Nothing is to do unless the file's limb bends within a bone of ours, between two of its joints.
    """
    return _smallest_turn(world @ bone, along) @ world


def _spine_turns(motion: SkeletonMotion, found: dict[str, int],
                 turn: Callable[[int], np.ndarray]) -> dict[str, np.ndarray]:
    """Turns (T, 3, 3) of the three spine joints, spread over as many as the file has.

    The file's spine is what lies between pelvis and neck; its last joint is our last one.
    """
    chain = motion.ancestors(found['neck'])[1:]
    chain = chain[:chain.index(found['pelvis'])][::-1] if found['pelvis'] in chain else []
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
    """The joint that turns the end of the forearm: one between elbow and hand, or the hand."""
    wrist = found[f'{side}_wrist']
    before = motion.parents[wrist]
    is_between = found[f'{side}_elbow'] in motion.ancestors(before)[1:]
    return before if is_between else wrist


def _share_twist(world: np.ndarray, side: str, end: np.ndarray) -> None:
    """Gives the forearm half of the twist about it that its end has, a rotation (T, 3, 3)."""
    elbow = JOINT[f'{side}_elbow']
    axis = _our_bone(f'{side}_elbow') / np.linalg.norm(_our_bone(f'{side}_elbow'))
    half = axis_angle_from_matrix(np.swapaxes(world[:, elbow], -1, -2) @ end) / 2
    # The twist's half angle has the tangent of the quaternion's part along the axis over w.
    angle = np.linalg.norm(half, axis=-1)
    twist = np.arctan2(half @ axis * np.sinc(angle / np.pi), np.cos(angle))
    world[:, elbow] = world[:, elbow] @ matrix_from_axis_angle(twist[:, None] * axis)


def _poses(world: np.ndarray) -> np.ndarray:
    """Poses (T, 24, 3) of rotations (T, 24, 3, 3) in the world, without heading."""
    local = world.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(world[:, parent], -1, -2) @ world[:, joint]
    up, forward = world[:, 0, :, 1], world[:, 0, :, 2]
    # Who lies on the back faces away from where the head points, who lies on the front to there.
    is_lying = np.abs(forward[:, 1:2]) > LYING
    heading = np.where(is_lying, -np.sign(forward[:, 1:2]) * up, forward)
    local[:, 0] = rotation_about(1, -np.arctan2(heading[:, 0], heading[:, 2])) @ world[:, 0]
    return axis_angle_from_matrix(local)


def _smallest_turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) by the smallest angle that bring directions (..., 3) to others."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (start * end).sum(-1, keepdims=True))
    return matrix_from_axis_angle(axis / np.maximum(sine, 1e-12) * angle)
