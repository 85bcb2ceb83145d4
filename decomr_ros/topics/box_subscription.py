"""The subscription to the boxes of another detector, of the type that it publishes.

A topic has one type, and a subscription of another type hears nothing and says nothing. With
`boxes_type: auto` this one looks who publishes and subscribes to that type.
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

# What auto subscribes to. Detection3DArray is not among them: its boxes are in metres by
# definition, and only the user knows whether the publisher writes pixels.
AUTO = (DETECTION_2D, YOLO)


def first_box_message(boxes_type: str, detection_2d_type: Callable[[], type]) -> BoxMessage:
    """What is subscribed to before anybody publishes.

    Args:
        boxes_type: the parameter.
        detection_2d_type: gives vision_msgs/Detection2DArray.

    Raises:
        RuntimeError: the package of the type is not installed; with auto: none of them is.
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
    """Has the methods of `MatchingSubscription`, one of which it holds."""

    def __init__(self, node: Node, topic: str, boxes_type: str,
                 first: BoxMessage, detection_2d_type: Callable[[], type],
                 subscribe: Callable[[type, Callable[[Any], None]], MatchingSubscription],
                 take: Callable[[Any], None], problem: Callable[[str], None]) -> None:
        """Subscribes.

        Args:
            node: whose graph tells who publishes.
            topic: full name.
            boxes_type: the parameter.
            first: of `first_box_message`.
            detection_2d_type: gives vision_msgs/Detection2DArray.
            subscribe: makes the subscription to a type, with its callback.
            take: called with each message in the layout of vision_msgs/Detection2DArray.
            problem: called at each check with what is published and cannot be read, and what to
                do; with an empty text where there is no such thing.
        """
        self._node, self._topic, self._is_auto = node, topic, boxes_type == 'auto'
        self._detection_2d_type, self._subscribe = detection_2d_type, subscribe
        self._take, self._problem = take, problem
        self._open(first)

    def check(self) -> None:
        """Follows the publishers; to be called now and then on the executor's thread."""
        published = {publisher.topic_type for publisher in
                     self._node.get_publishers_info_by_topic(self._topic)}
        text = ''
        if published and self._graph_type not in published:
            text = self._follow(published)
        self._problem(text or self._others_text())
        self._subscription.check()

    def close(self) -> None:
        """Unsubscribes; on the executor's thread."""
        self._subscription.close()

    def _follow(self, published: set[str]) -> str:
        """Subscribes to what is published, or says why not."""
        names = [name for name in AUTO if self._is_auto and graph_type(name) in published]
        if not names and self._is_auto and graph_type(DETECTION_3D) in published:
            return (f'{self._topic} is {graph_type(DETECTION_3D)}, whose boxes are in metres by '
                    'definition: they are not used; if depthai_ros_driver publishes it, which '
                    f'writes pixels, set boxes_type to {DETECTION_3D}, else remap -r boxes:=TOPIC '
                    'to 2D boxes')
        if not names:
            return ''
        try:
            message = box_message(names[0], self._detection_2d_type)
        except RuntimeError as error:
            return f'no boxes arrive from {self._topic}: {error}'
        self._subscription.close()
        self._open(message)
        self._node.get_logger().info(f'{self._topic}: subscribed to {names[0]}, which is '
                                     'published there')
        return ''

    def _open(self, message: BoxMessage) -> None:
        self._graph_type = type_name(message.type)
        self._subscription = self._subscribe(message.type, lambda heard: self._take(
            message.to_detections(heard)))

    def _others_text(self) -> str:
        """Who publishes a type that is not subscribed to; empty where nobody does."""
        text = other_types_text(self._node, 'boxes', self._topic, self._graph_type)
        choices = ', '.join(BOXES_TYPES[1:])
        return text and f'{text}, or set boxes_type to one of {choices}'
