"""`decomr markers`: a played recording is shown as it was live."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros import markers_node
from decomr_ros.markers_node import MarkersNode, main
from decomr_ros.messages.markers import MeshMarkers
from decomr_ros.messages.meshes import human_mesh_array_message, mesh_topology_message
from tests.ros.conftest import RosTest, make_mesh
from tests.ros.fake_node import hide

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


class _Played:
    """Plays a recording like `ros2 bag play`, and records the markers."""

    def __init__(self, ros: RosTest, topology: Topology, namespace: str = '') -> None:
        self._ros, self.topology = ros, topology
        self.shown: list[MarkerArray] = []
        self._meshes = ros.node.create_publisher(HumanMeshArray, f'{namespace}/human_meshes', 10)
        self._topology = ros.node.create_publisher(MeshTopology, f'{namespace}/topology', LATCHED)
        ros.node.create_subscription(MarkerArray, f'{namespace}/markers', self.shown.append, 10)
        self._step = 0

    def header(self) -> Header:
        self._step += 1
        header = Header(frame_id='head_camera_optical_frame')
        header.stamp.sec, header.stamp.nanosec = 1000 + self._step, 17
        return header

    def send_topology(self) -> None:
        self._topology.publish(mesh_topology_message(self.topology))

    def wait(self, node: MarkersNode) -> None:
        """Waits until no sent message can be lost."""
        self._ros.spin_until(
            lambda: (
                self._meshes.get_subscription_count() == 1
                and self._topology.get_subscription_count() == 1
                and _publisher(node).get_subscription_count() == 1
            )
        )

    def send(self, *people: HumanMesh, body: str = '') -> Header:
        header = self.header()
        self._meshes.publish(human_mesh_array_message(header, people, body or self.topology.hash))
        return header

    def show(self, *people: HumanMesh) -> MarkerArray:
        """Sends people until they are shown: the topology may come after them."""

        def is_shown() -> bool:
            self.send(*people)
            self._ros.spin(0.05)
            return bool(self.shown) and len(self.shown[-1].markers) == len(people)

        self._ros.spin_until(is_shown)
        return self.shown[-1]


@pytest.fixture
def start(ros: RosTest) -> Iterator[Callable[..., MarkersNode]]:
    """Makes a node that spins with the test."""
    rclpy.init()
    made: list[MarkersNode] = []

    def make(*words: object, **options: object) -> MarkersNode:
        made.append(MarkersNode(*words, **options))
        ros.add(made[-1])
        return made[-1]

    yield make
    rclpy.try_shutdown()


def _publisher(node: MarkersNode) -> Publisher:
    return next(
        publisher for publisher in node.publishers if publisher.topic_name.endswith('markers')
    )


def _person(topology: Topology, number: int, x: float = 0.0) -> HumanMesh:
    """The template, upright before the camera."""
    vertices = topology.v_template * (1, -1, -1) + (x, 0, 4)
    return dataclasses.replace(
        make_mesh(number, len(vertices)), vertices=vertices.astype(np.float32)
    )


def test_played_meshes_become_the_markers_of_the_live_node(
    ros: RosTest, topology: Topology, start: Callable[..., MarkersNode]
) -> None:
    played = _Played(ros, topology)
    played.send_topology()  # before anybody listens, as a player that has started already
    played.wait(start(frames='none'))
    people = [_person(topology, 3), _person(topology, 8, 1.0)]
    shown = played.show(*people)
    expected = deserialize_message(
        MeshMarkers(topology.faces).serialize(
            shown.markers[0].header, {mesh.track_id: mesh.vertices for mesh in people}
        ),
        MarkerArray,
    )
    assert shown == expected
    assert shown.markers[0].header.frame_id == 'head_camera_optical_frame'
    assert shown.markers[0].header.stamp.nanosec == 17
    header = played.send(people[0])
    ros.spin_until(lambda: played.shown[-1].markers[0].header == header)
    assert {marker.id: marker.action for marker in played.shown[-1].markers} == {
        3: Marker.ADD,
        8: Marker.DELETE,
    }


def test_the_markers_are_cleared_at_the_end(
    ros: RosTest, topology: Topology, start: Callable[..., MarkersNode]
) -> None:
    played, node = _Played(ros, topology), start(frames='none')
    played.send_topology()
    played.wait(node)
    played.show(_person(topology, 3))
    node.close()
    ros.spin_until(
        lambda: [marker.action for marker in played.shown[-1].markers] == [Marker.DELETE]
    )


def test_fewer_triangles_have_corners_of_the_mesh(
    ros: RosTest, topology: Topology, start: Callable[..., MarkersNode]
) -> None:
    played, node = _Played(ros, topology), start(frames='none', num_triangles=100)
    played.send_topology()
    played.wait(node)
    person = _person(topology, 3)
    (marker,) = played.show(person).markers
    assert len(marker.points) == 300 < topology.faces.size
    corners = np.array([[point.x, point.y, point.z] for point in marker.points[:30]])
    assert np.linalg.norm(corners[:, None] - person.vertices, axis=2).min(1).max() < 1e-6


def test_people_without_a_position_and_meshes_of_another_body_are_reported_instead_of_shown(
    ros: RosTest,
    topology: Topology,
    start: Callable[..., MarkersNode],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(markers_node, 'THROTTLE_S', 0.0)
    logged: list[str] = []

    def log() -> str:
        """Everything so far."""
        logged.append(capfd.readouterr().err)
        return ''.join(logged)

    played, node = _Played(ros, topology), start(frames='none')
    played.wait(node)
    ros.spin_until(
        lambda: (
            played.send(_person(topology, 3))
            and ros.spin(0.05)
            or 'no topology on /topology' in log()
        )
    )
    assert played.shown == []
    played.send_topology()
    played.show(_person(topology, 3))
    played.shown.clear()
    header = played.send(dataclasses.replace(_person(topology, 3), is_metric=False))
    ros.spin_until(
        lambda: any(
            marker.action == Marker.DELETE and marker.header == header
            for array in played.shown
            for marker in array.markers
        )
    )
    ros.spin_until(
        lambda: (
            played.send(_person(topology, 3), body='another body')
            and ros.spin(0.05)
            or 'meshes belong to the body another body' in log()
        )
    )
    assert 'no calibration (camera_info)' in log()


def test_two_publishers_of_the_markers_are_reported(
    ros: RosTest,
    topology: Topology,
    start: Callable[..., MarkersNode],
    capfd: pytest.CaptureFixture[str],
) -> None:
    ros.node.create_publisher(MarkerArray, 'markers', 5)
    played, node = _Played(ros, topology), start(frames='none')
    played.send_topology()
    played.wait(node)
    ros.spin_until(lambda: node.count_publishers('markers') == 2)
    played.show(_person(topology, 3))
    assert capfd.readouterr().err.count('another node also publishes /markers') == 1


def test_frames_are_those_of_the_live_node_in_the_namespace(
    ros: RosTest, topology: Topology, start: Callable[..., MarkersNode]
) -> None:
    messages = pytest.importorskip(
        'tf2_msgs.msg', reason='tf2_msgs is part of a ROS 2 installation, not of the pip wheels'
    )
    transforms: list[object] = []
    ros.node.create_subscription(
        messages.TFMessage, '/tf', lambda message: transforms.extend(message.transforms), 10
    )
    played = _Played(ros, topology, '/left')
    played.send_topology()
    node = start('left', frames='joints')
    played.wait(node)
    ros.spin_until(lambda: node._frames._publisher.get_subscription_count() == 1)
    played.show(_person(topology, 3))
    ros.spin_until(lambda: len(transforms) >= 25)
    names = {transform.child_frame_id for transform in transforms}
    assert {'body_left_p3', 'l_shoulder_left_p3', 'head_left_p3'} <= names
    assert transforms[0].header.frame_id == 'head_camera_optical_frame'
    assert transforms[0].header.stamp.nanosec == 17


def test_without_tf2_msgs_only_markers_are_published_and_requested_frames_are_rejected(
    ros: RosTest,
    start: Callable[..., MarkersNode],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hide(monkeypatch, 'tf2_msgs')
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    start()
    assert 'sudo apt install ros-jazzy-tf2-msgs' in capfd.readouterr().err
    with pytest.raises(RuntimeError, match='not published on /tf.*or pass --tf none'):
        start(frames='bodies')


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--triangles', 'few'], 'not a number of triangles'),
        (['--tf', 'all'], 'invalid choice'),
        (['bag'], 'unrecognized arguments'),
    ],
)
def test_a_user_error_is_one_line_with_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1
