"""`camera_rviz`: starts RViz with the frame of the camera's images as the fixed frame.

RViz shows only frames that are connected to its fixed frame, and camera drivers use different
frame ids. Therefore this program waits for the first message on `camera_info`, `human_meshes` or
`image`. Then RViz replaces this process, with the same arguments and --fixed-frame.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import rclpy
from decomr.msg import HumanMeshArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from decomr_ros.node.installation import install_hint
from decomr_ros.node.qos import NEWEST
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.programs.process import POLL_PERIOD_S, stop_on_signals
from decomr_ros.topics.input_topics import camera_info_topic, image_topic

__all__ = ['CameraFrame', 'main']

# The log names the awaited topics if no message arrived for this long, s.
LOG_AFTER_S = 5.0


class CameraFrame(Node):
    """Determines the frame of the camera from its first message.

    Attributes:
        frame_id: of the images; empty until it is known.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        """Subscribes.

        Args:
            arguments: command-line arguments.
        """
        super().__init__('camera_frame', start_parameter_services=False)
        self.frame_id = ''
        image = image_topic(self)
        for type_, topic in (
            (CameraInfo, camera_info_topic(self, image, arguments)),
            (HumanMeshArray, 'human_meshes'),
            (Image, image),
        ):
            self.create_subscription(type_, topic, self._take, NEWEST)
        self._timer = create_steady_timer(self, LOG_AFTER_S, self._log_awaited)

    def _take(self, message: Any) -> None:
        self.frame_id = self.frame_id or message.header.frame_id
        if not self.frame_id:
            self.get_logger().warning(
                "the camera's messages have an empty frame_id, but RViz needs the frame; set the "
                "driver's parameter, often called frame_id or camera_frame_id",
                once=True,
            )

    def _log_awaited(self) -> None:
        self._timer.cancel()
        topics = ', '.join(subscription.topic_name for subscription in self.subscriptions)
        self.get_logger().info(
            f'RViz starts when the frame of the camera is known: waiting for one of {topics}; '
            'or set the frame: launch argument fixed_frame:=FRAME, or rviz2 -f FRAME'
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Replaces this process by RViz once the frame is known.

    Args:
        argv: arguments of rviz2, including ROS arguments; None: those of this process.

    Returns:
        The exit code: 0 after a signal while waiting, 2 if RViz is not installed.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    program = shutil.which('rviz2')
    if program is None:
        sys.stderr.write(f'camera_rviz: rviz2 is not installed; {install_hint("rviz2")}\n')
        return 2
    stop = stop_on_signals()
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node = CameraFrame(arguments)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not node.frame_id and not stop.is_set():
        executor.spin_once(timeout_sec=POLL_PERIOD_S)
    frame_id = node.frame_id
    if frame_id:
        node.get_logger().info(f'starting RViz with the fixed frame {frame_id}')
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    if not frame_id:
        return 0
    # Release the shared memory of Fast DDS, which the new program could not free.
    del node, executor
    gc.collect()
    rclpy.get_default_context().destroy()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, '--fixed-frame', frame_id, *arguments])  # noqa: S606 - no shell


if __name__ == '__main__':
    raise SystemExit(main())
