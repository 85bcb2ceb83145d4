"""What the page shows of a decomr/ProximityArray: the nearest line of each person, and gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from decomr_core.base.structures import person_or_people

if TYPE_CHECKING:
    from decomr.msg import Proximity, ProximityArray

__all__ = ['NearestLine', 'ShownDistances', 'distances_to_show']

UNKNOWN = '**distance unknown**'


@dataclass(frozen=True)
class NearestLine:
    """The smallest distance of one person from the robot.

    Attributes:
        points: (2, 3) nearest point of the robot and of the body, metres, frame of the message.
        distance_m: the distance.
        label: the distance and its interval as text.
        is_near: whether the distance is below the threshold.
    """

    points: np.ndarray
    distance_m: float
    label: str
    is_near: bool


class ShownDistances(NamedTuple):
    """What the page shows of one message.

    Attributes:
        lines: the nearest line of each person, by id.
        text: Markdown; it names what is unknown, and is never empty.
    """

    lines: dict[int, NearestLine]
    text: str

    @classmethod
    def unknown(cls, reason: str) -> ShownDistances:
        """No distance at all is known."""
        return cls({}, f'{UNKNOWN}: {reason}')


def distances_to_show(
    message: ProximityArray, frame_id: str, num_people: int, warning_m: float
) -> ShownDistances:
    """The lines and the text of the page.

    Args:
        message: the distances in one image.
        frame_id: frame of the page. In any other frame no line is drawn.
        num_people: number of people in the image, from `human_meshes`.
        warning_m: lines are red below this distance.
    """
    lines, words = {}, []
    if message.header.frame_id == frame_id:
        lines = _nearest_lines(message, warning_m)
    elif message.proximities:
        words.append(
            f'**distance not shown**: it is in the frame `{message.header.frame_id}`, but the '
            f'meshes are in `{frame_id}`; the page shows it if `proximity_frame` is empty'
        )
    if lines:
        words.append(f'nearest **{min(line.distance_m for line in lines.values()):.2f}** m')
    if reasons := _unknown_distances(message, num_people):
        words.append(f'{UNKNOWN}: {"; ".join(reasons)}')
    return ShownDistances(lines, '. '.join(words) or 'nobody detected')


def _nearest_lines(message: ProximityArray, warning_m: float) -> dict[int, NearestLine]:
    """The nearest line of each person, by id, without entries that are not finite."""
    nearest: dict[int, Proximity] = {}
    for entry in message.proximities:
        known = nearest.get(entry.id)
        if _is_finite(entry) and (known is None or entry.distance < known.distance):
            nearest[entry.id] = entry
    return {
        track_id: NearestLine(
            _points(entry),
            entry.distance,
            f'{entry.distance:.2f} m ({_interval(entry)})',
            entry.distance < warning_m,
        )
        for track_id, entry in nearest.items()
    }


def _unknown_distances(message: ProximityArray, num_people: int) -> list[str]:
    """What distances are unknown and why; empty: all are known."""
    reasons, unplaced = [], message.unplaced_people
    if unplaced:
        reasons.append(f'{unplaced} {person_or_people(unplaced)} without a position')
    if message.unknown_frames:
        reasons.append(f'no transform to `{"`, `".join(message.unknown_frames)}`')
    broken = sum(not _is_finite(entry) for entry in message.proximities)
    if broken:
        reasons.append(f'{broken} of {len(message.proximities)} distances are not finite')
    missing = num_people - unplaced - len({entry.id for entry in message.proximities})
    if missing > 0 and not message.unknown_frames:
        reasons.append(f'{missing} {person_or_people(missing)} without a distance')
    return reasons


def _points(entry: Proximity) -> np.ndarray:
    return np.array(
        [[point.x, point.y, point.z] for point in (entry.robot_point, entry.body_point)]
    )


def _interval(entry: Proximity) -> str:
    if not math.isfinite(entry.distance_low + entry.distance_high):
        return 'interval unknown'
    return f'{entry.distance_low:.2f} to {entry.distance_high:.2f}'


def _is_finite(entry: Proximity) -> bool:
    return math.isfinite(entry.distance) and bool(np.isfinite(_points(entry)).all())
