"""Boxes of people that another node has found: vision_msgs/Detection2DArray.

vision_msgs is optional and imported here alone. Its layout changed with version 4 (Humble):
`bbox.center.position.x` and `hypothesis.class_id` before were `bbox.center.x` and `id`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from decomr_core.people.detection import Detections
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.node.installation import install_hint

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:
    Detection2DArray = None

__all__ = ['FoundPeople', 'class_ids_from_text', 'detection_message_type',
           'people_from_detections']

FARTHEST_PX = 1e6
"""No image is so large that a box in it has such coordinates."""

NORMALISED = 1.5
"""No person is within so many px of the first pixel; boxes in shares of the image are, a little
beyond its edge too."""


def detection_message_type() -> type:
    """vision_msgs/Detection2DArray.

    Raises:
        RuntimeError: vision_msgs is not installed.
    """
    if Detection2DArray is None:
        raise RuntimeError('use_boxes is true, but the package vision_msgs is not installed; '
                           f'{install_hint("vision_msgs")}, or set use_boxes to false')
    return Detection2DArray


@dataclass(frozen=True)
class FoundPeople:
    """What the detections of one message say about people.

    Attributes:
        people: the detections that are people, the most certain first.
        other_classes: how many detections were left out, by class id.
        unused: fields that the message fills in and that are not read, e.g. `theta`.
    """

    people: Detections
    other_classes: Counter[str]
    unused: tuple[str, ...] = ()


def class_ids_from_text(text: str) -> frozenset[str]:
    """The parameter `person_class_ids`: class ids, lower case; empty: every class counts."""
    return frozenset(name.strip().lower() for name in text.split(',') if name.strip())


def people_from_detections(message: Detection2DArray, class_ids: Iterable[str]) -> FoundPeople:
    """The people among the detections.

    A detection counts with the best score that one of the classes has in it; one without any
    hypothesis counts as certain where every class is welcome. Class ids are compared in lower
    case. Where a message has names of classes, numbers among `class_ids` do not count beside the
    names there: they are meant for detectors that give numbers alone.

    Args:
        message: the detections of one image.
        class_ids: of people, lower case; none: everything is.

    Raises:
        BadInput: a box is none, or the boxes are not in px.
    """
    wanted = set(class_ids)
    if any(map(_is_name, map(_class_id, _hypotheses(message)))):
        named = set(filter(_is_name, wanted))
        # Whoever asks for numbers alone means them.
        wanted = named or wanted
    boxes, scores, others = [], [], Counter()
    for detection in message.detections:
        score = _score(detection, wanted)
        if score is None:
            others[_best_class(detection)] += 1
        else:
            boxes.append(_box(detection.bbox))
            scores.append(score)
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    scores = np.array(scores, np.float64)
    _check(boxes, scores)
    order = np.argsort(-scores, kind='stable')
    return FoundPeople(
        Detections(boxes[order].astype(np.float32), scores[order].astype(np.float32)), others,
        _unused(message))


def _check(boxes: np.ndarray, scores: np.ndarray) -> None:
    """Refuses boxes (B, 4) and scores (B,) that no detector means for an image in px."""
    is_near = (np.abs(boxes) < FARTHEST_PX).all(1)  # NaN is not near either
    wrong = ~is_near | ~(boxes[:, 2:] > boxes[:, :2]).all(1) | ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise BadInput('boxes', f'detection with the box {boxes[index].tolist()} (x_min, y_min, '
                                f'x_max, y_max) and the score {scores[index]:g}, expected px '
                                f'below {FARTHEST_PX:g}, sizes above 0 and a score in '
                                '[0, 1]; check the detector')
    if len(boxes) and (np.abs(boxes) <= NORMALISED).all():
        raise BadInput('boxes', f'all {len(boxes)} boxes lie within {NORMALISED:g} px of the '
                                'first pixel: they look normalised to 0..1, and are left out, '
                                'since nobody says by which size; let the detector publish px '
                                'of the image')


def _hypotheses(message: Detection2DArray) -> Iterator[object]:
    for detection in message.detections:
        for result in detection.results:
            yield getattr(result, 'hypothesis', result)


def _class_id(hypothesis: object) -> str:
    """As the detector writes it, without blanks around."""
    return str(getattr(hypothesis, 'class_id', getattr(hypothesis, 'id', ''))).strip()


def _is_name(class_id: str) -> bool:
    return bool(class_id) and not class_id.isdecimal()


def _best_class(detection: object) -> str:
    """The class id with the best score; what stands for none where there is none."""
    hypotheses = [getattr(result, 'hypothesis', result) for result in detection.results]
    if not hypotheses:
        return '(no hypothesis)'
    best = max(hypotheses, key=lambda hypothesis: hypothesis.score)
    return _class_id(best) or '(empty)'


def _score(detection: object, wanted: set[str]) -> float | None:
    """The best score of a wanted class; None where there is none."""
    if not detection.results and not wanted:
        return 1.0
    scores = []
    for result in detection.results:
        hypothesis = getattr(result, 'hypothesis', result)
        if not wanted or _class_id(hypothesis).lower() in wanted:
            scores.append(float(hypothesis.score))
    # A score that is no number must be seen, not lost among the others.
    return max(scores, key=lambda score: (math.isnan(score), score)) if scores else None


def _unused(message: Detection2DArray) -> tuple[str, ...]:
    """Fields that the first detection fills in and that nothing here reads."""
    if not message.detections:
        return ()
    first, found = message.detections[0], []
    if getattr(first, 'id', '') or getattr(first, 'tracking_id', ''):
        found.append('id')
    if first.bbox.center.theta:
        found.append('theta')
    pose = getattr(first.results[0], 'pose', None) if first.results else None
    if pose is not None and any((pose.pose.position.x, pose.pose.position.y,
                                 pose.pose.position.z)):
        found.append('pose')
    return tuple(found)


def _box(bounding_box: object) -> list[float]:
    """The upright box around one that may be turned: x_min, y_min, x_max, y_max, px."""
    center = bounding_box.center
    position = getattr(center, 'position', center)
    size_x, size_y = bounding_box.size_x, bounding_box.size_y
    if math.isfinite(center.theta):
        cosine, sine = abs(math.cos(center.theta)), abs(math.sin(center.theta))
        size_x, size_y = cosine * size_x + sine * size_y, sine * size_x + cosine * size_y
    return [position.x - size_x / 2, position.y - size_y / 2,
            position.x + size_x / 2, position.y + size_y / 2]
