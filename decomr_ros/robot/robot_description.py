"""The robot of the topic `robot_description`, as robot_state_publisher publishes it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from std_msgs.msg import String

from decomr_ros.node.qos import LATCHED
from decomr_ros.robot.urdf import parts_from_urdf

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.settings.robot_parts import RobotPart

__all__ = ['RobotDescription']

TOPIC = 'robot_description'


class RobotDescription:
    """Subscribes to the URDF and reads it on a thread of its own, which may take seconds.

    A URDF that arrives in the meantime is read afterwards; of several, only the newest.

    Attributes:
        found: the links with collision geometry, and why there are none, which is empty if there
            are any. One tuple, because another thread replaces it.
    """

    def __init__(self, node: Node, links: Sequence[str]) -> None:
        """Subscribes.

        Args:
            node: owner of the subscription.
            links: names of the links to use; empty: all that have collision geometry.
        """
        self._node, self._links = node, links
        self._lock = threading.Lock()
        self._unread: str | None = None  # the newest URDF that nobody has begun to read
        self._is_reading = False
        self._topic = node.resolve_topic_name(TOPIC)
        self.found: tuple[list[RobotPart], str] = (
            [],
            f'no message has come on {self._topic}: is robot_state_publisher running?',
        )
        self._subscription = node.create_subscription(String, TOPIC, self._received, LATCHED)

    def destroy(self) -> None:
        """Destroys the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _received(self, message: String) -> None:
        """Starts to read a URDF; on the executor's thread."""
        with self._lock:
            self._unread = message.data
            self.found = [], f'the robot of {self._topic} is being read'
            if self._is_reading:
                return
            self._is_reading = True
        threading.Thread(target=self._read, name=TOPIC, daemon=True).start()

    def _read(self) -> None:
        """Reads URDFs until there is no newer one."""
        while (text := self._next()) is not None:
            try:
                found = parts_from_urdf(text, self._links), ''
            except Exception as error:  # otherwise the robot would be read forever
                found = [], f'{self._topic}: {str(error) or type(error).__name__}'
            with self._lock:
                if self._unread is None:
                    self.found = found

    def _next(self) -> str | None:
        """The newest URDF that is not read yet; None, and the thread ends: there is none."""
        with self._lock:
            text, self._unread = self._unread, None
            self._is_reading = text is not None
            return text
