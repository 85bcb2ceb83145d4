"""Boxes of people from another detector: vision_msgs/Detection2DArray.

vision_msgs is optional and imported only here. Its layout changed with version 4 (Humble):
`bbox.center.x` and `id` became `bbox.center.position.x` and `hypothesis.class_id`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from decomr_core.people.detection import Detections
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.node.installation import install_hint

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:
    Detection2DArray = None

__all__ = [
    'FoundPeople',
    'class_ids_from_text',
    'detection_message_type',
    'people_from_detections',
]

FARTHEST_PX = 1e6
"""Upper limit of plausible coordinates."""

NORMALISED = 1.5
"""Coordinates up to this indicate normalised boxes, which may slightly exceed the image."""


def detection_message_type() -> type:
    """vision_msgs/Detection2DArray.

    Raises:
        RuntimeError: vision_msgs is not installed.
    """
    if Detection2DArray is None:
        raise RuntimeError(
            'use_boxes is true, but the package vision_msgs is not installed; '
            f'{install_hint("vision_msgs")}, or set use_boxes to false'
        )
    return Detection2DArray


@dataclass(frozen=True)
class FoundPeople:
    """The people among the detections of one message.

    Attributes:
        people: the detections of people in descending order of score.
        other_classes: number of detections of other classes, by class id.
        unused: fields that the message fills in but that are ignored, e.g. `theta`.
    """

    people: Detections
    other_classes: Counter[str]
    unused: tuple[str, ...] = ()


def class_ids_from_text(text: str) -> frozenset[str]:
    """The class ids in the parameter `person_class_ids`, lower case; empty: every class."""
    return frozenset(name.strip().lower() for name in text.split(',') if name.strip())


def people_from_detections(message: Detection2DArray, class_ids: Iterable[str]) -> FoundPeople:
    """The people among the detections.

    The score of a detection is the best score of the given classes; without a hypothesis it is 1
    if every class is accepted. Class ids are compared in lower case. If the message has class
    names and `class_ids` contains names, the numbers in `class_ids` are ignored: they are meant
    for detectors without class names.

    Args:
        message: the detections of one image.
        class_ids: classes of people, lower case; empty: every class.

    Raises:
        BadInput: a box is invalid, or the boxes are not in px.
    """
    accepted = set(class_ids)
    if any(map(_is_name, map(_class_id, _hypotheses(message)))):
        # A list of numbers only is used as it is.
        accepted = set(filter(_is_name, accepted)) or accepted
    box_list: list[list[float]] = []
    score_list: list[float] = []
    others: Counter[str] = Counter()
    for detection in message.detections:
        score = _score(detection, accepted)
        if score is None:
            others[_best_class(detection)] += 1
        else:
            box_list.append(_box(detection.bbox))
            score_list.append(score)
    boxes = np.array(box_list, np.float64).reshape(-1, 4)
    scores = np.array(score_list, np.float64)
    _check(boxes, scores)
    order = np.argsort(-scores, kind='stable')
    return FoundPeople(
        Detections(boxes[order].astype(np.float32), scores[order].astype(np.float32)),
        others,
        _unused(message),
    )


def _check(boxes: np.ndarray, scores: np.ndarray) -> None:
    """Rejects invalid boxes (B, 4), boxes that are not in px, and invalid scores (B,)."""
    is_near = (np.abs(boxes) < FARTHEST_PX).all(1)  # NaN is not near either
    wrong = ~is_near | ~(boxes[:, 2:] > boxes[:, :2]).all(1) | ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise BadInput(
            'boxes',
            f'detection with the box {boxes[index].tolist()} (x_min, y_min, '
            f'x_max, y_max) and the score {scores[index]:g}, expected px '
            f'below {FARTHEST_PX:g}, sizes above 0 and a score in '
            '[0, 1]; check the detector',
        )
    if len(boxes) and (np.abs(boxes) <= NORMALISED).all():
        raise BadInput(
            'boxes',
            f'all {len(boxes)} boxes are within {NORMALISED:g} px of the '
            'first pixel: they seem to be normalised to 0..1 by an unknown '
            'size, and are ignored; configure the detector to publish boxes '
            'in px of the image',
        )


def _hypotheses(message: Detection2DArray) -> Iterator[Any]:
    for detection in message.detections:
        for result in detection.results:
            yield getattr(result, 'hypothesis', result)


def _class_id(hypothesis: Any) -> str:
    """The class id without surrounding blanks."""
    return str(getattr(hypothesis, 'class_id', getattr(hypothesis, 'id', ''))).strip()


def _is_name(class_id: str) -> bool:
    return bool(class_id) and not class_id.isdecimal()


def _best_class(detection: Any) -> str:
    """The class id with the best score, or a placeholder in brackets."""
    hypotheses = [getattr(result, 'hypothesis', result) for result in detection.results]
    if not hypotheses:
        return '(no hypothesis)'
    best = max(hypotheses, key=lambda hypothesis: hypothesis.score)
    return _class_id(best) or '(empty)'


def _score(detection: Any, accepted: set[str]) -> float | None:
    """The best score of an accepted class; None if there is none."""
    if not detection.results and not accepted:
        return 1.0
    scores = []
    for result in detection.results:
        hypothesis = getattr(result, 'hypothesis', result)
        if not accepted or _class_id(hypothesis).lower() in accepted:
            scores.append(float(hypothesis.score))
    # NaN takes precedence, so that `_check` rejects it.
    return max(scores, key=lambda score: (math.isnan(score), score)) if scores else None


def _unused(message: Detection2DArray) -> tuple[str, ...]:
    """Fields that the first detection fills in but that are ignored."""
    if not message.detections:
        return ()
    first, found = message.detections[0], []
    if getattr(first, 'id', '') or getattr(first, 'tracking_id', ''):
        found.append('id')
    if first.bbox.center.theta:
        found.append('theta')
    pose = getattr(first.results[0], 'pose', None) if first.results else None
    if pose is not None and any(
        (pose.pose.position.x, pose.pose.position.y, pose.pose.position.z)
    ):
        found.append('pose')
    return tuple(found)


def _box(bounding_box: Any) -> list[float]:
    """The upright box around a possibly rotated box: x_min, y_min, x_max, y_max, px."""
    center = bounding_box.center
    position = getattr(center, 'position', center)
    size_x, size_y = bounding_box.size_x, bounding_box.size_y
    if math.isfinite(center.theta):
        cosine, sine = abs(math.cos(center.theta)), abs(math.sin(center.theta))
        size_x, size_y = cosine * size_x + sine * size_y, sine * size_x + cosine * size_y
    return [
        position.x - size_x / 2,
        position.y - size_y / 2,
        position.x + size_x / 2,
        position.y + size_y / 2,
    ]
