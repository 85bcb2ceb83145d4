"""Tiny motion files of a person with the built-in body's bones, as the common rigs write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from decomr_core.body_models.joints import JOINT_NAMES, PARENTS
from training.preprocess import main
from training.synthetic.motion.retarget import body_joints

JOINTS = JOINT_NAMES[:22]
OFFSETS = {
    name: body_joints()[number] - body_joints()[max(PARENTS[number], 0)]
    for number, name in enumerate(JOINT_NAMES)
}
Pose = dict[str, Sequence[float]]
"""Turns of joints against their parents: axis-angle in degrees."""
T_POSE: Pose = {}
RAISED: Pose = {'left_shoulder': (0, 0, 60)}
MIXED: Pose = {
    'pelvis': (20, 70, 0),
    'spine2': (10, 5, 0),
    'left_hip': (-50, 0, 10),
    'left_knee': (80, 0, 0),
    'right_shoulder': (0, 40, 50),
    'right_elbow': (0, 70, 0),
    'head': (0, 30, 0),
    'left_foot': (-20, 0, 0),
}

LIMB_JOINTS = ('hip', 'knee', 'ankle', 'foot', 'collar', 'shoulder', 'elbow', 'wrist')
# Names of pelvis, spine1 to 3, neck, head; of `LIMB_JOINTS`, where * is the side; and the words
# for the sides.
RIGS = {
    'mixamo': (
        'mixamorig:Hips mixamorig:Spine mixamorig:Spine1 mixamorig:Spine2 mixamorig:Neck '
        'mixamorig:Head',
        'mixamorig:*UpLeg mixamorig:*Leg mixamorig:*Foot '
        'mixamorig:*ToeBase mixamorig:*Shoulder mixamorig:*Arm mixamorig:*ForeArm '
        'mixamorig:*Hand',
        ('Left', 'Right'),
    ),
    'cgspeed': (
        'Hips LowerBack Spine Spine1 Neck Head',
        '*UpLeg *Leg *Foot *ToeBase *Shoulder *Arm *ForeArm *Hand',
        ('Left', 'Right'),
    ),
    'makehuman': (
        'root spine03 spine02 spine01 neck01 head',
        'upperleg01.* lowerleg01.* foot.* toe3-1.* clavicle.* upperarm01.* lowerarm01.* wrist.*',
        ('L', 'R'),
    ),
    'joints': (
        'Hips Chest Chest2 Chest3 Neck Head',
        '*Hip *Knee *Ankle *Toe *Collar *Shoulder *Elbow *Wrist',
        ('Left', 'Right'),
    ),
    'unreal': (
        'pelvis spine_01 spine_02 spine_03 neck_01 head',
        'thigh_* calf_* foot_* ball_* clavicle_* upperarm_* lowerarm_* hand_*',
        ('l', 'r'),
    ),
    'poser': (
        'hip abdomen chest chest2 neck head',
        '*Thigh *Shin *Foot *Toe *Collar *Shldr *ForeArm *Hand',
        ('l', 'r'),
    ),
    'biped': (
        'Bip01 Bip01_Spine Bip01_Spine1 Bip01_Spine2 Bip01_Neck Bip01_Head',
        'Bip01_*_Thigh Bip01_*_Calf Bip01_*_Foot Bip01_*_Toe0 Bip01_*_Clavicle '
        'Bip01_*_UpperArm Bip01_*_Forearm Bip01_*_Hand',
        ('L', 'R'),
    ),
    'acclaim': (
        'root lowerback upperback thorax lowerneck head',
        '*femur *tibia *foot *toes *clavicle *humerus *radius *hand',
        ('l', 'r'),
    ),
}


def rig_names(rig: str) -> dict[str, str]:
    """The names of SMPL's joints in a rig."""
    middle, limbs, sides = RIGS[rig]
    names = dict(
        zip(('pelvis', 'spine1', 'spine2', 'spine3', 'neck', 'head'), middle.split(), strict=True)
    )
    for ours, word in zip(('left', 'right'), sides, strict=True):
        for joint, name in zip(LIMB_JOINTS, limbs.split(), strict=True):
            names[f'{ours}_{joint}'] = name.replace('*', word)
    return names


def bvh_text(
    poses: Sequence[Pose],
    names: dict[str, str] | None = None,
    axes: np.ndarray | None = None,
    rests: dict[str, Rotation] | None = None,
    offsets: dict[str, np.ndarray] | None = None,
) -> str:
    """A BVH file.

    Args:
        poses: one per frame.
        names: of our joints; `cgspeed` by default.
        axes: (3, 3) the file's axes from ours.
        rests: how each joint's own axes stand in the T-pose, where not along the world's.
        offsets: of the joints, where not the body's.
    """
    axes = Rotation.from_matrix(np.eye(3) if axes is None else axes)
    rest = {
        name: axes * (rests or {}).get(name, Rotation.identity()) * axes.inv() for name in JOINTS
    }
    offsets = {name: axes.apply(offset) for name, offset in {**OFFSETS, **(offsets or {})}.items()}
    lines, rows = ['HIERARCHY'], [['0 0 0'] for _ in poses]

    def add(number: int, indent: str) -> None:
        name, parent = JOINTS[number], JOINT_NAMES[PARENTS[number]]
        before = rest[parent] if number else Rotation.identity()
        lines.extend(
            [
                f'{indent}{"JOINT" if number else "ROOT"} {(names or CGSPEED)[name]}',
                f'{indent}{{',
                f'{indent} OFFSET '
                f'{numbers(before.inv().apply(offsets[name]) if number else [0] * 3)}',
                f'{indent} CHANNELS {"3" if number else "6 Xposition Yposition Zposition"} '
                'Zrotation Xrotation Yrotation',
            ]
        )
        for row, pose in zip(rows, poses, strict=True):
            turn = Rotation.from_rotvec(pose.get(name, (0, 0, 0)), degrees=True)
            turn = axes * turn * axes.inv()
            row.append(numbers((before.inv() * turn * rest[name]).as_euler('ZXY', degrees=True)))
        children = [child for child in range(len(JOINTS)) if PARENTS[child] == number]
        for child in children:
            add(child, indent + ' ')
        if not children:
            lines.append(f'{indent} End Site\n{indent} {{\n{indent}  OFFSET 0 0 0\n{indent} }}')
        lines.append(f'{indent}}}')

    add(0, '')
    motion = ['MOTION', f'Frames: {len(poses)}', 'Frame Time: 0.0333333', *map(' '.join, rows)]
    return '\n'.join([*lines, *motion, ''])


