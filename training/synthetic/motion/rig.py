"""Matches the joints of a motion file to ours, by the names of common rigs or given names."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from decomr_core.body_models.joints import JOINT_NAMES
from training.synthetic.motion.skeleton_motion import SkeletonMotion

__all__ = ['LIMBS', 'find_joints', 'read_joint_names']

# Each limb bone: the joint that rotates it, and the joint at its end.
LIMBS = {
    f'{side}_{start}': f'{side}_{end}'
    for side in ('left', 'right')
    for start, end in (
        ('hip', 'knee'),
        ('knee', 'ankle'),
        ('shoulder', 'elbow'),
        ('elbow', 'wrist'),
        ('wrist', 'hand'),
    )
}
# In the order in which they are tried. The meaning depends on the other names of the rig: in
# Mixamo, Leg is the shin, Shoulder the collar bone and Hips the pelvis.
MIDDLE_NAMES = {'neck': ('lowerneck', 'neck01', 'neck', 'necktwist01', 'neck1'), 'head': ('head',)}
SIDE_NAMES = {
    'hip': ('upleg', 'upperleg01', 'upperleg', 'thigh', 'femur', 'hip'),
    'knee': ('lowerleg01', 'lowerleg', 'shin', 'calf', 'tibia', 'knee', 'leg'),
    'ankle': ('foot', 'ankle'),
    'foot': ('toebase', 'toes', 'toe', 'toe0', 'ball', 'toe31'),
    'collar': ('clavicle', 'collar', 'collarbone', 'shoulderjoint', 'shoulder'),
    'shoulder': ('upperarm01', 'upperarm', 'uparm', 'humerus', 'shldr', 'arm', 'shoulder'),
    'elbow': ('lowerarm01', 'lowerarm', 'forearm', 'radius', 'elbow'),
    'wrist': ('fingerbase', 'hand', 'wrist'),
    'hand': ('handmiddle1', 'middle1', 'middle01', 'mid1', 'finger31'),
}
OPTIONAL = {'left_foot', 'right_foot', 'left_collar', 'right_collar', 'left_hand', 'right_hand'}
FROM_THE_TREE = {'pelvis', 'spine1', 'spine2', 'spine3'}
"""Joints that are found by their positions in the tree, not by name."""
PREFIX = re.compile(r'^(.*:|mixamorig\d*|character\d+|ccbase|valvebiped|bip0?01|bip1)+(?=.)')
MAX_LISTED = 60
"""Names of a file that an error lists."""


def read_joint_names(path: str | Path) -> dict[str, str]:
    """Reads a YAML file with the names of our joints in the motion files.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has unexpected content or unknown joints.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no file {path}; check --joint-names')
    try:
        names = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not YAML: {error}') from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{path}: expected lines such as 'left_hip: LeftUpLeg'")
    unknown = [str(name) for name in names if name not in JOINT_NAMES]
    if unknown:
        raise ValueError(
            f'{path}: there is no joint {", ".join(unknown)}; take {", ".join(JOINT_NAMES)}'
        )
    return names


def find_joints(motion: SkeletonMotion, joint_names: dict[str, str]) -> dict[str, int]:
    """Finds our joints in a file; returns their indices by our names.

    Unless they are named, pelvis and spine are found by the tree: the pelvis is the common
    ancestor of legs and neck, and the spine is the chain from it to the neck (see `retarget`).

    Args:
        motion: the motion of the file.
        joint_names: names in the file by our names (see `read_joint_names`).

    Raises:
        ValueError: a joint is not found or belongs to another limb, or a given name is not in
            the file.
    """
    by_name = {name.lower(): joint for joint, name in reversed([*enumerate(motion.names)])}
    by_plain = {_plain(name): joint for joint, name in reversed([*enumerate(motion.names)])}
    found: dict[str, int] = {}
    for ours, name in joint_names.items():
        if name.lower() not in by_name:
            raise ValueError(
                f'{motion.path} has no joint {name!r} for {ours}; it has {_listed(motion)}'
            )
        found[ours] = by_name[name.lower()]
    # A joint named shoulder is the upper arm's if no other name matches, else the collar bone's.
    for ours in sorted(JOINT_NAMES, key=lambda name: name.endswith('collar')):
        for name in () if ours in found else _candidates(ours):
            if name in by_plain and by_plain[name] not in found.values():
                found[ours] = by_plain[name]
                break
    _share_neck_and_head(found)
    missing = [name for name in JOINT_NAMES if name not in {*found, *OPTIONAL, *FROM_THE_TREE}]
    if missing:
        raise ValueError(
            f'{motion.path}: no joint was recognised as {", ".join(missing)}; the file has '
            f'{_listed(motion)}. Give --joint-names a YAML file with a line for each: '
            f'{missing[0]}: NAME_IN_THE_FILE'
        )
    _check_limbs(motion, found, joint_names)
    if 'pelvis' not in found:
        chains = [motion.ancestors(found[name]) for name in ('left_hip', 'right_hip', 'neck')]
        found['pelvis'] = max(set.intersection(*map(set, chains)))
    return found


def _check_limbs(
    motion: SkeletonMotion, found: dict[str, int], joint_names: dict[str, str]
) -> None:
    """Checks that the joints of a limb are descendants; removes hands that are not.

    Raises:
        ValueError: another joint is not a descendant.
    """
    for start, end in LIMBS.items():
        if end not in found or found[start] in motion.ancestors(found[end])[1:]:
            continue
        if end in OPTIONAL and end not in joint_names:
            del found[end]
            continue
        raise ValueError(
            f'{motion.path}: {motion.names[found[end]]}, used as {end}, is not a '
            f'descendant of {motion.names[found[start]]}, used as {start}; give '
            '--joint-names a YAML file with the correct names'
        )


def _candidates(ours: str) -> list[str]:
    """Possible names of one of our joints, in lower case without separators."""
    side, _, name = ours.partition('_')
    if not name:
        return list(MIDDLE_NAMES.get(ours, ()))
    return [
        sided
        for base in SIDE_NAMES[name]
        for sided in (side + base, side[0] + base, base + side[0], base + side)
    ]


def _plain(name: str) -> str:
    """A name in lower case, without separators and the rig's prefix."""
    return PREFIX.sub('', re.sub(r'[\s_.\-|]', '', name.lower()))


def _share_neck_and_head(found: dict[str, int]) -> None:
    """Uses the same joint for neck and head if only one of them was found."""
    for one, other in (('neck', 'head'), ('head', 'neck')):
        if one in found:
            found.setdefault(other, found[one])


def _listed(motion: SkeletonMotion) -> str:
    names = [name for name in motion.names if not name.endswith(' end')]
    rest = f' and {len(names) - MAX_LISTED} more' if len(names) > MAX_LISTED else ''
    return ', '.join(names[:MAX_LISTED]) + rest
