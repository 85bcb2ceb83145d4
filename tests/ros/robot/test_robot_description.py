"""The robot of `robot_description`: what is known of it while it is read, and after errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from decomr.msg import ProximityArray
from std_msgs.msg import String

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.node.qos import LATCHED
from decomr_ros.robot import robot_description
from decomr_ros.robot.robot_description import RobotDescription
from decomr_ros.robot.urdf import parts_from_urdf
from tests.ros.conftest import RosTest
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode, values_of
from tests.ros.node_client import FRAME


def urdf(link: str) -> str:
    sphere = '<collision><geometry><sphere radius="0.1"/></geometry></collision>'
    return f'<robot name="r"><link name="{link}">{sphere}</link></robot>'


class Publisher:
    """A node that only subscribes, and what it receives."""

    def __init__(self) -> None:
        self._receive: Callable[[String], None]
        self.description = RobotDescription(self, [])

    def resolve_topic_name(self, topic: str) -> str:
        return f'/{topic}'

    def create_subscription(
        self, type_: type, topic: str, callback: Callable[[String], None], qos: object
    ) -> SimpleNamespace:
        self._receive = callback
        return SimpleNamespace()

    def publish(self, text: str) -> None:
        self._receive(String(data=text))

    @property
    def state(self) -> tuple[list[str], str]:
        """The frames and the problem."""
        parts, problem = self.description.found
        return [part.frame for part in parts], problem


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == robot_description.TOPIC]


def wait() -> None:
    for thread in threads():
        thread.join(5)
        assert not thread.is_alive()


def test_while_a_robot_is_read_it_is_unknown_and_one_thread_reads_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_read, read = threading.Event(), []

    def slow(text: str, links: list[str]) -> list:
        read.append(text)
        assert may_read.wait(5)
        return parts_from_urdf(text, links)

    monkeypatch.setattr(robot_description, 'parts_from_urdf', slow)
    robot = Publisher()
    assert robot.state[0] == [] and 'robot_state_publisher' in robot.state[1]
    for link in ('a', 'b', 'c', 'd'):
        robot.publish(urdf(link))
    assert robot.state == ([], 'the robot of /robot_description is being read')
    assert len(threads()) == 1
    may_read.set()
    wait()
    assert robot.state == (['d'], '')
    assert len(read) <= 2 and read[-1] == urdf('d')
    robot.publish(urdf('e'))
    wait()
    assert robot.state == (['e'], '')


@pytest.mark.parametrize('error', [PermissionError('no access'), MemoryError(), KeyError('a')])
def test_any_error_is_stated_and_the_next_robot_is_read(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str, links: list[str]) -> list:
        raise error

    robot = Publisher()
    with monkeypatch.context() as patch:
        patch.setattr(robot_description, 'parts_from_urdf', fail)
        robot.publish(urdf('a'))
        wait()
    parts, problem = robot.state
    assert parts == [] and problem.startswith('/robot_description: ')
    assert str(error) in problem and not problem.endswith(': ')
    robot.publish(urdf('a'))
    wait()
    assert robot.state == (['a'], '')


def test_a_real_node_reads_the_robot_again_after_it_is_configured_again(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    topology = Topology.from_body(tiny_body, tiny_uv_map)
    inner = InnerNode(ros, monkeypatch, topology, use_robot_description=True)
    publisher = ros.node.create_publisher(String, 'robot_description', LATCHED)
    arrays: list[ProximityArray] = []
    ros.node.create_subscription(ProximityArray, 'proximity', arrays.append, 10)
    for robot in ('broken', urdf(FRAME), urdf(FRAME)):
        publisher.publish(String(data=robot))
        arrays.clear()
        camera = inner.activate()
        inner.wait_for_listeners('proximity')
        for _ in range(50):  # the first images may come before the robot or the calibration
            people = camera.show(HEIGHT, WIDTH).meshes
            problem = values_of(inner.status()).get('warning_proximity_robot', '')
            is_measured = bool(arrays and arrays[-1].proximities)
            if people and (is_measured or 'is not XML' in problem):
                break
        if robot == 'broken':
            assert 'is not XML' in problem and arrays == []
        else:
            assert {one.robot_frame for one in arrays[-1].proximities} == {FRAME}
            assert len(arrays[-1].proximities) == len(people) == 2
        inner.node.trigger_deactivate()
        inner.node.trigger_cleanup()
    inner.node.close()
