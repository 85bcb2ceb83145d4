"""Each subscription has a thread that takes its messages and ends with it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.node.taking_thread import OwnThreadGroup, TakingThread
from decomr_ros.pipeline import mesh_pipeline
from tests.ros.conftest import RosTest, wait_until
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode

DEPTH = 100


def taking_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith('take ')]


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def start(ros: RosTest, take: Callable, raw: bool = False) -> tuple[TakingThread, Callable]:
    """The thread of a new subscription, and a function that sends it a text."""
    subscription = ros.node.create_subscription(
        String,
        'text',
        lambda message: pytest.fail('the executor took a message'),
        QoSProfile(depth=DEPTH),
        raw=raw,
        callback_group=OwnThreadGroup(),
    )
    thread = TakingThread(ros.node, subscription, take)
    publisher = ros.node.create_publisher(String, 'text', QoSProfile(depth=DEPTH))
    wait_until(publisher.get_subscription_count, 10)
    return thread, lambda text: publisher.publish(String(data=text))


def test_messages_are_taken_in_order_while_no_executor_spins(ros: RosTest) -> None:
    taken: list[tuple[str, str]] = []
    thread, send = start(
        ros, lambda message: taken.append((message.data, threading.current_thread().name))
    )
    for number in range(50):
        send(str(number))
    wait_until(lambda: len(taken) == 50, 10)
    ros.spin(0.1)  # it does not take them either
    assert taken == [(str(number), 'take /text') for number in range(50)]
    thread.stop()


def test_raw_messages_come_as_bytes(ros: RosTest) -> None:
    taken: list[bytes] = []
    thread, send = start(ros, taken.append, raw=True)
    send('hello')
    wait_until(lambda: taken, 10)
    assert deserialize_message(taken[0], String).data == 'hello'
    thread.stop()


def test_an_error_is_logged_and_the_next_message_is_taken(
    ros: RosTest, capfd: pytest.CaptureFixture[str]
) -> None:
    taken: list[str] = []

    def take(message: String) -> None:
        taken.append(message.data)
        if message.data == 'bad':
            raise KeyError('no such thing')

    thread, send = start(ros, take)
    send('bad')
    send('good')
    wait_until(lambda: taken == ['bad', 'good'], 10)
    thread.stop()
    assert "a callback of /text failed: KeyError('no such thing')" in capfd.readouterr().err


def test_stopped_threads_leave_nothing_behind(ros: RosTest) -> None:
    before = threading.active_count()
    for _ in range(20):
        thread, send = start(ros, lambda message: None)
        thread.stop()
        send('nobody hears this')
    assert threading.active_count() == before


def test_a_node_that_is_destroyed_while_active_leaves_no_thread(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    inner = InnerNode(ros, monkeypatch, Topology.from_body(tiny_body, tiny_uv_map))
    monkeypatch.setattr(mesh_pipeline, 'SLOW_DETECTORS', ('person',))  # on a thread of its own
    inner.activate().show(HEIGHT, WIDTH)
    wait_until(lambda: {'frame_worker', 'detector_0'} <= set(thread_names()), 10)
    assert {thread.name for thread in taking_threads()} == {'take /image', 'take /camera_info'}
    inner.node.destroy_node()
    assert not taking_threads()
    names = thread_names()
    assert not any(name.startswith('frame_worker') for name in names), names
    # The node does not wait for the detector, which may look at an image still.
    wait_until(lambda: not any(name.startswith('detector') for name in thread_names()), 5)
