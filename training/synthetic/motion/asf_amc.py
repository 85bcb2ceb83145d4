"""Reads Acclaim files: ASF, a skeleton of bones, and AMC, with one line per bone and frame.

A bone has the name of the joint at its beginning, whose rotation rotates the bone. The angles of a
bone are about its own axes, which the ASF defines by three angles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.synthetic.motion.skeleton_motion import (
    SkeletonMotion,
    euler_rotation,
    world_rotations,
)
from training.synthetic.motion.text_lines import TextLines

__all__ = ['find_asf', 'read_asf_amc']

DOFS = ('tx', 'ty', 'tz', 'rx', 'ry', 'rz', 'l')
ROOT = 'root'


@dataclass
class Bone:
    """A bone of an ASF.

    Attributes:
        name: name in the AMC.
        direction: 3 numbers, direction in the zero pose, world.
        length: length of the bone, any unit.
        axes: 3 letters, the order of `angles`; the first rotation is applied first.
        angles: angles that define the bone's axes, in the file's unit.
        dofs: degrees of freedom in the AMC, of `DOFS`.
        parent: name of the parent bone; '' for the root.
    """

    name: str = ''
    direction: tuple[float, ...] = (0.0, 0.0, 0.0)
    length: float = 0.0
    axes: str = 'xyz'
    angles: tuple[float, ...] = (0.0, 0.0, 0.0)
    dofs: tuple[str, ...] = ()
    parent: str | None = None


def find_asf(path: str | Path, inputs: Iterable[Path] = ()) -> Path:
    """Finds the ASF of an AMC: the one whose name is the longest prefix of the AMC's name.

    For example `01_02.amc` belongs to `01.asf`. A single ASF belongs to every AMC.

    Args:
        path: the AMC.
        inputs: additional files to search, besides those in the AMC's folder.

    Raises:
        FileNotFoundError: there is no ASF, or there are several and no name is a prefix.
    """
    path = Path(path)
    found = sorted(
        {
            file.resolve(): file
            for file in (*inputs, *path.parent.iterdir())
            if file.suffix.lower() == '.asf'
        }.values()
    )
    if not found:
        raise FileNotFoundError(
            f'{path} needs its skeleton; put the ASF file beside it, or add it to the inputs'
        )
    matching = [file for file in found if path.stem.lower().startswith(file.stem.lower())]
    if not matching and len(found) != 1:
        raise FileNotFoundError(
            f'{path}: none of {len(found)} ASF files has a name that is a prefix of its own; '
            f'rename its skeleton to {path.stem}.asf'
        )
    return max(matching, key=lambda file: len(file.stem)) if matching else found[0]


def read_asf_amc(asf: str | Path, amc: str | Path) -> SkeletonMotion:
    """Reads the motion of an AMC on the skeleton of an ASF.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file has unexpected content or is truncated; names the line.
    """
    bones, unit = _read_asf(asf)
    angles = _read_amc(amc, bones, unit)
    names = [bone.name for bone in bones]
    parents = [names.index(bone.parent) if bone.parent else -1 for bone in bones]
    ends = [np.array(bone.direction) * bone.length for bone in bones]
    offsets = [ends[parent] if parent >= 0 else np.zeros(3) for parent in parents]
    local = []
    for bone, values in zip(bones, angles, strict=True):
        # The rotation listed first is applied first, so it is the rightmost factor.
        own = euler_rotation(bone.axes[::-1], np.array(bone.angles[::-1]) * unit)
        turns = [dof[1] for dof in bone.dofs if dof.startswith('r')]
        local.append(own @ euler_rotation(''.join(turns[::-1]), values[:, ::-1]) @ own.T)
    for leaf in sorted(set(range(len(bones))) - set(parents)):
        names.append(f'{names[leaf]} end')
        parents.append(leaf)
        offsets.append(ends[leaf])
        local.append(np.broadcast_to(np.eye(3), local[0].shape))
    return SkeletonMotion(
        str(amc),
        tuple(names),
        tuple(parents),
        np.array(offsets),
        world_rotations(np.stack(local, axis=1), tuple(parents)),
    )


def _read_asf(path: str | Path) -> tuple[list[Bone], float]:
    """Reads the bones, parents first, and the unit of their angles in radians."""
    lines = TextLines(path, comment='#')
    bones, unit, parents = [Bone(ROOT, parent='')], np.pi / 180, None
    while not lines.is_at_end:
        words = lines.next('')
        key = words[0].lower()
        if not key.startswith(':'):
            raise lines.unexpected(words, 'a section such as ":bonedata", as in an ASF file')
        if key == ':units':
            unit = _read_units(lines, unit)
        elif key == ':root':
            _read_root(lines, bones[0])
        elif key == ':bonedata':
            bones += _read_bones(lines)
        elif key == ':hierarchy':
            parents = _read_parents(lines, {bone.name for bone in bones})
        else:
            _skip_section(lines)
    if len(bones) == 1 or not parents or not bones[0].dofs:
        raise lines.error('the file ends here; expected :root, :bonedata and :hierarchy')
    by_name = {bone.name: bone for bone in bones}
    for name, parent in parents.items():
        by_name[name].parent = parent
    orphans = [bone.name for bone in bones if bone.parent is None]
    if orphans:
        raise lines.error(f':hierarchy does not name {", ".join(orphans)}')
    return [by_name[name] for name in (ROOT, *parents)], unit


def _skip_section(lines: TextLines) -> None:
    while lines.peek() and not lines.peek()[0].startswith(':'):
        lines.next('')


def _read_units(lines: TextLines, unit: float) -> float:
    while lines.peek() and not lines.peek()[0].startswith(':'):
        words = lines.next('')
        if words[0].lower() == 'angle':
            unit = 1.0 if words[-1].lower().startswith('rad') else np.pi / 180
    return unit


def _read_root(lines: TextLines, root: Bone) -> None:
    while lines.peek() and not lines.peek()[0].startswith(':'):
        words = lines.next('')
        key = words[0].lower()
        if key == 'order':
            root.dofs = _dofs(lines, words[1:])
        elif key == 'axis':
            root.axes = _axes(lines, words[-1])
        elif key == 'orientation':
            root.angles = tuple(lines.numbers(words[1:], 3, 'orientation'))


def _read_bones(lines: TextLines) -> list[Bone]:
    bones = []
    while lines.peek() and not lines.peek()[0].startswith(':'):
        words = lines.next('')
        if words[0].lower() != 'begin':
            raise lines.unexpected(words, '"begin" of a bone')
        bones.append(_read_bone(lines))
    return bones


def _read_bone(lines: TextLines) -> Bone:
    """Reads the lines from `begin` to `end`; masses and limits are ignored."""
    bone = Bone()
    while (words := lines.next('"end" of the bone'))[0].lower() != 'end':
        key = words[0].lower()
        if key.startswith(':') or key == 'begin':
            raise lines.unexpected(words, '"end" of the bone')
        if key == 'name':
            bone.name = ' '.join(words[1:])
        elif key == 'direction':
            bone.direction = tuple(lines.numbers(words[1:], 3, 'direction'))
        elif key == 'length':
            bone.length = lines.numbers(words[1:], 1, 'length')[0]
        elif key == 'axis':
            bone.angles = tuple(lines.numbers(words[1:4], 3, 'axis'))
            bone.axes = _axes(lines, words[-1])
        elif key == 'dof':
            bone.dofs = _dofs(lines, words[1:])
    if not bone.name:
        raise lines.error('the bone that ends here has no name')
    return bone


def _axes(lines: TextLines, word: str) -> str:
    if sorted(word.lower()) != ['x', 'y', 'z']:
        raise lines.error(f'axis: expected an order such as XYZ, found {word!r}')
    return word.lower()


def _dofs(lines: TextLines, words: list[str]) -> tuple[str, ...]:
    dofs = tuple(word.lower() for word in words)
    for dof in dofs:
        if dof not in DOFS:
            raise lines.error(f'unknown degree of freedom {dof!r}; expected {", ".join(DOFS)}')
    return dofs


def _read_parents(lines: TextLines, names: set[str]) -> dict[str, str]:
    """Reads the parent of each bone, parents first."""
    parents: dict[str, str] = {}
    words = lines.next('"begin" of the hierarchy')
    while (words := lines.next('"end" of the hierarchy'))[0].lower() != 'end':
        for name in words:
            if name not in names:
                raise lines.error(f':bonedata has no bone {name!r}')
        if words[0] != ROOT and words[0] not in parents:
            raise lines.error(f'{words[0]} has children before it has a parent')
        for child in words[1:]:
            if child in parents or child == ROOT:
                raise lines.error(f'{child} has two parents')
            parents[child] = words[0]
    return parents


def _read_amc(path: str | Path, bones: list[Bone], unit: float) -> list[np.ndarray]:
    """Reads the angles (T, n) of each bone, radians, in the order of its `dofs`."""
    lines = TextLines(path, comment='#')
    while lines.peek() and lines.peek()[0].startswith(':'):
        key = lines.next('')[0].lower()
        unit = {':degrees': np.pi / 180, ':radians': 1.0}.get(key, unit)
    dofs = {bone.name: bone.dofs for bone in bones if bone.dofs}
    frames: list[dict[str, list[float]]] = []
    while not lines.is_at_end:
        words = lines.next('')
        if len(words) == 1 and words[0].isdigit():
            _check_complete(lines, frames, dofs)
            frames.append({})
        elif frames and words[0] in dofs:
            frames[-1][words[0]] = lines.numbers(words[1:], len(dofs[words[0]]), words[0])
        else:
            raise lines.unexpected(words, 'a frame number or a bone of the ASF with a dof')
    if not frames:
        raise lines.error('the file ends here; expected frames, as in an AMC file')
    _check_complete(lines, frames, dofs)
    angles = []
    for bone in bones:
        values = np.array([frame[bone.name] if bone.dofs else [] for frame in frames])
        angles.append(
            values[:, [index for index, dof in enumerate(bone.dofs) if dof.startswith('r')]] * unit
        )
    return angles


def _check_complete(lines: TextLines, frames: list[dict], dofs: dict) -> None:
    """Raises an error if the last frame lacks bones."""
    missing = [name for name in dofs if frames and name not in frames[-1]]
    if missing:
        raise lines.error(f'frame {len(frames)} ends without {", ".join(missing)}')
