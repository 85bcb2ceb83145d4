"""The depth topic: takes its messages and gives each image the depth image of its moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.depth_checks import DepthChecks
from decomr_ros.inputs.depth_image import DepthImage, depth_from_message
from decomr_ros.inputs.stamp_checks import distance_text
from decomr_ros.inputs.stamped_messages import StampedMessages
from decomr_ros.messages.bad_input import BadInput, BadInputCounts

if TYPE_CHECKING:
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['MESSAGES_KEPT', 'TOPIC', 'DepthInput']

TOPIC = 'depth'
# Largest difference between the stamps of image and depth, s: three images at 30 Hz. Older depth
# shows the background where a person walks now.
MAX_AGE_S = 0.1
# Number of messages kept to be found by their stamp: those that arrive while the worker is busy.
MESSAGES_KEPT = 3


class DepthInput:
    """The depth images that have arrived.

    The subscription's thread calls `add`, the worker calls `at`.
    """

    def __init__(
        self, node: Node, is_used: bool, warnings: StandingWarnings, bad: BadInputCounts
    ) -> None:
        """Starts without depth images.

        Args:
            node: for the name of the topic.
            is_used: the parameter `use_depth`.
            warnings: states the problems.
            bad: counts the messages that cannot be used.
        """
        self.is_used = is_used
        self._warnings, self._bad = warnings, bad
        self._topic = node.resolve_topic_name(TOPIC)
        self._checks = DepthChecks(warnings, self._topic)
        self._messages = StampedMessages(MESSAGES_KEPT)

    def add(self, message: Image) -> None:
        """Stores a message."""
        self._messages.add(message.header.stamp, message)

    def at(self, stamp: Any, calibration: Calibration) -> DepthImage | None:
        """The depth image of an image; None if there is none, which is a warning.

        Args:
            stamp: ROS stamp of the image.
            calibration: calibration of the image, with its size.
        """
        if not self.is_used:
            return None
        message = self._messages.at(stamp, MAX_AGE_S)
        if message is None:
            self._warnings.set(
                'depth',
                (
                    f'no depth image on {self._topic} within {MAX_AGE_S:g} s of the image'
                    f'{distance_text(self._messages.nearest_s(stamp))}: distances are not '
                    'corrected'
                ),
                1,
            )
            return None
        self._warnings.end('depth')
        try:
            depth = depth_from_message(message, calibration)
        except BadInput as error:
            self._bad.add(error)
            return None
        self._checks.check(message, depth)
        return depth
