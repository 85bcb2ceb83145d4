"""Boxes of people that another node has found: vision_msgs/Detection2DArray.

vision_msgs is optional and imported here alone. Its layout changed with version 4 (Humble):
`bbox.center.position.x` and `hypothesis.class_id` before were `bbox.center.x` and `id`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from decomr_core.detection import Detections
from decomr_ros.bad_input import BadInput
from decomr_ros.installation import install_hint

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:
    Detection2DArray = None

__all__ = ['detection_message_type', 'people_from_detections']

FARTHEST_PX = 1e6
"""No image is so large that a box in it has such coordinates."""


def detection_message_type() -> type:
    """vision_msgs/Detection2DArray.

    Raises:
        RuntimeError: vision_msgs is not installed.
    """
    if Detection2DArray is None:
        raise RuntimeError('use_boxes is true, but the package vision_msgs is not installed; '
                           f'{install_hint("vision_msgs")}, or set use_boxes to false')
    return Detection2DArray


def people_from_detections(message: Detection2DArray, classes: Iterable[str]) -> Detections:
    """The people among the detections, the most certain first.

    A detection counts with the best score that one of the classes has in it; one without any
    hypothesis counts as certain where every class is welcome.

    Args:
        message: the detections of one image.
        classes: names or ids of the classes that are people; none: everything is.

    Raises:
        BadInput: a box is none.
    """
    wanted = set(classes)
    boxes, scores = [], []
    for detection in message.detections:
        score = _score(detection, wanted)
        if score is not None:
            boxes.append(_box(detection.bbox))
            scores.append(score)
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    scores = np.array(scores, np.float64)
    is_near = (np.abs(boxes) < FARTHEST_PX).all(1)  # NaN is not near either
    wrong = ~is_near | ~(boxes[:, 2:] > boxes[:, :2]).all(1) | ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise BadInput('boxes', f'detection with the box {boxes[index].tolist()} (x_min, y_min, '
                                f'x_max, y_max) and the score {scores[index]:g}, expected px '
                                f'below {FARTHEST_PX:g}, sizes above 0 and a score in '
                                '[0, 1]; check the detector')
    order = np.argsort(-scores, kind='stable')
    return Detections(boxes[order].astype(np.float32), scores[order].astype(np.float32))


def _score(detection: object, wanted: set[str]) -> float | None:
    """The best score of a wanted class; None where there is none."""
    if not detection.results and not wanted:
        return 1.0
    scores = []
    for result in detection.results:
        hypothesis = getattr(result, 'hypothesis', result)
        name = str(getattr(hypothesis, 'class_id', getattr(hypothesis, 'id', '')))
        if not wanted or name in wanted:
            scores.append(float(hypothesis.score))
    # A score that is no number must be seen, not lost among the others.
    return max(scores, key=lambda score: (math.isnan(score), score)) if scores else None


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
