from __future__ import annotations

import dataclasses
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from decomr.msg import HumanMesh as HumanMeshMessage
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.errors import ReaderError
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_core.base.structures import HumanMesh
from decomr_ros.bags import mcap_writing
from decomr_ros.bags.mcap_reading import read_bag, read_topics
from decomr_ros.bags.mcap_writing import BagWriter
from decomr_ros.bags.message_definitions import message_definition
from decomr_ros.bags.topics import BagTopic
from decomr_ros.messages.meshes import human_mesh_array_message, human_meshes_from_message
from decomr_ros.recorder import FLUSH_PERIOD_S, READY, Recorder, main
from tests.ros.conftest import Process, RosTest, make_mesh, wait_until

# A recorder that prints what it does and what it sees of others, for the tests to wait for.
TELLING = """
from decomr_ros import recorder

write, flush = recorder.BagWriter.write, recorder.BagWriter.flush
look = recorder.publishers_text

def write_and_tell(self, topic, data, receive_ns, publish_ns):
    write(self, topic, data, receive_ns, publish_ns)
    stamp_s = int.from_bytes(data[4:8], 'little')  # of the header, which comes first
    print('written', topic, self.counts[topic], receive_ns, stamp_s, flush=True)

def flush_and_tell(self):
    flush(self)
    print('flushed', self.counts, flush=True)

def look_and_tell(node, topic, *types):
    seen = look(node, topic, *types)
    print(f'seen instead of {topic}: {seen}', flush=True)
    return seen

recorder.BagWriter.write, recorder.BagWriter.flush = write_and_tell, flush_and_tell
recorder.publishers_text = look_and_tell
"""


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


def _start(ros: RosTest, *words: object, flush_period_s: float = FLUSH_PERIOD_S) -> Process:
    """Starts a recorder that prints what it does."""
    program = (
        f'{TELLING}\nrecorder.FLUSH_PERIOD_S = {flush_period_s}\nraise SystemExit(recorder.main())'
    )
    recorder = ros.start('-c', program, '--out', ros.folder / 'bag', *words)
    recorder.wait_for('recording')
    return recorder


