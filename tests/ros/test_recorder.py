from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import rclpy
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.errors import ReaderError
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_ros import bag
from decomr_ros.bag import BagTopic, BagWriter, read_bag
from decomr_ros.messages import human_mesh_array_message
from decomr_ros.recorder import Recorder, main, message_definition
from tests.ros.conftest import RosTest, make_mesh


@pytest.fixture
def inner_recorder() -> Iterator[Callable[..., Recorder]]:
    """Makes a recorder in this process."""
    made: list[Recorder] = []

    def make(folder: Path, use_sim_time: bool = False) -> Recorder:
        rclpy.init(args=['--ros-args', '-p', f'use_sim_time:={str(use_sim_time).lower()}'])
        made.append(Recorder(folder))
        return made[-1]

    yield make
    for recorder in made:
        recorder.destroy_node()
        rclpy.shutdown()


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


def test_sigkill_while_recording_loses_at_most_a_second(ros: RosTest) -> None:
    _publish(ros, 0)
    meshes = next(publisher for publisher in ros.node.publishers
                  if publisher.topic_name == '/robot/human_meshes')
    started = time.monotonic()
    while time.monotonic() - started < 2.2:  # killed between two flushes, wherever that is
        header = Header(frame_id='camera', stamp=ros.node.get_clock().now().to_msg())
        meshes.publish(human_mesh_array_message(header, [make_mesh(0, 13348)], 'abc'))
        ros.spin(0.02)
    killed_ns = time.time_ns()
    assert ros.processes[0].stop(signal.SIGKILL) == -signal.SIGKILL
    recorded = list(read_bag(ros.folder / 'bag', ['/robot/human_meshes']))
    assert (killed_ns - recorded[-1].receive_ns) / 1e9 <= 1.0
    assert len(recorded) > 20
    assert _counts(ros.folder / 'bag')['/robot/human_meshes'] == len(recorded)


def test_calibration_is_recorded_from_every_camera_and_pictures_on_demand(ros: RosTest) -> None:
    careless = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    infos = ros.node.create_publisher(CameraInfo, 'camera_info', careless)
    pictures = ros.node.create_publisher(CompressedImage, 'image/compressed', careless)
    markers = ros.node.create_publisher(MarkerArray, 'markers', 5)
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', ros.folder / 'bag', '--also',
                         'image/compressed')
    recorder.wait_for('recording')
    ros.spin_until(lambda: infos.get_subscription_count() and pictures.get_subscription_count())
    ros.spin(1.5)  # best effort messages right after discovery may get lost
    for _ in range(3):
        infos.publish(CameraInfo())
        pictures.publish(CompressedImage(format='jpeg', data=[1, 2, 3]))
        ros.spin(0.05)
    assert markers.get_subscription_count() == 0
    assert recorder.stop() == 0, recorder.output
    assert _counts(ros.folder / 'bag') == {'/camera_info': 3, '/image/compressed': 3}


def test_what_was_asked_for_and_never_came_is_told_with_what_there_is_instead(
        ros: RosTest) -> None:
    camera = ros.node.create_publisher(Image, 'front/image', 5)
    pictures = ros.node.create_publisher(Image, 'image', 5)
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', ros.folder / 'bag', '--also',
                         'image/compressed', 'iuv', 'image')
    recorder.wait_for('recording')
    ros.spin_until(pictures.get_subscription_count)
    ros.spin(1.5)  # best effort messages right after discovery may get lost
    pictures.publish(Image(height=1, width=1, encoding='mono8', step=1, data=[1]))
    ros.spin(0.7)
    for publisher in (camera, pictures):  # the camera ends first, as where everything is stopped
        ros.node.destroy_publisher(publisher)
    ros.spin(0.5)
    assert recorder.stop() == 0, recorder.output
    warnings = [line for line in recorder.output.splitlines() if 'WARN' in line]
    assert len(warnings) == 2, recorder.output
    for name, warning in zip(('/image/compressed', '/iuv'), warnings, strict=True):
        assert f'nothing came on {name}, which --also asks for: nobody publishes it' in warning
        assert ('/front/image (sensor_msgs/msg/Image of /test), /image (sensor_msgs/msg/Image of '
                '/test)') in warning


def test_a_damaged_bag_is_recovered_by_the_command(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topic = BagTopic('/human_meshes', 'decomr/msg/HumanMeshArray',
                     message_definition('decomr/msg/HumanMeshArray'), False)
    writer = BagWriter(tmp_path / 'bag', [topic])
    writer.write('/human_meshes', serialize_message(HumanMeshArray()), 1, 1)
    writer.flush()
    path = tmp_path / 'bag' / 'bag_0.mcap'
    os.truncate(path, path.stat().st_size - 20)
    with pytest.raises(ReaderError):
        _counts(tmp_path / 'bag')
    assert main(['--recover', str(tmp_path / 'bag')]) == 0
    assert capsys.readouterr().out == '/human_meshes: 1 messages\nmended: bag_0.mcap\n'
    assert _counts(tmp_path / 'bag') == {'/human_meshes': 1}
    before = path.read_bytes()
    assert main(['--recover', str(path)]) == 0
    assert capsys.readouterr().out.endswith(f'nothing is wrong with {path}; it is as it was\n')
    assert path.read_bytes() == before
    assert main(['--recover', str(tmp_path / 'nowhere')]) == 2
    assert 'there is no' in capsys.readouterr().err


def test_a_bag_in_the_way_is_one_line_and_exit_code_2(ros: RosTest) -> None:
    (ros.folder / 'bag').mkdir()
    (ros.folder / 'bag' / 'file').touch()
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', ros.folder / 'bag')
    assert recorder.process.wait(20) == 2
    assert recorder.output.count('\n') == 1
    assert 'choose another folder' in recorder.output


def test_a_full_disk_ends_the_recorder_with_a_sentence(
        tmp_path: Path, inner_recorder: Callable[..., Recorder],
        monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    recorder = inner_recorder(tmp_path / 'bag')

    def full(*_: object) -> int:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(bag.os, 'pwrite', full)
    recorder._flush()
    assert recorder.exit_code == 1
    recorder.close()
    log = capfd.readouterr().err
    assert log.count('the recording ends: [Errno 28] No space left on device') == 1
    assert f'--recover {tmp_path / "bag"}' in log


def test_what_comes_before_the_first_clock_is_recorded_at_its_time(
        tmp_path: Path, inner_recorder: Callable[..., Recorder],
        monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = inner_recorder(tmp_path / 'bag', use_sim_time=True)
    clock_ns = iter([0, 0, 7_000_000_000, 9_000_000_000])
    monkeypatch.setattr(recorder, 'get_clock', lambda: SimpleNamespace(
        now=lambda: SimpleNamespace(nanoseconds=next(clock_ns))))
    for text in (b'topology', b'first', b'second', b'third'):
        recorder._write('/topology', text, sent_ns=1_700_000_000_000_000_000)
    monkeypatch.undo()
    recorder.close()
    assert [(message.data, message.receive_ns, message.publish_ns)
            for message in read_bag(tmp_path / 'bag')] == [
        (b'topology', 7_000_000_000, 7_000_000_000), (b'first', 7_000_000_000, 7_000_000_000),
        (b'second', 7_000_000_000, 7_000_000_000), (b'third', 9_000_000_000, 9_000_000_000)]
