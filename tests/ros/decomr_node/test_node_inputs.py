"""The node's inputs other than raw images, in its own process."""

from __future__ import annotations

import array
import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from decomr_ros.messages.images import image_message
from tests.ros.conftest import RosTest
from tests.ros.node_client import Camera, is_heard, start_node

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def test_compressed_images_become_meshes_and_a_damaged_one_is_counted(
    ros: RosTest, weights: Path
) -> None:
    statuses: list[dict[str, str]] = []
    ros.node.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda message: statuses.append(
            {value.key: value.value for value in message.status[0].values}
        ),
        10,
    )
    publisher = ros.node.create_publisher(CompressedImage, 'image/compressed', RELIABLE)
    camera = Camera(ros)
    node = start_node(ros, weights, image_transport='compressed')
    ros.spin_until(lambda: is_heard(ros, publisher))
    data = cv2.imencode('.jpg', np.full((48, 64, 3), 120, np.uint8))[1].tobytes()
    for number, content in enumerate((data, data[:300], data)):
        header = camera.header()
        publisher.publish(
            CompressedImage(
                header=header, format='bgr8; jpeg compressed bgr8', data=array.array('B', content)
            )
        )
        if number == 1:
            ros.spin_until(lambda: statuses and statuses[-1]['frames_failed'] == '1')
        else:
            assert len(camera.answer(header).meshes) == 1
    assert statuses[-1]['frames_failed_compressed'] == '1'
    assert statuses[-1]['image_reliability'] == 'reliable'
    assert node.stop() == 0
    assert '/image/compressed (' in node.output
    assert 'end is missing' in node.output


def test_truncated_image_messages_are_counted_and_the_node_continues(
    ros: RosTest, weights: Path
) -> None:
    statuses: list[dict[str, str]] = []
    ros.node.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda message: statuses.append(
            {value.key: value.value for value in message.status[0].values}
        ),
        10,
    )
    publisher = ros.node.create_publisher(Image, 'image', RELIABLE)
    camera = Camera(ros)
    node = start_node(ros, weights)
    camera.wait()
    ros.spin_until(lambda: is_heard(ros, publisher))
    # A node with two subscriptions for a moment, until an image has come on the new one, would
    # count what is damaged twice.
    camera.show(48, 64)
    ros.spin_until(lambda: ros.node.count_subscribers('/image') == 1)
    whole = bytes(
        serialize_message(image_message(camera.header(), np.zeros((48, 64, 3), np.uint8), 'rgb8'))
    )
    for size in (6, 17, 30, len(whole) // 2):
        publisher.publish(whole[:size])
    ros.spin_until(lambda: statuses and statuses[-1].get('bad_damaged') == '4')
    assert camera.show(48, 64).header.frame_id
    assert node.stop() == 0
    assert 'bytes that cannot be read' in node.output, node.output


@pytest.mark.skipif(
    importlib.util.find_spec('vision_msgs') is not None, reason='vision_msgs is installed here'
)
def test_boxes_without_vision_msgs_fail_the_configure_with_one_line(ros: RosTest) -> None:
    node = start_node(ros, Path('rt'), use_boxes='true', exit_on_failed_autostart='true')
    assert node.process.wait(30) == 1
    assert f'apt install ros-{os.environ["ROS_DISTRO"]}-vision-msgs' in node.output
    assert 'Traceback' not in node.output
