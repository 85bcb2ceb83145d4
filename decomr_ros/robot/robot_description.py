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

    from decomr_ros.robot.robot_parts import RobotPart

__all__ = ['RobotDescription']

TOPIC = 'robot_description'


class RobotDescription:
    """Subscribes to the URDF and reads it on a thread of its own, which may take seconds.

    Attributes:
        parts: the links with collision geometry; None: not known.
        problem: why they are not known; empty if they are.
    """

    def __init__(self, node: Node, links: Sequence[str]) -> None:
        """Subscribes.

        Args:
            node: owner of the subscription.
            links: names of the links to use; empty: all that have collision geometry.
        """
        self._node, self._links = node, links
        self._lock = threading.Lock()
        self._newest = ''
        self._topic = node.resolve_topic_name(TOPIC)
        self.parts: list[RobotPart] | None = None
        self.problem = f'no message has come on {self._topic}: is robot_state_publisher running?'
        self._subscription = node.create_subscription(String, TOPIC, self._received, LATCHED)

    def destroy(self) -> None:
        """Destroys the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _received(self, message: String) -> None:
        """Starts to read a URDF; on the executor's thread."""
        self._newest = message.data
        threading.Thread(target=self._read, args=(message.data,), name=TOPIC, daemon=True).start()

    def _read(self, text: str) -> None:
        """Reads a URDF; an older one does not replace a newer one."""
        parts, problem = None, ''
        try:
            parts = parts_from_urdf(text, self._links)
        except (ValueError, RuntimeError) as error:
            problem = f'{self._topic}: {error}'
        with self._lock:
            if text == self._newest:
                self.parts, self.problem = parts, problem
