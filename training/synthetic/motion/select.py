"""Which frames of a motion to keep: those that differ, without the T-pose at the beginning."""

from __future__ import annotations

import numpy as np

from decomr_core.body_models.joints import JOINT_NAMES
from training.synthetic.bodies.body_capsules import builtin_skeleton

__all__ = ['MIN_MOVE_MM', 'choose_frames', 'joint_positions']

MIN_MOVE_MM = 22.0
"""How far the mean joint moves between two poses that are kept, by default."""
T_POSE = np.radians(15)
"""Who bends no joint further stands in a T-pose; people who stand at ease have their arms down."""
T_POSE_JOINTS = [number for number, name in enumerate(JOINT_NAMES) if name.endswith(
    ('hip', 'knee', 'shoulder', 'elbow')) or name.startswith('spine')]


def choose_frames(poses: np.ndarray, is_at_rest: np.ndarray,
                  min_move_mm: float = MIN_MOVE_MM) -> np.ndarray:
    """Numbers of the frames to keep, rising.

    T-poses and rest poses at the beginning go, and then each frame in which the mean joint is
    nearer than `min_move_mm`, seen from the pelvis, to where it was in the frame kept before. A
    motion that is nothing but a T-pose keeps its first frame.

    Args:
        poses: (T, 24, 3) radians, in the order of the motion.
        is_at_rest: (T,) whether the person of the file is in its rest pose.
        min_move_mm: 0 keeps all.
    """
    angles = np.linalg.norm(poses[:, T_POSE_JOINTS], axis=-1).max(1)
    is_motion = ~is_at_rest & (angles > T_POSE)
    first = int(np.argmax(is_motion))  # 0 where there is none
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
    """The joints (T, 24, 3) of the built-in body in poses (T, 24, 3), metres from the pelvis."""
    positions = builtin_skeleton().pose(poses)[1]
    return positions - positions[:, :1]
