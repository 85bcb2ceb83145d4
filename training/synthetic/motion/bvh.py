"""Reads BVH files: a hierarchy of joints with channels, then one line of numbers per frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.synthetic.motion.skeleton_motion import (
    SkeletonMotion,
    euler_rotation,
    world_rotations,
)
from training.synthetic.motion.text_lines import TextLines

__all__ = ['read_bvh']

CHANNELS = tuple(f'{axis}{kind}' for kind in ('position', 'rotation') for axis in 'xyz')


@dataclass
class Hierarchy:
    """The joints of a file.

    Attributes:
        names: names of the joints, including ends of bones.
        parents: index of each parent, -1 for the root.
        offsets: offset from the parent, 3 numbers; empty until its line is read.
        channels: names of the channels, in lower case.
    """

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)

    def add(self, name: str, parent: int) -> None:
        """Adds a joint without offset and channels."""
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append([])
        self.channels.append([])


def read_bvh(path: str | Path) -> SkeletonMotion:
    """Reads the motion of a BVH file.

    Position channels, including those of the root, are ignored: a pose has only rotations.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has unexpected content or is truncated; names the line.
    """
    lines = TextLines(path)
    hierarchy = _read_hierarchy(lines)
    frames = _read_frames(lines, sum(map(len, hierarchy.channels)))
    local = np.tile(np.eye(3), (len(frames), len(hierarchy.names), 1, 1))
    first = 0
    for joint, channels in enumerate(hierarchy.channels):
        turns = [index for index, channel in enumerate(channels) if channel.endswith('rotation')]
        local[:, joint] = euler_rotation(
            ''.join(channels[index][0] for index in turns),
            np.radians(frames[:, [first + index for index in turns]]),
        )
        first += len(channels)
    parents = tuple(hierarchy.parents)
    return SkeletonMotion(
        str(path),
        tuple(hierarchy.names),
        parents,
        np.array(hierarchy.offsets),
        world_rotations(local, parents),
    )


def _read_hierarchy(lines: TextLines) -> Hierarchy:
    """Reads everything up to the word MOTION."""
    words = lines.next('HIERARCHY')
    if words[0].upper() != 'HIERARCHY':
        raise lines.unexpected(words, 'HIERARCHY, the first word of a BVH file')
    hierarchy = Hierarchy()
    is_open: list[int] = []
    while (words := lines.next('MOTION'))[0].upper() != 'MOTION':
        key = words[0].upper()
        if key in ('ROOT', 'JOINT', 'END'):
            _add_joint(lines, words, hierarchy, is_open)
        elif key == '{' and hierarchy.names and len(hierarchy.names) - 1 not in is_open:
            is_open.append(len(hierarchy.names) - 1)
        elif key == '}' and is_open:
            if not hierarchy.offsets[is_open.pop()]:
                raise lines.error('the joint that ends here has no OFFSET')
        elif key == 'OFFSET' and is_open:
            hierarchy.offsets[is_open[-1]] = lines.numbers(words[1:], 3, 'OFFSET')
        elif key == 'CHANNELS' and is_open:
            hierarchy.channels[is_open[-1]] = _channels(lines, words)
        else:
            raise lines.unexpected(words, 'a joint with OFFSET and CHANNELS in braces')
    if is_open or not hierarchy.names or not all(hierarchy.offsets):
        raise lines.error('MOTION comes before the hierarchy is complete; a brace is missing')
    return hierarchy


def _add_joint(
    lines: TextLines, words: list[str], hierarchy: Hierarchy, is_open: list[int]
) -> None:
    """Adds the joint, or the end of a bone, that begins at a line."""
    is_root = words[0].upper() == 'ROOT'
    if is_root and hierarchy.names:
        raise lines.error('a second ROOT; a file may contain only one person')
    if not is_root and not is_open:
        raise lines.unexpected(words, 'ROOT and its brace')
    if len(words) < 2:
        raise lines.error('a joint without a name')
    parent = is_open[-1] if is_open else -1
    is_end = words[0].upper() == 'END'
    hierarchy.add(f'{hierarchy.names[parent]} end' if is_end else ' '.join(words[1:]), parent)


def _channels(lines: TextLines, words: list[str]) -> list[str]:
    """Reads and checks the channels of a joint."""
    channels = [word.lower() for word in words[2:]]
    if words[1:2] != [str(len(channels))]:
        raise lines.error(f'CHANNELS declares {" ".join(words[1:2])} but names {len(channels)}')
    for channel in channels:
        if channel not in CHANNELS:
            raise lines.error(f'unknown channel {channel!r}; expected {", ".join(CHANNELS)}')
    return channels


def _read_frames(lines: TextLines, num_channels: int) -> np.ndarray:
    """Reads the numbers of all frames, (T, channels), in the file's unit."""
    words = lines.next('"Frames:"')
    if words[0].lower() != 'frames:' or len(words) != 2 or not words[1].isdigit():
        raise lines.unexpected(words, '"Frames:" and a number')
    count = int(words[1])
    words = lines.next('"Frame Time:"')
    if [word.lower() for word in words[:2]] != ['frame', 'time:']:
        raise lines.unexpected(words, '"Frame Time:" and a number')
    if count == 0:
        raise lines.error('the file has no frames')
    frames = []
    for number in range(1, count + 1):
        words = lines.next(f'frame {number} of {count}')
        frames.append(lines.numbers(words, num_channels, f'frame {number} of {count}'))
    if not lines.is_at_end:
        raise lines.unexpected(lines.next(''), f'the end of the file after {count} frames')
    return np.array(frames)
