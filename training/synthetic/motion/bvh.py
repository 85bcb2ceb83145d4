"""BVH files: a hierarchy of joints with their channels, then a line of numbers per frame."""

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
    """The joints as they are read.

    Attributes:
        names: one per joint; ends of bones have one too.
        parents: number of the parent, -1 for the first.
        offsets: from the parent, 3 numbers; none where the line is missing.
        channels: names of the channels, in lower case.
    """

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)

    def add(self, name: str, parent: int) -> None:
        """A joint about which nothing is known yet."""
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append([])
        self.channels.append([])


def read_bvh(path: str | Path) -> SkeletonMotion:
    """The motion of a BVH file.

    Positions that change are passed over, the root's too: only rotations make a pose.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or ends too early; names the line.
    """
    lines = TextLines(path)
    hierarchy = _read_hierarchy(lines)
    frames = _read_frames(lines, sum(map(len, hierarchy.channels)))
    local = np.tile(np.eye(3), (len(frames), len(hierarchy.names), 1, 1))
    first = 0
    for joint, channels in enumerate(hierarchy.channels):
        turns = [index for index, channel in enumerate(channels) if channel.endswith('rotation')]
        local[:, joint] = euler_rotation(''.join(channels[index][0] for index in turns),
                                         np.radians(frames[:, [first + index for index in turns]]))
        first += len(channels)
    parents = tuple(hierarchy.parents)
    return SkeletonMotion(str(path), tuple(hierarchy.names), parents, np.array(hierarchy.offsets),
                          world_rotations(local, parents))


def _read_hierarchy(lines: TextLines) -> Hierarchy:
    """All up to the word MOTION."""
    words = lines.next('HIERARCHY')
    if words[0].upper() != 'HIERARCHY':
        raise lines.unexpected(words, 'HIERARCHY, as a BVH file begins')
    hierarchy, is_open = Hierarchy(), []
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


def _add_joint(lines: TextLines, words: list[str], hierarchy: Hierarchy,
               is_open: list[int]) -> None:
    """A line that begins a joint, or the end of a bone."""
    is_root = words[0].upper() == 'ROOT'
    if is_root and hierarchy.names:
        raise lines.error('a second ROOT; a file may hold one person only')
    if not is_root and not is_open:
        raise lines.unexpected(words, 'ROOT and its brace')
    if len(words) < 2:
        raise lines.error('a joint without a name')
    parent = is_open[-1] if is_open else -1
    is_end = words[0].upper() == 'END'
    hierarchy.add(f'{hierarchy.names[parent]} end' if is_end else ' '.join(words[1:]), parent)


def _channels(lines: TextLines, words: list[str]) -> list[str]:
    """The channels of a joint, checked."""
    channels = [word.lower() for word in words[2:]]
    if words[1:2] != [str(len(channels))]:
        raise lines.error(f'CHANNELS announces {" ".join(words[1:2])} and names {len(channels)}')
    for channel in channels:
        if channel not in CHANNELS:
            raise lines.error(f'there is no channel {channel!r}; take {", ".join(CHANNELS)}')
    return channels


def _read_frames(lines: TextLines, num_channels: int) -> np.ndarray:
    """(T, channels) the numbers of all frames, as they are in the file."""
    words = lines.next('"Frames:"')
    if words[0].lower() != 'frames:' or len(words) != 2 or not words[1].isdigit():
        raise lines.unexpected(words, '"Frames:" and how many')
    count = int(words[1])
    words = lines.next('"Frame Time:"')
    if [word.lower() for word in words[:2]] != ['frame', 'time:']:
        raise lines.unexpected(words, '"Frame Time:" and a number')
    if count == 0:
        raise lines.error('there is no frame')
    frames = []
    for number in range(1, count + 1):
        words = lines.next(f'frame {number} of {count}')
        frames.append(lines.numbers(words, num_channels, f'frame {number} of {count}'))
    if not lines.is_at_end:
        raise lines.unexpected(lines.next(''), f'the end after {count} frames')
    return np.array(frames)
