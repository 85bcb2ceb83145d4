"""`python -m decomr_ros.self_test`: a node in its own process gets an image and must answer.

`decomr doctor` runs this. It prints one JSON object: `seconds` from the start of the node to the
first mesh, `people` in that message, `problem`, a text or null. The node runs in a ROS domain of
its own on this machine alone, so that no robot nearby sees it, and with its default parameters.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from decomr.msg import HumanMeshArray
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from decomr_core.base.assets import DATA_FOLDER
from decomr_ros.messages.images import image_message
from decomr_ros.programs.child_processes import ChildProcesses

__all__ = ['main', 'try_node']

IMAGE_PERIOD_S = 0.2
# From the start of the node to its first mesh. Without an export it makes one first, in 15 s on
# two idle cores.
TIMEOUT_S = 150.0
# Once it says that it is active, an answer takes less than a second, also on a busy machine.
ANSWER_TIMEOUT_S = 10.0
NO_ANSWER = ('the node is active, but no mesh came within {0:g} s of images on {1}; it says: {2}. '
             'Large messages may not get through: set FASTRTPS_DEFAULT_PROFILES_FILE to '
             'config/fastdds.xml, and see that /dev/shm is not full')


def main() -> int:
    """Runs the trial and prints what came of it.

    Returns:
        The exit code: 0, also where the node failed.
    """
    started_s = time.monotonic()
    found = {'seconds': None, 'people': None, 'problem': None}
    try:
        with tempfile.TemporaryDirectory() as folder:
            # Before any process is started: all are to be apart from the robots on this network.
            os.environ.update(ROS_DOMAIN_ID=str(random.SystemRandom().randint(1, 100)),
                              ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST', ROS_LOG_DIR=folder)
            found['people'] = try_node(_image_of_people(), Path(folder))
        found['seconds'] = round(time.monotonic() - started_s, 1)
    except (OSError, RuntimeError, ValueError) as error:
        found['problem'] = str(error)
    sys.stdout.write(json.dumps(found) + '\n')
    return 0


def try_node(image: np.ndarray, folder: Path) -> int:
    """The number of people whose meshes a node published for an image.

    Args:
        image: (H, W, 3) uint8 BGR with people.
        folder: of the node's log.

    Raises:
        RuntimeError: the node ended, or did not answer.
    """
    rclpy.init()
    try:
        with ChildProcesses(folder, dict(os.environ)) as children:
            # Other nodes of this machine may be in the same domain: they are not to answer.
            namespace = f'/decomr_doctor_{os.getpid()}'
            children.start('node', '-m', 'decomr_ros.decomr_node', '--ros-args',
                           '-r', f'__ns:={namespace}', '-p', 'exit_on_failed_autostart:=true')
            return _Asking(children, image, namespace).wait()
    finally:
        rclpy.shutdown()


class _Asking:
    """Sends the image again and again until meshes come."""

    def __init__(self, children: ChildProcesses, image: np.ndarray, namespace: str) -> None:
        self._children, self._image = children, image
        self._node = rclpy.create_node('decomr_doctor', namespace=namespace,
                                       enable_rosout=False)
        self._images = self._node.create_publisher(Image, 'image', qos_profile_sensor_data)
        self._node.create_subscription(HumanMeshArray, 'human_meshes', self._hear, 10)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._hear_status, 10)
        self._people, self._status = 0, 'nothing on /diagnostics'

    def wait(self) -> int:
        """The number of people in the first message that has any."""
        started_s = sent_s = active_s = time.monotonic()
        while not self._people:
            now_s = time.monotonic()
            self._children.check('node')
            if self._images.get_subscription_count() == 0:
                active_s = now_s
            if now_s - active_s > ANSWER_TIMEOUT_S:
                raise RuntimeError(NO_ANSWER.format(
                    ANSWER_TIMEOUT_S, self._images.topic_name, self._status))
            if now_s - started_s > TIMEOUT_S:
                raise RuntimeError(f'the node was not active within {TIMEOUT_S:g} s; it says: '
                                   f'{self._status}')
            if now_s - sent_s > IMAGE_PERIOD_S:
                sent_s = now_s
                header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id='camera')
                self._images.publish(image_message(header, self._image, 'bgr8'))
            rclpy.spin_once(self._node, timeout_sec=IMAGE_PERIOD_S / 4)
        return self._people

    def _hear(self, message: HumanMeshArray) -> None:
        self._people = self._people or len(message.meshes)

    def _hear_status(self, message: DiagnosticArray) -> None:
        self._status = message.status[0].message


def _image_of_people() -> np.ndarray:
    """The first picture of the clip that is shipped, (H, W, 3) uint8 BGR.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    path = DATA_FOLDER / 'demo_clip.mp4'
    is_read, image = cv2.VideoCapture(str(path)).read()
    if not is_read:
        raise ValueError(f'OpenCV cannot read {path}; reinstall decomr and '
                         'opencv-python-headless')
    return image


if __name__ == '__main__':
    raise SystemExit(main())
