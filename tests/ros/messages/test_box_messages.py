"""Boxes of other detectors, with fakes of their messages, which are not among the wheels."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import pytest

from decomr_ros.messages.box_messages import (
    DETECTION_2D,
    DETECTION_3D,
    YOLO,
    box_message,
    graph_type,
)
from decomr_ros.messages.boxes import people_from_detections
from tests.ros.fake_node import hide, stand_in
from tests.ros.messages.test_boxes import detection


class DetectionArray:
    """Of yolo_msgs."""

    __module__ = 'yolo_msgs.msg'


class Detection3DArray:
    """Of vision_msgs."""

    __module__ = 'vision_msgs.msg'


def yolo_detection(
    name: str = 'person',
    number: int = 0,
    score: float = 0.9,
    size: tuple[float, float] = (20.0, 40.0),
    theta: float = 0.0,
) -> Message:
    """A yolo_msgs/Detection at (50, 60)."""
    return Message(
        class_id=number,
        class_name=name,
        score=score,
        id='7',
        bbox=Message(
            center=Message(position=Message(x=50.0, y=60.0), theta=theta),
            size=Message(x=size[0], y=size[1]),
        ),
    )


def spatial_detection(name: str = '15', score: float = 0.9) -> Message:
    """A vision_msgs/Detection3D as depthai_ros_driver fills it, at (50, 60) px, 4 m away."""
    place = Message(pose=Message(position=Message(x=0.1, y=0.2, z=4.0)))
    return Message(
        results=[Message(hypothesis=Message(class_id=name, score=score), pose=place)],
        bbox=Message(
            center=Message(
                position=Message(x=50.0, y=60.0, z=0.0),
                orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0),
            ),
            size=Message(x=20.0, y=40.0, z=0.01),
        ),
    )


def test_boxes_of_yolo_ros_are_those_of_the_standard_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch, 'yolo_msgs', DetectionArray)
    made = box_message(YOLO, pytest.fail)
    assert made.type is DetectionArray
    message = Message(
        header='stamp',
        detections=[
            yolo_detection(score=0.5),
            yolo_detection('dog', 16),
            yolo_detection('', 0, 0.7),
            yolo_detection(score=0.6, theta=np.pi / 2),
        ],
    )
    heard = made.to_detections(message)
    assert heard.header == 'stamp'
    seen = people_from_detections(heard, ['person', '0']).people
    np.testing.assert_allclose(seen.scores, [0.6, 0.5])
    np.testing.assert_allclose(seen.boxes, [[30, 50, 70, 70], [40, 40, 60, 80]], atol=1e-4)
    # By the number too: models of one's own may have no names.
    by_number = people_from_detections(heard, ['0']).people
    np.testing.assert_allclose(by_number.scores, [0.7, 0.6, 0.5])
    assert len(people_from_detections(heard, []).people.scores) == 4
    assert people_from_detections(heard, ['person']).other_classes == {'dog': 1, '0': 1}


def test_boxes_of_depthai_with_depth_are_read_as_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, 'vision_msgs', Detection3DArray)
    made = box_message(DETECTION_3D, pytest.fail)
    assert made.type is Detection3DArray
    heard = made.to_detections(
        Message(header='stamp', detections=[spatial_detection(), spatial_detection('12')])
    )
    seen = people_from_detections(heard, ['15']).people
    np.testing.assert_array_equal(seen.boxes, [[40, 40, 60, 80]])
    np.testing.assert_allclose(seen.scores, [0.9])


def test_the_standard_message_is_passed_unchanged() -> None:
    made = box_message(DETECTION_2D, lambda: Message)
    message = Message(header='stamp', detections=[detection()])
    assert (made.type, made.to_detections(message)) == (Message, message)


@pytest.mark.parametrize(
    ('name', 'package', 'said'),
    [
        (YOLO, 'yolo_msgs', 'colcon build --packages-select yolo_msgs'),
        (DETECTION_3D, 'vision_msgs', 'ros-humble-vision-msgs'),
    ],
)
def test_without_its_package_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, said: str
) -> None:
    hide(monkeypatch, package)
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(RuntimeError) as caught:
        box_message(name, pytest.fail)
    assert said in str(caught.value)
    assert name in str(caught.value)


def test_types_are_named_as_in_the_graph() -> None:
    assert graph_type(YOLO) == 'yolo_msgs/msg/DetectionArray'
