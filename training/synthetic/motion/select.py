"""Selects frames of a motion that differ, without the T-pose at the beginning."""

from __future__ import annotations

import numpy as np

from decomr_core.body_models.joints import JOINT_NAMES
from training.synthetic.bodies.body_capsules import builtin_skeleton

__all__ = ['MIN_MOVE_MM', 'choose_frames', 'joint_positions']

MIN_MOVE_MM = 22.0
"""Default of the smallest mean movement of the joints between two kept poses."""
T_POSE = np.radians(15)
"""Largest joint angle in a T-pose; people who stand at ease have their arms down."""
T_POSE_JOINTS = [
    number
    for number, name in enumerate(JOINT_NAMES)
    if name.endswith(('hip', 'knee', 'shoulder', 'elbow')) or name.startswith('spine')
]


def choose_frames(
    poses: np.ndarray, is_at_rest: np.ndarray, min_move_mm: float = MIN_MOVE_MM
) -> np.ndarray:
    """Selects the frames to keep; returns their indices in ascending order.

    T-poses and rest poses at the beginning are removed. Then each frame is removed in which the
    joints, relative to the pelvis, have moved by less than `min_move_mm` on average since the last
    kept frame. A motion that only has T-poses keeps its first frame.

    Args:
        poses: (T, 24, 3) radians, in the order of the motion.
        is_at_rest: (T,) whether the person is in the rest pose of the file.
        min_move_mm: 0 keeps all frames.
    """
    angles = np.linalg.norm(poses[:, T_POSE_JOINTS], axis=-1).max(1)
    is_motion = ~is_at_rest & (angles > T_POSE)
    first = int(np.argmax(is_motion))  # 0 if there is no motion
    if not is_motion.any():
        return np.array([first])
    positions = joint_positions(poses)
    kept = [first]
    for frame in range(first + 1, len(poses)):
        moved = np.linalg.norm(positions[frame] - positions[kept[-1]], axis=-1).mean()
        if moved * 1000 >= min_move_mm:
            kept.append(frame)
    return np.array(kept)


def joint_positions(poses: np.ndarray) -> np.ndarray:
    """Joints (T, 24, 3) of the built-in body in poses (T, 24, 3), metres from the pelvis."""
    positions = builtin_skeleton().pose(poses)[1]
    return positions - positions[:, :1]
