"""The subscription to the boxes of another detector, with the type that it publishes.

A subscription of another type than the publisher's receives nothing, without an error. With
`boxes_type: auto` this subscription adopts the type of the publisher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from decomr_ros.messages.box_messages import (
    BOXES_TYPES,
    DETECTION_2D,
    DETECTION_3D,
    YOLO,
    BoxMessage,
    box_message,
    graph_type,
)
from decomr_ros.topics.silent_topics import other_types_text, type_name

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.topics.subscriptions import MatchingSubscription

__all__ = ['BoxSubscription', 'first_box_message']

# The types that auto subscribes to. Detection3DArray is not among them: its boxes are in metres by
# definition, and only the user knows whether the publisher writes pixels.
AUTO = (DETECTION_2D, YOLO)


def first_box_message(boxes_type: str, detection_2d_type: Callable[[], type]) -> BoxMessage:
    """The message type to subscribe to before there is a publisher.

    Args:
        boxes_type: the parameter.
        detection_2d_type: returns vision_msgs/Detection2DArray.

    Raises:
        RuntimeError: the package of the type is not installed; with auto: none of the packages.
    """
    if boxes_type != 'auto':
        return box_message(boxes_type, detection_2d_type)
    problems = []
    for name in AUTO:
        try:
            return box_message(name, detection_2d_type)
        except RuntimeError as error:
            problems.append(str(error))
    raise RuntimeError(f'{problems[0]}; for yolo_ros: {problems[1]}')


class BoxSubscription:
    """A `MatchingSubscription` that is replaced when the type of the publisher changes."""

    def __init__(
        self,
        node: Node,
        topic: str,
        boxes_type: str,
        first: BoxMessage,
        detection_2d_type: Callable[[], type],
        subscribe: Callable[[type, Callable[[Any], None]], MatchingSubscription],
        take: Callable[[Any], None],
        problem: Callable[[str], None],
    ) -> None:
        """Subscribes.

        Args:
            node: its graph is queried.
            topic: full name.
            boxes_type: the parameter.
            first: from `first_box_message`.
            detection_2d_type: returns vision_msgs/Detection2DArray.
            subscribe: creates the subscription to a type, with its callback.
            take: called with each message in the layout of vision_msgs/Detection2DArray.
            problem: called at each check with a warning about published types that are not read;
                with an empty text if there are none.
        """
        self._node, self._topic, self._is_auto = node, topic, boxes_type == 'auto'
        self._detection_2d_type, self._subscribe = detection_2d_type, subscribe
        self._take, self._problem = take, problem
        self._open(first)

    def check(self) -> None:
        """Adapts to the publishers; call it periodically on the executor's thread."""
        published = {
            publisher.topic_type
            for publisher in self._node.get_publishers_info_by_topic(self._topic)
        }
        text = ''
        if published and self._graph_type not in published:
            text = self._adopt_type(published)
        self._problem(text or self._others_text())
        self._subscription.check()

    def close(self) -> None:
        """Unsubscribes; on the executor's thread."""
        self._subscription.close()

    def _adopt_type(self, published: set[str]) -> str:
        """Subscribes to a published type; returns a warning if that is not possible."""
        names = [name for name in AUTO if self._is_auto and graph_type(name) in published]
        if not names and self._is_auto and graph_type(DETECTION_3D) in published:
            return (
                f'{self._topic} is of type {graph_type(DETECTION_3D)}, whose boxes are in '
                'metres by definition: they are not used; if it is published by '
                'depthai_ros_driver, which writes pixels, set boxes_type to '
                f'{DETECTION_3D}, otherwise remap -r boxes:=TOPIC to 2D boxes'
            )
        if not names:
            return ''
        try:
            message = box_message(names[0], self._detection_2d_type)
        except RuntimeError as error:
            return f'no boxes are received from {self._topic}: {error}'
        self._subscription.close()
        self._open(message)
        self._node.get_logger().info(
            f'{self._topic}: subscribed to {names[0]}, the published type'
        )
        return ''

    def _open(self, message: BoxMessage) -> None:
        self._graph_type = type_name(message.type)
        self._subscription = self._subscribe(
            message.type, lambda received: self._take(message.to_detections(received))
        )

    def _others_text(self) -> str:
        """A warning about publishers of other types; empty if there are none."""
        text = other_types_text(self._node, 'boxes', self._topic, self._graph_type)
        choices = ', '.join(BOXES_TYPES[1:])
        return text and f'{text}, or set boxes_type to one of {choices}'
