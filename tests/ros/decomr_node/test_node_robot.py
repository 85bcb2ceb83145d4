"""What the node publishes for robots, with a small fake of tf2_ros."""

from __future__ import annotations

import sys
import types

import pytest
from decomr.msg import ProximityArray
from geometry_msgs.msg import TransformStamped
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from tests.ros.conftest import RosTest
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode
from tests.ros.node_client import FRAME


class _NotKnown(Exception):
    """What tf2 raises."""


class _Buffer:
    """Knows where the tool is in the camera's frame."""

    def lookup_transform(self, target: str, source: str, time: object) -> TransformStamped:
        if (target, source) != (FRAME, 'tool'):
            raise _NotKnown(f'"{source}" passed to lookupTransform does not exist')
        found = TransformStamped()
        found.transform.translation.z = 0.5
        found.transform.rotation.w = 1.0
        return found


@pytest.fixture(autouse=True)
def with_tf2(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = types.SimpleNamespace(unregister=lambda: None)
    monkeypatch.setitem(
        sys.modules,
        'tf2_ros',
        types.SimpleNamespace(
            Buffer=_Buffer, TransformListener=lambda *_: listener, TransformException=_NotKnown
        ),
    )


def test_proximity_has_the_stamp_of_the_image_and_diagnostics_its_smallest_distance(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    inner = InnerNode(
        ros,
        monkeypatch,
        Topology.from_body(tiny_body, tiny_uv_map),
        robot_parts='tool 0.05; hand 0.05',
    )
    received: list[ProximityArray] = []
    ros.node.create_subscription(ProximityArray, 'proximity', received.append, 10)
    camera = inner.activate()
    inner.wait_for_listeners('proximity')
    meshes = camera.show_until_placed(HEIGHT, WIDTH)
    ros.spin_until(lambda: any(array.header == meshes.header for array in received))
    (array,) = [array for array in received if array.header == meshes.header]
    assert {(one.id, one.robot_frame) for one in array.proximities} == {(0, 'tool'), (1, 'tool')}
    assert array.unknown_frames == ['hand']
    values = {pair.key: pair.value for pair in inner.status().values}
    assert f'{array.proximities[0].distance:.2f} m' in values['nearest']
    assert 'the distance to hand is unknown' in values['warning_proximity_frames']
    inner.node.close()


def test_invalid_robot_parts_are_rejected_when_they_are_set(
    inner: InnerNode, capfd: pytest.CaptureFixture[str]
) -> None:
    result = inner.node.set_parameters_atomically([Parameter('robot_parts', value='tool wide')])
    assert not result.successful
    assert "robot_parts contains 'tool wide'; expected FRAME RADIUS" in result.reason
    inner.set(robot_parts='tool 0.1; hand 0.05')
    assert inner.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert ', distances to tool, hand\n' in capfd.readouterr().err
