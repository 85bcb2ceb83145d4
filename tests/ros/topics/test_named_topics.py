"""The recorder takes any topic by its name, with the type and the QoS that its publishers have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import rclpy
from geometry_msgs.msg import PointStamped, TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from decomr_ros import recorder as recorder_module
from decomr_ros.bags.mcap_reading import read_bag, recover_bag
from decomr_ros.recorder import Recorder
from decomr_ros.topics.named_topics import NamedTopics, Offer, message_class, offer_of
from decomr_ros.topics.silent_topics import IMAGE_TYPES, other_topics_text
from tests.ros.conftest import Process, RosTest
from tests.ros.fake_node import FakeNode

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CARELESS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def _start(ros: RosTest, *words: str) -> Process:
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', ros.folder / 'bag', *words)
    recorder.wait_for('recording')
    return recorder


def _qos(bag: Path, topic: str) -> tuple[str, int]:
    """Durability and depth that `ros2 bag play` would offer a topic with."""
    with Reader(bag) as reader:
        (profile,) = next(
            connection.ext.offered_qos_profiles
            for connection in reader.connections
            if connection.topic == topic
        )
    return profile.durability.name, profile.depth


def _read(bag: Path, topic: str) -> list[object]:
    """The messages of a topic, decoded by the definitions that the bag itself holds."""
    with AnyReader([bag]) as reader:
        return [
            reader.deserialize(data, connection.msgtype)
            for connection, _, data in reader.messages()
            if connection.topic == topic
        ]


def _count(bag: Path, topic: str) -> int:
    try:
        return sum(message.topic == topic for message in read_bag(bag))
    except ValueError:  # it is being written at this moment
        return 0


def test_a_topic_of_any_type_is_recorded_by_its_name_in_the_namespace(ros: RosTest) -> None:
    recorder = _start(ros, '--also', 'gaze', '--ros-args', '-r', '__ns:=/robot')
    publisher = ros.node.create_publisher(PointStamped, '/robot/gaze', 10)
    recorder.wait_for('recording /robot/gaze (geometry_msgs/msg/PointStamped)')
    ros.spin_until(lambda: publisher.get_subscription_count() == 1)
    for index in range(5):
        message = PointStamped(header=Header(frame_id='camera'))
        message.point.x = float(index)
        publisher.publish(message)
    ros.spin_until(lambda: _count(ros.folder / 'bag', '/robot/gaze') == 5)
    assert recorder.stop() == 0, recorder.output
    assert [message.point.x for message in _read(ros.folder / 'bag', '/robot/gaze')] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert _qos(ros.folder / 'bag', '/robot/gaze') == ('VOLATILE', 10)


def test_latched_messages_of_several_publishers_are_recorded_as_latched(ros: RosTest) -> None:
    for name in ('base_link', 'camera_link'):
        ros.node.create_publisher(TransformStamped, '/mounts', LATCHED).publish(
            TransformStamped(child_frame_id=name)
        )
    recorder = _start(ros, '--also', '/mounts')
    ros.spin_until(lambda: _count(ros.folder / 'bag', '/mounts') == 2)
    assert recorder.stop() == 0, recorder.output
    bag = ros.folder / 'bag'
    assert {message.child_frame_id for message in _read(bag, '/mounts')} == {
        'base_link',
        'camera_link',
    }
    durability, depth = _qos(bag, '/mounts')
    assert durability == 'TRANSIENT_LOCAL'
    assert depth >= 2, 'somebody who is late gets those of both'
    (bag / 'metadata.yaml').unlink()
    recover_bag(bag)
    assert _qos(bag, '/mounts') == (durability, depth)


def test_a_later_publisher_with_a_weaker_offer_is_recorded(ros: RosTest) -> None:
    recorder = _start(ros, '--also', '/said')
    first = ros.node.create_publisher(String, '/said', LATCHED)
    ros.spin_until(lambda: first.get_subscription_count() == 1)
    second = ros.node.create_publisher(String, '/said', CARELESS)

    def is_recorded() -> bool:
        second.publish(String(data='second'))
        return _count(ros.folder / 'bag', '/said') > 0

    ros.spin_until(is_recorded)
    assert recorder.stop() == 0, recorder.output
    assert {message.data for message in _read(ros.folder / 'bag', '/said')} == {'second'}


def test_the_offer_of_a_topic_is_common_to_all_publishers(ros: RosTest) -> None:
    assert offer_of(ros.node, '/said') is None
    ros.node.create_publisher(String, '/said', LATCHED)
    ros.spin_until(lambda: offer_of(ros.node, '/said') == (('std_msgs/msg/String',), True, True))
    ros.node.create_publisher(String, '/said', CARELESS)
    ros.spin_until(lambda: offer_of(ros.node, '/said') == (('std_msgs/msg/String',), False, False))


def test_a_type_that_is_not_installed_is_reported_once_and_the_rest_is_recorded(
    ros: RosTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    with pytest.raises(
        ImportError,
        match='type is here_msgs/msg/Thing.* here_msgs is not inst.*ros-jazzy-here-msgs',
    ):
        message_class('here_msgs/msg/Thing')
    monkeypatch.setattr(
        'decomr_ros.topics.named_topics.message_class',
        lambda name: message_class('here_msgs/msg/Thing'),
    )
    rclpy.init()
    recorder = Recorder(tmp_path / 'bag', ['/said'])
    ros.add(recorder)
    publisher = ros.node.create_publisher(String, '/said', 5)
    ros.spin_until(lambda: offer_of(recorder, '/said') is not None)
    ros.spin(5 * recorder_module.DISCOVERY_PERIOD_S)
    recorder.close()
    log = capfd.readouterr().err
    assert log.count('/said is not recorded: its type is here_msgs/msg/Thing') == 1
    assert 'no message on /said, which --also requests: it is published as /said' in log
    assert publisher.get_subscription_count() == 0
    rclpy.shutdown()


def test_publishers_that_disagree_on_the_type_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    types = 'geometry_msgs/msg/PointStamped', 'std_msgs/msg/String'
    # One process cannot publish two types on a topic.
    monkeypatch.setattr(
        'decomr_ros.topics.named_topics.offer_of', lambda *_: Offer(types, True, False)
    )
    node = FakeNode()
    topics = NamedTopics(node, ['/said'], lambda *_: pytest.fail('subscribed to a wrong type'))
    topics.update()
    topics.update()
    assert len(node.errors) == 1
    assert (
        f'/said is not recorded: its publishers disagree on the type ({", ".join(types)}'
        in (node.errors[0])
    )


def test_an_unpublished_topic_is_reported_at_the_end(ros: RosTest) -> None:
    recorder = _start(ros, '--also', '/tf')
    assert recorder.stop() == 0, recorder.output
    assert 'no message on /tf, which --also requests: no node publishes it' in recorder.output


def test_a_topic_recorded_by_default_is_recorded_once(ros: RosTest) -> None:
    recorder = _start(ros, '--also', '/human_meshes', 'camera_info')
    assert recorder.stop() == 0, recorder.output
    assert recorder.output.count('/human_meshes, /topology, /camera_info, /diagnostics to') == 1


def test_an_invalid_topic_name_is_one_line_and_exit_code_2(ros: RosTest) -> None:
    recorder = ros.start(
        '-m', 'decomr_ros.recorder', '--out', ros.folder / 'bag', '--also', 'a topic'
    )
    assert recorder.process.wait(30) == 2
    assert recorder.output.count('\n') == 1
    assert not os.path.exists(ros.folder / 'bag')


def test_images_of_the_same_name_are_named_before_those_of_the_node_itself(ros: RosTest) -> None:
    for type_, topic in ((CompressedImage, '/a/iuv/compressed'), (Image, '/front/image')):
        ros.node.create_publisher(type_, topic, 5)
    recorder = rclpy.create_node('recorder', context=ros.context)
    ros.add(recorder)

    def text() -> str:
        return other_topics_text(recorder, '/image/compressed', IMAGE_TYPES)

    ros.spin_until(lambda: '/front/image' in text() and '/a/iuv/compressed' in text())
    assert text().index('/front/image') < text().index('/a/iuv/compressed')


def test_transforms_are_recorded_with_static_ones_latched(ros: RosTest) -> None:
    messages = pytest.importorskip(
        'tf2_msgs.msg', reason='tf2_msgs is part of a ROS 2 installation, not of the pip wheels'
    )
    static = ros.node.create_publisher(messages.TFMessage, '/tf_static', LATCHED)
    static.publish(messages.TFMessage(transforms=[TransformStamped(child_frame_id='camera')]))
    moving = ros.node.create_publisher(messages.TFMessage, '/tf', 100)
    recorder = _start(ros, '--also', '/tf', '/tf_static')
    ros.spin_until(lambda: moving.get_subscription_count() == 1)
    moving.publish(messages.TFMessage(transforms=[TransformStamped(child_frame_id='body_p3')]))
    bag = ros.folder / 'bag'
    ros.spin_until(lambda: _count(bag, '/tf') == _count(bag, '/tf_static') == 1)
    assert recorder.stop() == 0, recorder.output
    assert _read(bag, '/tf')[0].transforms[0].child_frame_id == 'body_p3'
    assert _read(bag, '/tf_static')[0].transforms[0].child_frame_id == 'camera'
    assert _qos(bag, '/tf')[0] == 'VOLATILE'
    assert _qos(bag, '/tf_static')[0] == 'TRANSIENT_LOCAL'
