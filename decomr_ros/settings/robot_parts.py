"""Parts of the robot: shapes in tf frames, from the parameter `robot_parts`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from decomr_core.geometry.nearest_points import RoundedBoxes

__all__ = ['RobotPart', 'joined_parts', 'parse_robot_parts']

FORMAT = 'expected FRAME RADIUS or FRAME RADIUS X Y Z, in metres, separated by semicolons'
MAX_SIZE_M = 100.0
"""Larger numbers are mistakes, such as millimetres."""


class RobotPart(NamedTuple):
    """The shapes that move with one tf frame.

    Attributes:
        frame: name of the frame.
        boxes: in the frame, metres; at least one.
    """

    frame: str
    boxes: RoundedBoxes


def parse_robot_parts(text: str) -> list[RobotPart]:
    """The parts that the parameter `robot_parts` describes; one for each frame.

    Args:
        text: e.g. `tool0 0.06; forearm_link 0.07 -0.39 0 0`: a sphere and a capsule. Entries of
            the same frame make one part.

    Raises:
        ValueError: an entry is invalid; the message contains it.
    """
    return joined_parts(
        [_parse_entry(entry.strip()) for entry in text.split(';') if entry.strip()]
    )


def joined_parts(parts: Sequence[RobotPart]) -> list[RobotPart]:
    """The parts with those of the same frame joined, in the order of the frames."""
    shapes: dict[str, list[RoundedBoxes]] = {}
    for part in parts:
        shapes.setdefault(part.frame, []).append(part.boxes)
    return [RobotPart(frame, RoundedBoxes.joined(boxes)) for frame, boxes in shapes.items()]


def _parse_entry(entry: str) -> RobotPart:
    """The part of one entry."""
    words = entry.replace(',', ' ').split()
    frame = ''.join(words[:1]).lstrip('/')  # tf2 rejects a leading slash
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        numbers = []
    if not frame or len(numbers) not in (1, 4) or not all(map(math.isfinite, numbers)):
        raise ValueError(f'robot_parts contains {entry!r}; {FORMAT}')
    radius, end = numbers[0], np.array([numbers[1:] or [0.0] * 3])
    if radius < 0 or max(map(abs, numbers)) > MAX_SIZE_M:
        raise ValueError(
            f'robot_parts contains {entry!r}, with a negative radius or more than '
            f'{MAX_SIZE_M:g} m; {FORMAT}'
        )
    return RobotPart(frame, RoundedBoxes.capsules(np.zeros((1, 3)), end, np.array([radius])))
