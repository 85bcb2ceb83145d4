"""The rest pose of a motion file, to which its rotations are relative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.records.rotations import axis_angle_from_matrix
from training.synthetic.motion.rig import LIMBS
from training.synthetic.motion.skeleton_motion import SkeletonMotion

__all__ = ['RestPose', 'find_rest_pose', 'is_at_rest']

ALIGNED = np.cos(np.radians(20))
"""Cosine of the angle within which the direction from hip to hip is snapped to an axis."""
UPRIGHT = np.cos(np.radians(50))
"""Cosine of the largest angle of trunk and legs from the vertical, and of bent limbs, in a rest
pose."""
AT_REST = np.radians(2)
"""Largest rotation of a joint in the rest pose, relative to the pelvis."""


@dataclass(frozen=True)
class RestPose:
    """The rest pose of a file; our axes are x to the person's left, y up, z forward.

    Attributes:
        rotations: (J, 3, 3) rotations of the file's joints, in its world frame.
        axes: (3, 3) rotation from the file's axes to ours.
        bones: unit vector (3,) along each limb bone of the file, our axes, by the joint that
            rotates it.
    """

    rotations: np.ndarray
    axes: np.ndarray
    bones: dict[str, np.ndarray]


def find_rest_pose(
    motion: SkeletonMotion, found: dict[str, int], frame: int | None = None
) -> RestPose:
    """Takes the zero pose or a frame as rest pose, and checks that the person stands in it.

    Args:
        motion: the motion of the file.
        found: index in the file of each of our joints.
        frame: index of the frame; None for the zero pose.

    Raises:
        ValueError: there is no such frame, the person does not stand, or a limb has no length.
    """
    if frame is not None and frame >= len(motion.rotations):
        raise ValueError(
            f'{motion.path} has no frame {frame} for the rest pose; it has '
            f'{len(motion.rotations)} frames, counted from 0'
        )
    rotations = motion.rest_rotations(frame)
    positions = motion.positions(rotations)

    def bone(start: str, end: str) -> np.ndarray:
        """The unit vector (3,) from one of our joints to another, in the file's axes."""
        along = positions[found[end]] - positions[found[start]]
        if not along.any():
            raise ValueError(
                f'{motion.path}: {motion.names[found[start]]} and '
                f'{motion.names[found[end]]}, used as {start} and {end}, have the '
                'same position; name other joints with --joint-names'
            )
        return _unit(along)

    bones = {start: bone(start, end) for start, end in LIMBS.items() if end in found}
    legs = [along for name, along in bones.items() if name.endswith(('hip', 'knee'))]
    up = _nearest_axis(-np.sum(legs, axis=0))
    left = _horizontal(bone('right_hip', 'left_hip'), up)
    axes = np.stack([left, up, np.cross(left, up)])
    trunk = _unit(bone('left_hip', 'neck') + bone('right_hip', 'neck'))
    if not _is_standing(bones, trunk, up):
        what = 'the pose with all angles zero' if frame is None else f'frame {frame}'
        raise ValueError(
            f'{motion.path}: the person does not stand upright with straight arms '
            f'and legs in {what}, so it cannot be the rest pose; set --rest-frame to '
            'the index of a frame in which the person does, arms extended or down'
        )
    return RestPose(rotations, axes, {name: axes @ along for name, along in bones.items()})


def is_at_rest(motion: SkeletonMotion, frame: int | None = None) -> np.ndarray:
    """Whether frames (T,) are in the rest pose, whatever the person's global orientation.

    Args:
        motion: the motion of the file.
        frame: see `find_rest_pose`.
    """
    rotated = motion.rotations @ np.swapaxes(motion.rest_rotations(frame), -1, -2)
    relative = np.swapaxes(rotated[:, :1], -1, -2) @ rotated
    return np.all(np.linalg.norm(axis_angle_from_matrix(relative), axis=-1) < AT_REST, axis=1)


def _is_standing(bones: dict[str, np.ndarray], trunk: np.ndarray, up: np.ndarray) -> bool:
    cosines = [trunk @ up]
    for side in ('left', 'right'):
        cosines += [
            -bones[f'{side}_hip'] @ up,
            -bones[f'{side}_knee'] @ up,
            bones[f'{side}_shoulder'] @ bones[f'{side}_elbow'],
        ]
    return min(cosines) > UPRIGHT


def _horizontal(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The horizontal part of a direction, unit, snapped to a nearby axis of the file."""
    left = left - up * (left @ up)
    if not left.any():
        return _nearest_axis(np.roll(up, 1))  # hip above hip: rejected by the check for standing
    axis = _nearest_axis(left)
    return axis if axis @ _unit(left) > ALIGNED else _unit(left)


def _nearest_axis(direction: np.ndarray) -> np.ndarray:
    axis = np.zeros(3)
    largest = np.argmax(np.abs(direction))
    axis[largest] = np.sign(direction[largest])
    return axis


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-12)
