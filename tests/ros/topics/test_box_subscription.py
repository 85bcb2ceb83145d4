"""Which type of boxes the node subscribes to, with a node that only records subscriptions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from decomr_ros.inputs import box_input
from decomr_ros.inputs.inputs import Inputs
from decomr_ros.messages.box_messages import DETECTION_3D, YOLO
from decomr_ros.node import standing_warnings
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.fake_node import hide, stand_in
from tests.ros.inputs.test_inputs import Notes, gray, header, node, start
from tests.ros.messages.test_box_messages import (
    Detection3DArray,
    DetectionArray,
    spatial_detection,
    yolo_detection,
)
from tests.ros.messages.test_boxes import detection

__all__ = ['node']  # the fixture


class Detection2DArray:
    """Of vision_msgs."""

    __module__ = 'vision_msgs.msg'


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages."""
    stand_in(monkeypatch, 'yolo_msgs', DetectionArray)
    stand_in(monkeypatch, 'vision_msgs', Detection3DArray)
    monkeypatch.setattr(standing_warnings, 'LASTING_S', 0.0)
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: Detection2DArray)


def _publish(node: Notes, monkeypatch: pytest.MonkeyPatch, *types: str) -> list[type]:
    """Sets the types of the topic in the graph; returns the subscribed types."""
    monkeypatch.setattr(
        node,
        'get_publishers_info_by_topic',
        lambda topic: [
            SimpleNamespace(
                topic_type=name,
                qos_profile=SimpleNamespace(reliability=None),
                node_name='detector',
                node_namespace='/',
            )
            for name in types
            if topic == '/boxes'
        ],
    )
    subscribed: list[type] = []
    create = node.create_subscription

    def note(message_type: type, topic: str, *arguments: object, **options: object) -> str:
        if topic == '/boxes':
            subscribed.append(message_type)
        return create(message_type, topic, *arguments, **options)

    monkeypatch.setattr(node, 'create_subscription', note)
    return subscribed


def _warning(inputs: Inputs) -> str:
    """The warning about the type of the boxes on /diagnostics."""
    return inputs.warnings.values().get('warning_boxes_type', '')


def _seen(node: Notes, frames: list, seconds: float, *detections: object) -> list[list[float]]:
    """The boxes of an image, of these detections of its moment."""
    node.callbacks['/boxes'](SimpleNamespace(header=header(seconds), detections=detections))
    node.callbacks['/image'](gray(seconds))
    return frames[-1].boxes.boxes.tolist()


def test_auto_follows_the_type_that_is_published(
    node: Notes, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed = _publish(node, monkeypatch)
    inputs, frames = start(node, use_boxes=True)
    assert subscribed == [Detection2DArray], 'until somebody publishes'
    inputs.watch()
    subscribed = _publish(node, monkeypatch, 'yolo_msgs/msg/DetectionArray')
    inputs.watch()
    inputs.watch()
    assert subscribed == [DetectionArray]
    assert sum('subscribed to yolo_msgs/DetectionArray' in text for text in node.log) == 1
    assert _seen(node, frames, 1.0, yolo_detection(), yolo_detection('dog', 16)) == [
        [40, 40, 60, 80]
    ]
    # Another detector takes its place.
    subscribed = _publish(node, monkeypatch, 'vision_msgs/msg/Detection2DArray')
    inputs.watch()
    assert subscribed == [Detection2DArray]
    assert _seen(node, frames, 2.0, detection()) == [[40, 40, 60, 80]]
    # Of two at once, the one that is read stays, and the other one is told.
    assert _warning(inputs) == ''
    subscribed = _publish(
        node, monkeypatch, 'yolo_msgs/msg/DetectionArray', 'vision_msgs/msg/Detection2DArray'
    )
    inputs.watch()
    assert subscribed == []
    assert 'yolo_msgs/msg/DetectionArray from /detector' in _warning(inputs)
    inputs.close()
    assert node.callbacks == {}


def test_a_requested_type_is_subscribed_to_immediately(
    node: Notes, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed = _publish(node, monkeypatch)
    _, frames = start(node, use_boxes=True, boxes_type=DETECTION_3D, person_class_ids='15')
    assert subscribed == [Detection3DArray]
    assert _seen(node, frames, 1.0, spatial_detection()) == [[40, 40, 60, 80]]


@pytest.mark.parametrize(
    ('published', 'boxes_type', 'said'),
    [
        (
            'vision_msgs/msg/Detection3DArray',
            'auto',
            'set boxes_type to vision_msgs/Detection3DArray',
        ),
        ('std_msgs/msg/String', 'auto', 'is not of type vision_msgs/msg/Detection2DArray, which'),
        (
            'vision_msgs/msg/Detection2DArray',
            YOLO,
            'is not of type yolo_msgs/msg/DetectionArray, which',
        ),
    ],
)
def test_an_unsupported_type_is_a_warning_until_it_is_fixed(
    node: Notes,
    installed: None,
    monkeypatch: pytest.MonkeyPatch,
    published: str,
    boxes_type: str,
    said: str,
) -> None:
    inputs, _ = start(node, use_boxes=True, boxes_type=boxes_type)
    subscribed = _publish(node, monkeypatch, published)
    inputs.watch()
    inputs.watch()
    assert subscribed == []
    warning = _warning(inputs)
    assert node.log.count(warning) == 1
    for text in ('/boxes', published, said, 'remap -r boxes:=TOPIC', 'boxes_type'):
        assert text in warning
    _publish(node, monkeypatch, 'yolo_msgs/msg/DetectionArray')
    inputs.watch()
    assert _warning(inputs) == ''


def test_yolo_boxes_without_yolo_msgs_are_a_warning(
    node: Notes, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, 'yolo_msgs')
    inputs, frames = start(node, use_boxes=True)
    _publish(node, monkeypatch, 'yolo_msgs/msg/DetectionArray')
    inputs.watch()
    assert _warning(inputs).startswith(
        'no boxes are received from /boxes: boxes of the type '
        'yolo_msgs/DetectionArray need the package yolo_msgs'
    )
    assert _seen(node, frames, 1.0, detection()) == [[40, 40, 60, 80]], 'subscribed as before'


def test_one_of_vision_msgs_and_yolo_msgs_is_required(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('decomr_ros.messages.boxes.Detection2DArray', None)
    stand_in(monkeypatch, 'yolo_msgs', DetectionArray)
    subscribed = _publish(node, monkeypatch)
    start(node, use_boxes=True)
    assert subscribed == [DetectionArray]
    hide(monkeypatch, 'yolo_msgs')
    with pytest.raises(RuntimeError, match=r'vision.msgs(.|\n)*for yolo_ros(.|\n)*yolo_msgs'):
        Inputs(node, NodeParameters(use_boxes=True), print)


def test_boxes_of_the_detector_image_are_scaled_to_the_camera_image(
    node: Notes, installed: None
) -> None:
    _, frames = start(node, use_boxes=True, boxes_width=128, boxes_height=128, boxes_fit='pad_end')
    assert _seen(node, frames, 1.0, detection()) == [[20, 20, 30, 40]]  # the image has 64 px
