"""How the person of a motion file rests: the pose from which its turns are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.records.rotations import axis_angle_from_matrix
from training.synthetic.motion.rig import LIMBS
from training.synthetic.motion.skeleton_motion import SkeletonMotion

__all__ = ['RestPose', 'find_rest_pose', 'is_at_rest']

ALIGNED = np.cos(np.radians(20))
"""The direction from hip to hip this near to one of the file's axes is taken to be that one."""
UPRIGHT = np.cos(np.radians(50))
"""Trunk and legs of a rest pose are this near to vertical, legs and arms this straight."""
AT_REST = np.radians(2)
"""No joint of a person at rest has turned further than that."""


@dataclass(frozen=True)
class RestPose:
    """The rest pose of a file; our axes are x to the person's left, y up, z forward.

    Attributes:
        rotations: (J, 3, 3) of the file's joints, in its world.
        axes: (3, 3) our axes from the file's.
        bones: unit vector (3,) along each limb bone that the file has, our axes, by the joint
            that turns it.
    """

    rotations: np.ndarray
    axes: np.ndarray
    bones: dict[str, np.ndarray]


def find_rest_pose(motion: SkeletonMotion, found: dict[str, int],
                   frame: int | None = None) -> RestPose:
    """The pose with all angles zero, or a frame; checked that a person stands in it.

    Args:
        motion: the file's.
        found: the number in the file of each of our joints.
        frame: from 0; None for the zero pose.

    Raises:
        ValueError: there is no such frame, nobody stands in it, or a limb has no length.
    """
    if frame is not None and frame >= len(motion.rotations):
        raise ValueError(f'{motion.path} has no frame {frame} to rest in; it has '
                         f'{len(motion.rotations)}, counted from 0')
    rotations = motion.rest_rotations(frame)
    positions = motion.positions(rotations)

    def bone(start: str, end: str) -> np.ndarray:
        """The unit vector (3,) from one of our joints to another, the file's axes."""
        along = positions[found[end]] - positions[found[start]]
        if not along.any():
            raise ValueError(f'{motion.path}: {motion.names[found[start]]} and '
                             f'{motion.names[found[end]]}, taken for {start} and {end}, are at '
                             'one place; give --joint-names others')
        return _unit(along)

    bones = {start: bone(start, end) for start, end in LIMBS.items() if end in found}
    up = _nearest_axis(-sum(bones[name] for name in bones if name.endswith(('hip', 'knee'))))
    left = _horizontal(bone('right_hip', 'left_hip'), up)
    axes = np.stack([left, up, np.cross(left, up)])
    trunk = _unit(bone('left_hip', 'neck') + bone('right_hip', 'neck'))
    if not _is_standing(bones, trunk, up):
        what = 'the pose with all angles zero' if frame is None else f'frame {frame}'
        raise ValueError(f'{motion.path}: nobody stands upright with straight arms and legs in '
                         f'{what}, so it cannot be the rest pose; give --rest-frame the number, '
                         'from 0, of a frame with such a stand, the arms out or down')
    return RestPose(rotations, axes, {name: axes @ along for name, along in bones.items()})


def is_at_rest(motion: SkeletonMotion, frame: int | None = None) -> np.ndarray:
    """Whether a frame (T,) is the rest pose, however the person stands in the room.

    Args:
        motion: the file's.
        frame: as for `find_rest_pose`.
    """
    turned = motion.rotations @ np.swapaxes(motion.rest_rotations(frame), -1, -2)
    of_pelvis = np.swapaxes(turned[:, :1], -1, -2) @ turned
    return (np.linalg.norm(axis_angle_from_matrix(of_pelvis), axis=-1) < AT_REST).all(1)


def _is_standing(bones: dict[str, np.ndarray], trunk: np.ndarray, up: np.ndarray) -> bool:
    cosines = [trunk @ up]
    for side in ('left', 'right'):
        cosines += [-bones[f'{side}_hip'] @ up, -bones[f'{side}_knee'] @ up,
                    bones[f'{side}_shoulder'] @ bones[f'{side}_elbow']]
    return min(cosines) > UPRIGHT


def _horizontal(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The horizontal part of a direction, unit; an axis of the file's if one is near."""
    left = left - up * (left @ up)
    if not left.any():
        return _nearest_axis(np.roll(up, 1))  # hip above hip; nobody stands like that
    axis = _nearest_axis(left)
    return axis if axis @ _unit(left) > ALIGNED else _unit(left)


def _nearest_axis(direction: np.ndarray) -> np.ndarray:
    axis = np.zeros(3)
    largest = np.argmax(np.abs(direction))
    axis[largest] = np.sign(direction[largest])
    return axis


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-12)
