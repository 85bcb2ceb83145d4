"""Converts the box messages of other detectors into one layout.

| `boxes_type` | detector |
|---|---|
| vision_msgs/Detection2DArray | the standard; Isaac ROS, depthai_ros_driver without depth |
| yolo_msgs/DetectionArray | yolo_ros |
| vision_msgs/Detection3DArray | depthai_ros_driver with depth: in pixels instead of metres |

The result has the layout of `vision_msgs/Detection2DArray` for header, boxes and hypotheses, which
`boxes.py` reads. The packages are optional. docs/detectors.md explains the use of each detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from decomr_ros.node.installation import install_hint

__all__ = [
    'BOXES_TYPES',
    'DETECTION_2D',
    'DETECTION_3D',
    'YOLO',
    'BoxMessage',
    'box_message',
    'graph_type',
]

DETECTION_2D = 'vision_msgs/Detection2DArray'
YOLO = 'yolo_msgs/DetectionArray'
DETECTION_3D = 'vision_msgs/Detection3DArray'
BOXES_TYPES = ('auto', DETECTION_2D, YOLO, DETECTION_3D)
"""The choices of the parameter `boxes_type`."""

YOLO_HINT = (
    'build it in the workspace of yolo_ros (colcon build --packages-select yolo_msgs) '
    'and source that workspace'
)


class BoxMessage(NamedTuple):
    """A message type with boxes."""

    type: type
    """Type of the subscription."""
    to_detections: Callable[[Any], Any]
    """Converts a message to the layout of vision_msgs/Detection2DArray."""


def graph_type(name: str) -> str:
    """The name of a type in the ROS graph, e.g. vision_msgs/msg/Detection2DArray."""
    package, _, message = name.partition('/')
    return f'{package}/msg/{message}'


def box_message(name: str, detection_2d_type: Callable[[], type]) -> BoxMessage:
    """The message type of a name in `BOXES_TYPES` other than auto.

    Args:
        name: of the type.
        detection_2d_type: returns vision_msgs/Detection2DArray.

    Raises:
        RuntimeError: its package is not installed.
    """
    if name == YOLO:
        return BoxMessage(_yolo_type(), _from_yolo)
    if name == DETECTION_3D:
        return BoxMessage(_detection_3d_type(), _from_depthai)
    return BoxMessage(detection_2d_type(), lambda message: message)


def _yolo_type() -> type:
    try:
        from yolo_msgs.msg import DetectionArray
    except ImportError as error:
        raise RuntimeError(
            f'boxes of the type {YOLO} need the package yolo_msgs, which is not '
            f'installed; {YOLO_HINT}, or set use_boxes to false'
        ) from error
    return DetectionArray


def _detection_3d_type() -> type:
    try:
        from vision_msgs.msg import Detection3DArray
    except ImportError as error:
        raise RuntimeError(
            f'boxes of the type {DETECTION_3D} need the package vision_msgs, which '
            f'is not installed; {install_hint("vision_msgs")}, or set use_boxes '
            'to false'
        ) from error
    return Detection3DArray


def _from_yolo(message: Any) -> SimpleNamespace:
    """yolo_msgs/DetectionArray: boxes in px of the image, classes by name and by number."""
    return SimpleNamespace(
        header=message.header,
        detections=[
            SimpleNamespace(
                bbox=SimpleNamespace(
                    center=detection.bbox.center,
                    size_x=detection.bbox.size.x,
                    size_y=detection.bbox.size.y,
                ),
                id=detection.id,
                results=list(_yolo_hypotheses(detection)),
            )
            for detection in message.detections
        ],
    )


def _yolo_hypotheses(detection: Any) -> Iterator[SimpleNamespace]:
    for class_id in filter(None, (detection.class_name, str(detection.class_id))):
        yield SimpleNamespace(hypothesis=SimpleNamespace(class_id=class_id, score=detection.score))


def _from_depthai(message: Any) -> SimpleNamespace:
    """vision_msgs/Detection3DArray of depthai_ros_driver.

    Centre and size of its boxes are in px of the network's input. The position in metres is in the
    pose of the hypothesis and is not used.
    """
    return SimpleNamespace(
        header=message.header,
        detections=[
            SimpleNamespace(
                bbox=SimpleNamespace(
                    center=SimpleNamespace(position=detection.bbox.center.position, theta=0.0),
                    size_x=detection.bbox.size.x,
                    size_y=detection.bbox.size.y,
                ),
                id=getattr(detection, 'id', ''),
                results=detection.results,
            )
            for detection in message.detections
        ],
    )
