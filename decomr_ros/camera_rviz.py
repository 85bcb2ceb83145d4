"""`camera_rviz`: RViz with the frame of the camera's images as its fixed frame.

RViz shows nothing of a frame that its fixed frame is not joined to, and each camera driver names
its frame as it likes. So the first message of `camera_info`, `human_meshes` or `image` is waited
for; then RViz takes the place of this process, with all of its arguments and --fixed-frame.
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
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image

from decomr_ros.node.installation import install_hint
from decomr_ros.programs.process import stop_on_signals
from decomr_ros.topics.input_topics import camera_info_topic, image_topic

__all__ = ['CameraFrame', 'main']

# Hears every camera driver.
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# How long nothing may come before the log says what is waited for, s.
TELL_AFTER_S = 5.0
# How long a signal may go unnoticed, s.
POLL_PERIOD_S = 0.1


class CameraFrame(Node):
    """Waits for a message of the camera.

    Attributes:
        frame_id: of the images; empty until it is known.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        """Subscribes.

        Args:
            words: the command line.
        """
        super().__init__('camera_frame', start_parameter_services=False)
        self.frame_id = ''
        image = image_topic(self)
        for type_, topic in ((CameraInfo, camera_info_topic(self, image, words)),
                             (HumanMeshArray, 'human_meshes'), (Image, image)):
            self.create_subscription(type_, topic, self._take, NEWEST)
        # Steady time: a simulated clock may stand still.
        self._timer = self.create_timer(TELL_AFTER_S, self._tell,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _take(self, message: Any) -> None:
        self.frame_id = self.frame_id or message.header.frame_id
        if not self.frame_id:
            self.get_logger().warning(
                'the camera names no frame (frame_id is empty), which RViz needs; set the '
                'parameter of the driver, often called frame_id or camera_frame_id', once=True)

    def _tell(self) -> None:
        self._timer.cancel()
        topics = ', '.join(subscription.topic_name for subscription in self.subscriptions)
        self.get_logger().info(
            f'RViz starts when the frame of the camera is known: waiting for one of {topics}; or '
            'give the frame: fixed_frame:=FRAME of the launch file, rviz2 -f FRAME')


def main(argv: Sequence[str] | None = None) -> int:
    """Starts RViz in place of this process once the frame is known.

    Args:
        argv: arguments of rviz2, those of ROS 2 among them; None: those of this process.

    Returns:
        The exit code: 0 after a signal while it waits, 2 where there is no RViz.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    program = shutil.which('rviz2')
    if program is None:
        sys.stderr.write(f'camera_rviz: there is no rviz2; {install_hint("rviz2")}\n')
        return 2
    stop = stop_on_signals()
    rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    node = CameraFrame(words)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not node.frame_id and not stop.is_set():
        executor.spin_once(timeout_sec=POLL_PERIOD_S)
    frame_id = node.frame_id
    if frame_id:
        node.get_logger().info(f'RViz starts in the frame of the camera, {frame_id}')
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()
    if not frame_id:
        return 0
    # What is left of Fast DDS would stay in shared memory: the new program does not know of it.
    del node, executor
    gc.collect()
    rclpy.get_default_context().destroy()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, '--fixed-frame', frame_id, *words])  # noqa: S606 - no shell


if __name__ == '__main__':
    raise SystemExit(main())
