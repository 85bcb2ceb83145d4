"""The 24 joints of SMPL in SMPL's order: names, kinematic tree and mirrored joints."""

from __future__ import annotations

__all__ = [
    'ANKLES',
    'COLLARS',
    'ELBOWS',
    'FEET',
    'HANDS',
    'HEAD',
    'HIPS',
    'JOINT_NAMES',
    'KNEES',
    'MIRRORED_JOINTS',
    'NECK',
    'NUM_JOINTS',
    'PARENTS',
    'PELVIS',
    'SHOULDERS',
    'SPINE',
    'WRISTS',
]

JOINT_NAMES = (
    'pelvis',
    'left_hip',
    'right_hip',
    'spine1',
    'left_knee',
    'right_knee',
    'spine2',
    'left_ankle',
    'right_ankle',
    'spine3',
    'left_foot',
    'right_foot',
    'neck',
    'left_collar',
    'right_collar',
    'head',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hand',
    'right_hand',
)

NUM_JOINTS = len(JOINT_NAMES)

PELVIS, SPINE, NECK, HEAD = 0, (3, 6, 9), 12, 15
# (left, right)
HIPS, KNEES, ANKLES, FEET = (1, 2), (4, 5), (7, 8), (10, 11)
COLLARS, SHOULDERS, ELBOWS, WRISTS, HANDS = (13, 14), (16, 17), (18, 19), (20, 21), (22, 23)

# The parent of each joint; -1 for the root. A parent precedes its children.
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)


def _mirrored_name(name: str) -> str:
    side, _, rest = name.partition('_')
    return {'left': f'right_{rest}', 'right': f'left_{rest}'}.get(side, name)


# The joint on the other side of the body; central joints map to themselves.
MIRRORED_JOINTS = tuple(JOINT_NAMES.index(_mirrored_name(name)) for name in JOINT_NAMES)
