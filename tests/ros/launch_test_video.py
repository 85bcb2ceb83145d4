"""A launch test (launch_test runs it, through test_launch.py): the clip to meshes and a bag."""

from __future__ import annotations

import os
import random
import tempfile
import time
import unittest
from pathlib import Path

import launch_testing
import launch_testing.actions
import rclpy
from decomr.msg import HumanMeshArray
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from decomr_core.base.assets import DATA_FOLDER
from decomr_ros.bags.mcap_reading import read_bag

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'decomr.launch.py'
BAG = Path(tempfile.mkdtemp()) / 'bag'
os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 100))


def generate_test_description() -> LaunchDescription:
    arguments = {
        'video': str(DATA_FOLDER / 'demo_clip.mp4'),
        'loop': 'true',
        'namespace': 'robot',
        'record': str(BAG),
        'parameters': '{threads: 1, max_people: 1}',
    }
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=arguments.items()
            ),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class WhileItRuns(unittest.TestCase):
    def test_meshes_come_in_the_namespace(self) -> None:
        rclpy.init()
        node = rclpy.create_node('listener')
        heard: list[HumanMeshArray] = []
        node.create_subscription(HumanMeshArray, '/robot/human_meshes', heard.append, 10)
        deadline = time.monotonic() + 45
        while (len(heard) < 15 or not any(array.meshes for array in heard)) and (
            time.monotonic() < deadline
        ):
            rclpy.spin_once(node, timeout_sec=0.1)
        rclpy.shutdown()
        self.assertGreaterEqual(len(heard), 15)
        self.assertEqual(max(len(array.meshes) for array in heard), 1)
        self.assertTrue(
            all(array.header.frame_id == 'camera_color_optical_frame' for array in heard)
        )


@launch_testing.post_shutdown_test()
class AfterIt(unittest.TestCase):
    def test_every_process_ended_with_exit_code_0(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)

    def test_the_bag_holds_the_meshes(self) -> None:
        topics = {message.topic for message in read_bag(BAG)}
        self.assertLessEqual(
            {'/robot/human_meshes', '/robot/topology', '/robot/camera_info'}, topics
        )
