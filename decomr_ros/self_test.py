"""`python -m decomr_ros.self_test`: starts a node, sends it an image and waits for the meshes.

`decomr doctor` runs this. It prints one JSON object: `seconds` from the start of the node to the
first mesh, `people` in that message, and `problem` (a text or null). The node has its default
parameters and runs in its own ROS domain, restricted to this machine, so that robots nearby do
not see it.
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
from decomr_ros.node.installation import fast_dds_profile
from decomr_ros.programs.child_processes import ChildProcesses

__all__ = ['main', 'try_node']

IMAGE_PERIOD_S = 0.2
# From the start of the node to its first mesh. This includes the export of the network if there
# is none yet, which takes 15 s on two idle cores.
TIMEOUT_S = 150.0
# An active node responds in less than a second, also on a busy machine.
RESPONSE_TIMEOUT_S = 10.0
NO_RESPONSE = (
    'the node is active, but published no mesh within {0:g} s of images on {1}; its '
    'status: {2}. Large messages may be lost: set FASTRTPS_DEFAULT_PROFILES_FILE to '
    '{3}, and check that /dev/shm is not full'
)


def main() -> int:
    """Runs the test and prints its result.

    Returns:
        The exit code: 0, also if the node failed.
    """
    started_s = time.monotonic()
    found: dict[str, float | str | None] = {'seconds': None, 'people': None, 'problem': None}
    try:
        with tempfile.TemporaryDirectory() as folder:
            # Set before any process is started, to be separate from robots on this network.
            os.environ.update(
                ROS_DOMAIN_ID=str(random.SystemRandom().randint(1, 100)),
                ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST',
                ROS_LOG_DIR=folder,
            )
            found['people'] = try_node(_image_of_people(), Path(folder))
        found['seconds'] = round(time.monotonic() - started_s, 1)
    except (OSError, RuntimeError, ValueError) as error:
        found['problem'] = str(error)
    sys.stdout.write(json.dumps(found) + '\n')
    return 0


def try_node(image: np.ndarray, folder: Path) -> int:
    """Starts a node, sends it an image and returns the number of people in its meshes.

    Args:
        image: (H, W, 3) uint8 BGR with people.
        folder: of the node's log.

    Raises:
        RuntimeError: the node ended, or published no mesh.
    """
    rclpy.init()
    try:
        with ChildProcesses(folder, dict(os.environ)) as children:
            # Other nodes on this machine may be in the same domain.
            namespace = f'/decomr_doctor_{os.getpid()}'
            children.start(
                'node',
                '-m',
                'decomr_ros.decomr_node',
                '--ros-args',
                '-r',
                f'__ns:={namespace}',
                '-p',
                'exit_on_failed_autostart:=true',
            )
            return _Trial(children, image, namespace).wait()
    finally:
        rclpy.shutdown()


class _Trial:
    """Sends the image repeatedly until meshes arrive."""

    def __init__(self, children: ChildProcesses, image: np.ndarray, namespace: str) -> None:
        self._children, self._image = children, image
        self._node = rclpy.create_node('decomr_doctor', namespace=namespace, enable_rosout=False)
        self._images = self._node.create_publisher(Image, 'image', qos_profile_sensor_data)
        self._node.create_subscription(HumanMeshArray, 'human_meshes', self._take_meshes, 10)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._take_status, 10)
        self._people, self._status = 0, 'no message on /diagnostics'

    def wait(self) -> int:
        """The number of people in the first message with people."""
        started_s = sent_s = active_s = time.monotonic()
        while not self._people:
            now_s = time.monotonic()
            self._children.check('node')
            if self._images.get_subscription_count() == 0:
                active_s = now_s
            if now_s - active_s > RESPONSE_TIMEOUT_S:
                raise RuntimeError(
                    NO_RESPONSE.format(
                        RESPONSE_TIMEOUT_S,
                        self._images.topic_name,
                        self._status,
                        fast_dds_profile(),
                    )
                )
            if now_s - started_s > TIMEOUT_S:
                raise RuntimeError(
                    f'the node was not active within {TIMEOUT_S:g} s; its status: {self._status}'
                )
            if now_s - sent_s > IMAGE_PERIOD_S:
                sent_s = now_s
                header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id='camera')
                self._images.publish(image_message(header, self._image, 'bgr8'))
            rclpy.spin_once(self._node, timeout_sec=IMAGE_PERIOD_S / 4)
        return self._people

    def _take_meshes(self, message: HumanMeshArray) -> None:
        self._people = self._people or len(message.meshes)

    def _take_status(self, message: DiagnosticArray) -> None:
        self._status = message.status[0].message


def _image_of_people() -> np.ndarray:
    """The first frame of the shipped clip, (H, W, 3) uint8 BGR.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    path = DATA_FOLDER / 'demo_clip.mp4'
    is_read, image = cv2.VideoCapture(str(path)).read()
    if not is_read:
        raise ValueError(f'OpenCV cannot read {path}; reinstall decomr and opencv-python-headless')
    return image


if __name__ == '__main__':
    raise SystemExit(main())
