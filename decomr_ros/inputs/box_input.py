"""The boxes topic: takes the detections of another node and gives each image its people."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from decomr_core.people.detection import Detections
from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.box_checks import BoxChecks
from decomr_ros.inputs.stamp_checks import distance_text
from decomr_ros.inputs.stamped_messages import StampedMessages
from decomr_ros.messages.bad_input import BadInput, BadInputCounts
from decomr_ros.messages.box_image import boxes_in_image
from decomr_ros.messages.boxes import (
    class_ids_from_text,
    detection_message_type,
    people_from_detections,
)
from decomr_ros.topics.box_subscription import BoxSubscription, first_box_message

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.settings.parameters import NodeParameters
    from decomr_ros.topics.subscriptions import MatchingSubscription

__all__ = ['BoxInput']

TOPIC = 'boxes'
# Number of messages kept to be found by their stamp: those that arrive while the worker is busy.
MESSAGES_KEPT = 10


class BoxInput:
    """The people whom another node has detected.

    The subscription's thread calls `add`, the worker calls `at`.
    """

    def __init__(
        self,
        node: Node,
        parameters: Callable[[], NodeParameters],
        warnings: StandingWarnings,
        bad: BadInputCounts,
    ) -> None:
        """Starts without detections.

        Args:
            node: owner of the subscription.
            parameters: returns the present parameters.
            warnings: states the problems.
            bad: counts the messages that cannot be used.

        Raises:
            RuntimeError: `use_boxes` is set and the package of the message type is missing.
        """
        self._node, self._parameters = node, parameters
        self._warnings, self._bad = warnings, bad
        self._topic = node.resolve_topic_name(TOPIC)
        boxes_type = parameters().boxes_type
        self._first_type = (
            first_box_message(boxes_type, detection_message_type)
            if parameters().use_boxes
            else None
        )
        self._checks = BoxChecks(warnings, self._topic)
        self._people = StampedMessages(MESSAGES_KEPT)

    def subscribe(
        self, subscribe: Callable[[type, Callable[[Any], None]], MatchingSubscription]
    ) -> BoxSubscription | None:
        """Subscribes to the topic; None if `use_boxes` is not set.

        Args:
            subscribe: makes a subscription of a message type with a callback.
        """
        if self._first_type is None:
            return None
        return BoxSubscription(
            self._node,
            self._topic,
            self._parameters().boxes_type,
            self._first_type,
            detection_message_type,
            subscribe,
            self.add,
            lambda text: self._warnings.set_if_lasting('boxes_type', text),
        )

    def add(self, message: Any) -> None:
        """Stores the people of a message in the layout of vision_msgs/Detection2DArray."""
        class_ids = self._parameters().person_class_ids
        try:
            found = people_from_detections(message, class_ids_from_text(class_ids))
        except BadInput as error:
            self._bad.add(error)
            return
        self._checks.check(found, class_ids)
        self._people.add(message.header.stamp, found.people)

    def at(self, stamp: Any, calibration: Calibration) -> Detections | None:
        """The people of an image; None if there are no boxes near its stamp.

        Args:
            stamp: ROS stamp of the image.
            calibration: calibration of the image, with its size. The boxes returned are in px of
                the image that it has undistorted.
        """
        if self._first_type is None:
            return None
        parameters = self._parameters()
        people = self._people.at(stamp, parameters.boxes_max_age_s)
        if people is None:
            self._warnings.set(
                'boxes',
                (
                    f'no boxes on {self._topic} within {parameters.boxes_max_age_s:g} s of the '
                    f'image (boxes_max_age_s){distance_text(self._people.nearest_s(stamp))}: the '
                    f'detector {parameters.detector} looks for people'
                ),
                1,
            )
            return None
        self._warnings.end('boxes')
        size = calibration.width, calibration.height
        boxes = boxes_in_image(
            people.boxes,
            parameters.boxes_fit,
            (parameters.boxes_width, parameters.boxes_height),
            size,
        )
        people = self._checks.usable(Detections(boxes, people.scores), *size, parameters)
        return Detections(calibration.undistort_boxes(people.boxes), people.scores)

    def values(self) -> dict[str, str]:
        """Counts of what was left out, for /diagnostics, as text by name."""
        return self._checks.values()