CGSPEED = rig_names('cgspeed')

# The bones of an ASF: name, parent, and our joints where it begins and ends. * is a side.
BONES = [
    ('lowerback', 'root', 'spine1', 'spine2'),
    ('upperback', 'lowerback', 'spine2', 'spine3'),
    ('thorax', 'upperback', 'spine3', 'neck'),
    ('lowerneck', 'thorax', 'neck', 'head'),
    ('head', 'lowerneck', 'head', ''),
    ('*hipjoint', 'root', 'pelvis', '*_hip'),
    ('*femur', '*hipjoint', '*_hip', '*_knee'),
    ('*tibia', '*femur', '*_knee', '*_ankle'),
    ('*foot', '*tibia', '*_ankle', '*_foot'),
    ('*toes', '*foot', '*_foot', ''),
    ('*clavicle', 'thorax', '*_collar', '*_shoulder'),
    ('*humerus', '*clavicle', '*_shoulder', '*_elbow'),
    ('*radius', '*humerus', '*_elbow', '*_wrist'),
    ('*hand', '*radius', '*_wrist', '*_hand'),
]
AXIS = (10.0, -20.0, 30.0)
"""How the axes of every bone of the ASF stand, degrees about x, y and z in this order."""


def asf_bones() -> list[tuple[str, str, str, str]]:
    """`BONES` of both sides."""
    sided = [
        (tuple(part.replace('*_', f'{side}_').replace('*', side[0]) for part in bone), side)
        for bone in BONES
        for side in ('left', 'right')
    ]
    return list(dict.fromkeys(bone for bone, _ in sided))


def asf_text() -> str:
    """An ASF file with the body's bones, all with own axes."""
    lines = [
        '# made for a test',
        ':version 1.10',
        ':name test',
        ':units',
        '  angle deg',
        ':documentation',
        '  none',
        ':root',
        '  order TX TY TZ RX RY RZ',
        '  axis XYZ',
        '  position 0 0 0',
        '  orientation 0 0 0',
        ':bonedata',
    ]
    for name, _, start, end in asf_bones():
        along = (
            body_joints()[JOINT_NAMES.index(end)] - body_joints()[JOINT_NAMES.index(start)]
            if end
            else np.array([0, 0.01, 0])
        )
        length = np.linalg.norm(along)
        lines += [
            '  begin',
            f'    name {name}',
            f'    direction {numbers(along / length)}',
            f'    length {length:.8f}',
            f'    axis {numbers(AXIS)} XYZ',
        ]
        lines += [] if name.endswith('hipjoint') else ['    dof rx ry rz', '    limits (-9 9)']
        lines.append('  end')
    lines += [':hierarchy', '  begin']
    lines += [f'    {parent} {name}' for name, parent, *_ in asf_bones()]
    return '\n'.join([*lines, '  end', ''])


def amc_text(poses: Sequence[Pose]) -> str:
    """An AMC file on the skeleton of `asf_text`."""
    axis = Rotation.from_euler('xyz', AXIS, degrees=True)
    lines = ['#!test', ':FULLY-SPECIFIED', ':DEGREES']
    for number, pose in enumerate(poses, start=1):
        root = Rotation.from_rotvec(pose.get('pelvis', (0, 0, 0)), degrees=True)
        lines += [str(number), f'root 1 2 3 {numbers(root.as_euler("xyz", degrees=True))}']
        for name, _, start, _ in asf_bones():
            if not name.endswith('hipjoint'):
                turn = Rotation.from_rotvec(pose.get(start, (0, 0, 0)), degrees=True)
                own = axis.inv() * turn * axis
                lines.append(f'{name} {numbers(own.as_euler("xyz", degrees=True))}')
    return '\n'.join([*lines, ''])


def write(path: Path, text: str) -> Path:
    """The path, with the text in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def numbers(values: Sequence[float]) -> str:
    """Numbers of a line."""
    return ' '.join(f'{value:.8f}' for value in values)


def degrees_apart(poses: np.ndarray, others: np.ndarray) -> float:
    """The largest angle between rotations of joints, degrees."""
    first, second = (Rotation.from_rotvec(np.reshape(value, (-1, 3))) for value in (poses, others))
    return float(np.degrees((first.inv() * second).magnitude().max()))


def run(*words: object) -> int:
    """Runs `preprocess motion`; its exit code."""
    return main(['motion', *map(str, words)])
