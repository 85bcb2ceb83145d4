"""Counts and reports boxes of another detector that are left out."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.people.detection import Detections

if TYPE_CHECKING:
    from decomr_ros.messages.boxes import FoundPeople
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['BoxChecks']

# Number of classes that are counted by name, and number that are named in a log line.
MAX_CLASSES, MAX_NAMED = 40, 5
# Fields that a detector may fill in but that the node does not use.
UNUSED = {
    'id': 'detections on {topic} have ids, which are not used: people get the ids of this '
    "node's own tracker",
    'theta': 'boxes on {topic} are rotated (theta): the upright boxes around them are used',
    'pose': 'detections on {topic} have poses, which are not used',
}


class BoxChecks:
    """Counts and reports detections that are left out; thread-safe.

    Attributes:
        left_out: number of detections of other classes, by class id.
        below_min_score: number of boxes of people below `min_score`.
    """

    def __init__(self, warnings: StandingWarnings, topic: str) -> None:
        """Stores the warnings to update and the full name of the topic."""
        self._warnings, self._topic = warnings, topic
        self._lock = threading.Lock()
        self._class_ids: str | None = None
        self._has_found = False
        self.left_out: Counter[str] = Counter()
        self.below_min_score = 0

    def check(self, found: FoundPeople, class_ids: str) -> None:
        """Counts the detections of a message that are not people.

        Args:
            found: the people and the other classes of the message.
            class_ids: the parameter person_class_ids with which it was read.
        """
        with self._lock:
            if class_ids != self._class_ids:
                self._class_ids, self._has_found = class_ids, False
            self._has_found |= len(found.people.boxes) > 0
            for name, count in found.other_classes.items():
                is_counted = name in self.left_out or len(self.left_out) < MAX_CLASSES
                self.left_out[name if is_counted else '(others)'] += count
        self._warnings.end_soon('bad_boxes')
        for field in found.unused:
            self._warnings.note(f'boxes_{field}', UNUSED[field].format(topic=self._topic))
        if self._has_found:
            self._warnings.end_soon('boxes_class')
            for name in found.other_classes:
                self._warnings.note(
                    f'boxes_class_{name}',
                    f'detections of class {name!r} on '
                    f'{self._topic} are left out: not in person_class_ids '
                    f'({class_ids})',
                )
        elif found.other_classes:
            self._warnings.set(
                'boxes_class', self._no_person_text(class_ids), sum(found.other_classes.values())
            )

    def usable(
        self, people: Detections, width: int, height: int, parameters: NodeParameters
    ) -> Detections:
        """The people whose boxes are inside the image and have a score of at least `min_score`.

        A box whose centre is outside the image is left out: it refers to an image of another
        size.

        Args:
            people: boxes in px of the camera image (not undistorted).
            width: of the image, px.
            height: of the image, px.
            parameters: the parameters.
        """
        centres = (people.boxes[:, :2] + people.boxes[:, 2:]) / 2
        is_inside = ((centres >= -0.5) & (centres < np.array([width, height]) - 0.5)).all(1)
        if not is_inside.all():
            farthest = people.boxes[:, 2:].max(0)
            self._warnings.set(
                'boxes_size',
                f'{(~is_inside).sum()} boxes on {self._topic} have their centre '
                f'outside the image of {width}x{height} px, up to x {farthest[0]:.0f}, y '
                f'{farthest[1]:.0f}, and are left out: they refer to an image of another size; '
                'run the detector on the image topic of this node, or set boxes_width, '
                'boxes_height and boxes_fit to how the detector resizes it',
                int((~is_inside).sum()),
            )
        elif len(people.boxes):
            self._warnings.end_soon('boxes_size')
        is_confident = people.scores >= parameters.min_score
        if not is_confident.all():
            self.below_min_score += int((~is_confident).sum())
            self._warnings.note(
                'boxes_min_score',
                f'boxes on {self._topic} below min_score ({parameters.min_score:g}) are left out',
            )
        return people.select(np.flatnonzero(is_inside & is_confident))

    def values(self) -> dict[str, str]:
        """The counts for /diagnostics, as text by name; only those that occurred."""
        with self._lock:
            values = {
                f'boxes_left_out_{name}': str(count)
                for name, count in sorted(self.left_out.items())
            }
        if self.below_min_score:
            values['boxes_below_min_score'] = str(self.below_min_score)
        return values

    def _no_person_text(self, class_ids: str) -> str:
        """The warning that no detection so far is a person."""
        classes = ', '.join(
            f'{name} ({count})' for name, count in self.left_out.most_common(MAX_NAMED)
        )
        text = (
            f'no detection on {self._topic} has a class in person_class_ids ({class_ids}); '
            f'classes seen: {classes}. If one of them is a person, add it to '
            'person_class_ids'
        )
        if any(name.isdecimal() for name in self.left_out):
            text += (
                '; with numbers, a person is 0 in the 80 classes of COCO (YOLO) and 1 in '
                'the 91 (torchvision, TensorFlow)'
            )
        return text
