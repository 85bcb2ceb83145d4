"""Which joint of a motion file is which of ours: by the names of the common rigs, or as told."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from decomr_core.body_models.joints import JOINT_NAMES
from training.synthetic.motion.skeleton_motion import SkeletonMotion

__all__ = ['LIMBS', 'find_joints', 'read_joint_names']

# Each limb bone: the joint that turns it, and the joint where it ends.
LIMBS = {f'{side}_{start}': f'{side}_{end}' for side in ('left', 'right')
         for start, end in (('hip', 'knee'), ('knee', 'ankle'), ('shoulder', 'elbow'),
                            ('elbow', 'wrist'), ('wrist', 'hand'))}
# In the order in which they are tried. Which is which depends on the other names of the rig: the
# Leg of Mixamo is the shin, its Shoulder the collar bone, its Hips the pelvis.
MIDDLE_NAMES = {
    'neck': ('lowerneck', 'neck01', 'neck', 'necktwist01', 'neck1'),
    'head': ('head',),
}
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
"""Found by where they are, not by name."""
PREFIX = re.compile(r'^(.*:|mixamorig\d*|character\d+|ccbase|valvebiped|bip0?01|bip1)+(?=.)')
SHOWN = 60
"""Names of a file that an error lists."""


def read_joint_names(path: str | Path) -> dict[str, str]:
    """A YAML file of our joints and what they are called in the motion files.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such table, or a joint is not ours.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no joint names at {path}')
    try:
        names = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no YAML: {error}') from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{path}: expected lines such as 'left_hip: LeftUpLeg'")
    unknown = [str(name) for name in names if name not in JOINT_NAMES]
    if unknown:
        raise ValueError(f'{path}: there is no joint {", ".join(unknown)}; take '
                         f'{", ".join(JOINT_NAMES)}')
    return names


def find_joints(motion: SkeletonMotion, told: dict[str, str]) -> dict[str, int]:
    """The number in the file of each of our joints that is there.

    Pelvis and spine come from the tree unless they are told: the pelvis is where legs and neck
    meet, and the spine is all between it and the neck (see `retarget`).

    Args:
        motion: the file's.
        told: the file's name of any of our joints (see `read_joint_names`).

    Raises:
        ValueError: a joint is not found or hangs on another limb, or one that was told is
            not in the file.
    """
    by_name = {name.lower(): joint for joint, name in reversed([*enumerate(motion.names)])}
    by_plain = {_plain(name): joint for joint, name in reversed([*enumerate(motion.names)])}
    found = {}
    for ours, name in told.items():
        if name.lower() not in by_name:
            raise ValueError(f'{motion.path} has no joint {name!r} for {ours}; it has '
                             f'{_listed(motion)}')
        found[ours] = by_name[name.lower()]
    # What is called a shoulder is the upper arm's where nothing else is, else the collar bone.
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
            f'{missing[0]}: its name in the file')
    _check_limbs(motion, found, told)
    if 'pelvis' not in found:
        chains = [motion.ancestors(found[name]) for name in ('left_hip', 'right_hip', 'neck')]
        found['pelvis'] = max(set.intersection(*map(set, chains)))
    return found


def _check_limbs(motion: SkeletonMotion, found: dict[str, int], told: dict[str, str]) -> None:
    """Leaves out hands that hang elsewhere; raises ValueError for other joints that do."""
    for start, end in LIMBS.items():
        if end not in found or found[start] in motion.ancestors(found[end])[1:]:
            continue
        if end in OPTIONAL and end not in told:
            del found[end]
            continue
        raise ValueError(f'{motion.path}: {motion.names[found[end]]}, taken for {end}, does not '
                         f'hang on {motion.names[found[start]]}, taken for {start}; give '
                         '--joint-names a YAML file that names the right ones')


def _candidates(ours: str) -> list[str]:
    """What a joint of ours may be called, in small letters without separators."""
    side, _, name = ours.partition('_')
    if not name:
        return list(MIDDLE_NAMES.get(ours, ()))
    return [sided for base in SIDE_NAMES[name]
            for sided in (side + base, side[0] + base, base + side[0], base + side)]


def _plain(name: str) -> str:
    """A name in small letters, without separators and the rig's own prefix."""
    return PREFIX.sub('', re.sub(r'[\s_.\-|]', '', name.lower()))


def _share_neck_and_head(found: dict[str, int]) -> None:
    """Who has only one of them has it as both."""
    for one, other in (('neck', 'head'), ('head', 'neck')):
        if one in found:
            found.setdefault(other, found[one])


def _listed(motion: SkeletonMotion) -> str:
    names = [name for name in motion.names if not name.endswith(' end')]
    rest = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + rest