def _publish(ros: RosTest, count: int, **options: float) -> tuple[Publisher, Process]:
    """Publishes a latched topology before any subscriber exists, then meshes."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    # Before the topology, so that a recorder that has that one knows this one too.
    meshes = ros.node.create_publisher(HumanMeshArray, 'robot/human_meshes', max(count, 10))
    topology = ros.node.create_publisher(MeshTopology, 'robot/topology', latched)
    topology.publish(MeshTopology(hash='abc'))
    recorder = _start(ros, '--ros-args', '-r', '__ns:=/robot', **options)
    recorder.wait_for(f'{READY}: ')
    wait_until(lambda: meshes.get_subscription_count() == 1, 60)
    for index in range(count):
        meshes.publish(
            human_mesh_array_message(Header(frame_id='camera'), [make_mesh(index)], 'abc')
        )
    if count:
        recorder.wait_for(f'written /robot/human_meshes {count} ')
    return meshes, recorder


def _written(recorder: Process, topic: str) -> list[int]:
    """When the messages of a topic were received that the recorder has taken, ns."""
    # A line that is being printed does not count.
    lines = recorder.output.rpartition('\n')[0].splitlines()
    return [int(line.split()[3]) for line in lines if line.startswith(f'written {topic} ')]


def _flushed(recorder: Process) -> int:
    """How many meshes are safe on the disk. The bag itself is not whole while it is written."""
    counts = re.findall(r"flushed .*'/robot/human_meshes': (\d+),.*\n", recorder.output)
    return int(counts[-1]) if counts else 0


def _publish_until(publish: Callable[[], object], condition: Callable[[], object]) -> None:
    """Keeps publishing: best effort messages right after discovery may be lost silently."""
    deadline = time.monotonic() + 60
    while not condition():
        publish()
        time.sleep(0.02)
        assert time.monotonic() < deadline


def _counts(folder: Path) -> dict[str, int]:
    with Reader(folder) as reader:
        return {name: topic.msgcount for name, topic in reader.topics.items() if topic.msgcount}


def test_sigint_closes_the_bag_with_every_message_and_exit_code_0(ros: RosTest) -> None:
    _, recorder = _publish(ros, 20, flush_period_s=3600)  # the end alone writes them
    assert _counts(ros.folder / 'bag') == {}
    assert recorder.stop() == 0, recorder.output
    assert _counts(ros.folder / 'bag') == {'/robot/human_meshes': 20, '/robot/topology': 1}


def test_after_sigkill_the_bag_opens_up_to_the_last_flush(ros: RosTest) -> None:
    _, recorder = _publish(ros, 20)
    wait_until(lambda: _flushed(recorder) == 20, 60)
    assert recorder.stop(signal.SIGKILL) == -signal.SIGKILL
    assert _counts(ros.folder / 'bag') == {'/robot/human_meshes': 20, '/robot/topology': 1}


@pytest.mark.full_size
def test_sigkill_while_recording_loses_at_most_a_second(ros: RosTest) -> None:
    meshes, recorder = _publish(ros, 0)

    def publish() -> None:
        header = Header(frame_id='camera', stamp=ros.node.get_clock().now().to_msg())
        meshes.publish(human_mesh_array_message(header, [make_mesh(0, 13348)], 'abc'))

    _publish_until(publish, lambda: _flushed(recorder) > 20)
    # Killed between two flushes, and so late that another one must have been.
    end = time.monotonic() + 1.2
    _publish_until(publish, lambda: time.monotonic() > end)
    assert recorder.stop(signal.SIGKILL) == -signal.SIGKILL
    recorded = list(read_bag(ros.folder / 'bag', ['/robot/human_meshes']))
    received_ns = _written(recorder, '/robot/human_meshes')
    assert [message.receive_ns for message in recorded] == received_ns[: len(recorded)]
    # Time that the recorder had, which is less than the time on the clock where others keep the
    # cores busy. After such a pause it takes one message before the flush that is due.
    assert (received_ns[-2] - recorded[-1].receive_ns) / 1e9 <= 1.0
    assert len(recorded) > 20
    assert _counts(ros.folder / 'bag')['/robot/human_meshes'] == len(recorded)


def test_calibration_is_recorded_from_every_camera_and_images_on_demand(ros: RosTest) -> None:
    careless = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    infos = ros.node.create_publisher(CameraInfo, 'camera_info', careless)
    images = ros.node.create_publisher(CompressedImage, 'image/compressed', careless)
    markers = ros.node.create_publisher(MarkerArray, 'markers', 5)
    recorder = _start(ros, '--also', 'image/compressed')

    numbers = itertools.count(1)

    def publish() -> int:
        number = next(numbers)
        header = Header(stamp=Time(sec=number))
        infos.publish(CameraInfo(header=header))
        images.publish(CompressedImage(header=header, format='jpeg', data=[1, 2, 3]))
        return number

    topics = '/camera_info', '/image/compressed'
    _publish_until(publish, lambda: all(_written(recorder, topic) for topic in topics))
    last = [publish() for _ in range(3)][-1]
    wait_until(
        lambda: all(
            re.search(rf'written {topic} .* {last}\n', recorder.output) for topic in topics
        ),
        60,
        lambda: recorder.output,
    )
    assert markers.get_subscription_count() == 0
    assert recorder.stop() == 0, recorder.output
    recorded: dict[str, list[int]] = {}
    for message in read_bag(ros.folder / 'bag'):
        kind = CameraInfo if message.topic == '/camera_info' else CompressedImage
        recorded.setdefault(message.topic, []).append(
            deserialize_message(message.data, kind).header.stamp.sec
        )
    assert set(recorded) == set(topics)
    for topic, seconds in recorded.items():  # all of them, from the first that was heard
        assert seconds == list(range(seconds[0], last + 1)), topic
        assert len(seconds) > 3, topic
    assert _counts(ros.folder / 'bag') == {topic: len(recorded[topic]) for topic in topics}


def test_requested_topics_without_messages_are_reported_with_alternatives(ros: RosTest) -> None:
    camera = ros.node.create_publisher(Image, 'front/image', 5)
    images = ros.node.create_publisher(Image, 'image', 5)
    recorder = _start(ros, '--also', 'image/compressed', 'iuv', 'image')
    _publish_until(
        lambda: images.publish(Image(height=1, width=1, encoding='mono8', step=1, data=[1])),
        lambda: _written(recorder, '/image'),
    )
    silent = '/image/compressed', '/iuv'

    def wait_until_seen(text: str) -> None:
        """Until this is what the recorder sees instead of each silent topic from now on."""
        start = len(recorder.output)
        wait_until(
            lambda: all(
                f'\nseen instead of {name}: {text}\n' in recorder.output[start:] for name in silent
            ),
            60,
            lambda: recorder.output,
        )

    there_is = (
        '/front/image (sensor_msgs/msg/Image from /test), /image (sensor_msgs/msg/Image '
        'from /test)'
    )
    wait_until_seen(f'no node publishes it; published instead: {there_is}')
    # The camera ends first, as where everything is stopped; the recorder has just looked around,
    # and does not see one of them without the other.
    for publisher in (camera, images):
        ros.node.destroy_publisher(publisher)
    wait_until_seen('')
    assert recorder.stop() == 0, recorder.output
    warnings = [
        line for line in recorder.output.splitlines() if 'WARN' in line and 'no message on' in line
    ]
    assert len(warnings) == 2, recorder.output
    for name, warning in zip(silent, warnings, strict=True):
        assert f'no message on {name}, which --also requests: no node publishes it' in warning
        assert there_is in warning


@pytest.mark.full_size
def test_unpublished_topics_are_reported_during_the_recording(ros: RosTest) -> None:
    images = ros.node.create_publisher(Image, 'image', 5)
    recorder = _start(ros, '--also', 'image/compressed', 'image', '/events')
    for name in '/image/compressed', '/events':
        recorder.wait_for(f'{name}, which --also requests, has no publisher', 30)
    told = [line for line in recorder.output.splitlines() if 'has no publisher' in line]
    assert len(told) == 2 and all('WARN' in line for line in told), told
    assert 'published instead: /image (sensor_msgs/msg/Image from /test)' in told[0]
    assert not any('/image, which --also requests' in line for line in told)
    late = ros.node.create_publisher(CompressedImage, 'image/compressed', 5)
    _publish_until(
        lambda: late.publish(CompressedImage(format='jpeg', data=[1])),
        lambda: '/image/compressed is recorded now' in recorder.output,
    )
    assert recorder.stop() == 0, recorder.output
    ros.node.destroy_publisher(images)


@pytest.mark.parametrize(
    'words', [(), ('--max-error-mm', '5'), ('--max-error-mm', '0', '--compression', 'lz4')]
)
def test_recorded_vertices_are_near_the_published_ones_for_every_reader(
    ros: RosTest, words: tuple[str, ...]
) -> None:
    bound_mm = float(words[1]) if words else 0.5
    mesh = dataclasses.replace(make_mesh(7, 13348), visibility=np.ones(13348, bool))
    publisher = ros.node.create_publisher(HumanMeshArray, 'human_meshes', 10)
    recorder = _start(ros, *words)
    _publish_until(
        lambda: publisher.publish(
            human_mesh_array_message(Header(frame_id='camera'), [mesh], 'abc')
        ),
        lambda: _written(recorder, '/human_meshes'),
    )
    assert recorder.stop() == 0, recorder.output
    (channel,) = [
        topic for name, topic in read_topics(ros.folder / 'bag').items() if name == '/human_meshes'
    ]
    stated_mm = float(channel.metadata.get('vertices_max_error_mm', 0))
    for seen in (
        _by_our_reader(ros.folder / 'bag'),
        _by_rosbags(ros.folder / 'bag'),
        _by_a_subscriber(ros),
    ):
        np.testing.assert_array_equal(np.ravel(seen.joints), mesh.joints.ravel())
        vertices = np.asarray(seen.vertices, float).reshape(-1, 3)
        moved_mm = np.linalg.norm(vertices - mesh.vertices, axis=1).max() * 1000
        assert 0.8 * stated_mm < moved_mm <= stated_mm <= bound_mm or moved_mm == bound_mm == 0
    if bound_mm:  # noise: real meshes become smaller
        size = next((ros.folder / 'bag').glob('*.mcap')).stat().st_size
        assert size < 0.8 * mesh.vertices.nbytes * _counts(ros.folder / 'bag')['/human_meshes']


def _by_our_reader(bag: Path) -> HumanMesh:
    message = next(read_bag(bag, ['/human_meshes']))
    return human_meshes_from_message(deserialize_message(message.data, HumanMeshArray))[0]


def _by_rosbags(bag: Path) -> object:
    """Decoded by the definitions that are in the bag."""
    with AnyReader([bag]) as reader:
        connections = [found for found in reader.connections if found.topic == '/human_meshes']
        connection, _, data = next(reader.messages(connections))
        return reader.deserialize(data, connection.msgtype).meshes[0]


def _by_a_subscriber(ros: RosTest) -> HumanMeshMessage:
    """Played as `ros2 bag play` does: the recorded bytes on a topic of the recorded type."""
    data = next(read_bag(ros.folder / 'bag', ['/human_meshes'])).data
    heard: list[HumanMeshArray] = []
    ros.node.create_subscription(HumanMeshArray, 'played/human_meshes', heard.append, 10)
    player = ros.node.create_publisher(HumanMeshArray, 'played/human_meshes', 10)

    def publish_and_hear() -> bool:
        player.publish(data)
        return bool(heard)

    ros.spin_until(publish_and_hear)
    return heard[0].meshes[0]


def test_meshes_that_cannot_be_rounded_are_recorded_unchanged_with_a_warning(
    tmp_path: Path, inner_recorder: Callable[..., Recorder], capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = inner_recorder(tmp_path / 'bag')
    strange = b'\0\0\0\0 of another version'
    rounded = [recorder._rounding.rounded('decomr/msg/HumanMeshArray', strange) for _ in range(2)]
    assert rounded == [strange] * 2
    log = capfd.readouterr().err
    assert log.count('meshes are recorded without rounding') == 1
    assert 'run recorder and node from the same version' in log
    recorder.close()


@pytest.mark.parametrize('bound', ['-1', 'nan', 'much', '0.001', '200'])
def test_an_invalid_error_bound_is_one_line_and_exit_code_2(
    bound: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['--max-error-mm', bound])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert '0.01 to 100 mm' in error
    assert error.count('\n') == 1


def test_a_damaged_bag_is_recovered_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = BagTopic(
        '/human_meshes',
        'decomr/msg/HumanMeshArray',
        message_definition('decomr/msg/HumanMeshArray'),
        False,
    )
    writer = BagWriter(tmp_path / 'bag', [topic])
    writer.write('/human_meshes', serialize_message(HumanMeshArray()), 1, 1)
    writer.flush()
    path = tmp_path / 'bag' / 'bag_0.mcap'
    os.truncate(path, path.stat().st_size - 20)
    with pytest.raises(ReaderError):
        _counts(tmp_path / 'bag')
    assert main(['--recover', str(tmp_path / 'bag')]) == 0
    assert capsys.readouterr().out == '/human_meshes: 1 messages\nrepaired: bag_0.mcap\n'
    assert _counts(tmp_path / 'bag') == {'/human_meshes': 1}
    before = path.read_bytes()
    assert main(['--recover', str(path)]) == 0
    assert capsys.readouterr().out.endswith(f'{path} is intact; nothing was changed\n')
    assert path.read_bytes() == before
    assert main(['--recover', str(tmp_path / 'nowhere')]) == 2
    assert 'there is no' in capsys.readouterr().err


def test_an_existing_bag_is_one_line_and_exit_code_2(ros: RosTest) -> None:
    (ros.folder / 'bag').mkdir()
    (ros.folder / 'bag' / 'file').touch()
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', ros.folder / 'bag')
    assert recorder.process.wait(20) == 2
    assert recorder.output.count('\n') == 1
    assert 'choose another folder' in recorder.output


def test_a_full_disk_ends_the_recorder_with_a_message(
    tmp_path: Path,
    inner_recorder: Callable[..., Recorder],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recorder = inner_recorder(tmp_path / 'bag')

    def full(*_: object) -> int:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(mcap_writing.os, 'pwrite', full)
    recorder._flush()
    assert recorder.exit_code == 1
    recorder.close()
    log = capfd.readouterr().err
    assert log.count('recording stopped: [Errno 28] No space left on device') == 1
    assert f'--recover {tmp_path / "bag"}' in log


def test_messages_before_the_first_clock_are_recorded_at_their_time(
    tmp_path: Path, inner_recorder: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = inner_recorder(tmp_path / 'bag', use_sim_time=True)
    clock_ns = iter([0, 0, 7_000_000_000, 9_000_000_000])
    monkeypatch.setattr(
        recorder,
        'get_clock',
        lambda: SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=next(clock_ns))),
    )
    for text in (b'topology', b'first', b'second', b'third'):
        recorder._write('/topology', text, sent_ns=1_700_000_000_000_000_000)
    monkeypatch.undo()
    recorder.close()
    assert [
        (message.data, message.receive_ns, message.publish_ns)
        for message in read_bag(tmp_path / 'bag')
    ] == [
        (b'topology', 7_000_000_000, 7_000_000_000),
        (b'first', 7_000_000_000, 7_000_000_000),
        (b'second', 7_000_000_000, 7_000_000_000),
        (b'third', 9_000_000_000, 9_000_000_000),
    ]
