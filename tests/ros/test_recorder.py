from __future__ import annotations

import signal
from pathlib import Path

import pytest
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosbags.rosbag2 import Reader
from std_msgs.msg import Header

from decomr_ros.messages import human_mesh_array_message
from tests.ros.conftest import RosTest, make_mesh


def _publish(ros: RosTest, count: int) -> None:
    """Publishes a latched topology before anybody listens, then meshes to the recorder."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    topology = ros.node.create_publisher(MeshTopology, 'robot/topology', latched)
    topology.publish(MeshTopology(hash='abc'))
    meshes = ros.node.create_publisher(HumanMeshArray, 'robot/human_meshes', 10)
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', ros.folder / 'bag', '--ros-args',
                         '-r', '__ns:=/robot')
    recorder.wait_for('recording')
    ros.spin_until(lambda: meshes.get_subscription_count() == 1)
    ros.spin(0.2)
    for index in range(count):
        meshes.publish(human_mesh_array_message(Header(frame_id='camera'), [make_mesh(index)],
                                                'abc'))
        ros.spin(0.01)


def _counts(folder: Path) -> dict[str, int]:
    with Reader(folder) as reader:
        return {name: topic.msgcount for name, topic in reader.topics.items() if topic.msgcount}


def test_sigint_closes_the_bag_with_every_message_and_exit_code_0(ros: RosTest) -> None:
    _publish(ros, 20)
    ros.spin(0.3)
    assert ros.processes[0].stop() == 0, ros.processes[0].output
    assert _counts(ros.folder / 'bag') == {'/robot/human_meshes': 20, '/robot/topology': 1}


def test_after_sigkill_the_bag_opens_up_to_the_last_flush(ros: RosTest) -> None:
    _publish(ros, 20)
    ros.spin_until(lambda: _counts(ros.folder / 'bag').get('/robot/human_meshes') == 20, 5)
    assert ros.processes[0].stop(signal.SIGKILL) == -signal.SIGKILL
    assert _counts(ros.folder / 'bag') == {'/robot/human_meshes': 20, '/robot/topology': 1}


@pytest.mark.parametrize('name', ['bag'])
def test_a_bag_in_the_way_is_one_line_and_exit_code_2(ros: RosTest, name: str) -> None:
    (ros.folder / name).mkdir()
    (ros.folder / name / 'file').touch()
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', ros.folder / name)
    assert recorder.process.wait(20) == 2
    assert recorder.output.count('\n') == 1
    assert 'choose another folder' in recorder.output
