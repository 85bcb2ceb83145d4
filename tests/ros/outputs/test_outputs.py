"""What is published when, with a node that only records."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.messages.points import POINT
from decomr_ros.outputs import outputs as outputs_module
from decomr_ros.outputs.outputs import Outputs
from decomr_ros.pipeline import frame_result as frame_result_module
from decomr_ros.pipeline.frame_result import FrameResult, people_by_id, placed_people
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.conftest import RosTest, make_mesh
from tests.ros.fake_node import HRI_MESSAGES, FakeNode, TFMessage, hide, stand_in
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode

HEADER = Header(frame_id='camera')
IMAGE = np.full((48, 64, 3), 90, np.uint8)
INTRINSICS = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
IMAGES = {'iuv', 'iuv/compressed', 'markers', 'vertices', 'overlay', 'overlay/compressed'}
ALWAYS = {'human_meshes', 'topology', *IMAGES}
OFF = dict.fromkeys(('publish_iuv', 'publish_markers', 'publish_points', 'publish_overlay'), False)


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def person(topology: Topology) -> HumanMesh:
    mesh = make_mesh(4, len(topology.v_template))
    return dataclasses.replace(
        mesh, vertices=(topology.v_template * (1, -1, -1) + (0, 0, 3)).astype(np.float32)
    )


def _publish(outputs: Outputs, *people: HumanMesh) -> None:
    outputs.publish_other_outputs(FrameResult(HEADER, IMAGE, list(people), INTRINSICS))


def test_nothing_expensive_is_computed_without_subscribers(
    node: FakeNode, topology: Topology, person: HumanMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs(node, NodeParameters(), topology)
    for name in (
        'compose_iuv',
        'draw_meshes',
        'image_message',
        'compressed_message',
        'point_cloud_message',
        'points_of_meshes',
    ):
        monkeypatch.setattr(outputs_module, name, lambda *_: pytest.fail('made for nobody'))
    monkeypatch.setattr(
        frame_result_module, 'placed_people', lambda *_: pytest.fail('made for nobody')
    )
    monkeypatch.setattr(
        outputs_module.MeshMarkers, 'serialize', lambda *_: pytest.fail('made for nobody')
    )
    _publish(outputs, person)
    assert [made.topic for made in node.made if made.sent] == []
    outputs.publish_meshes(HEADER, [person])
    assert [made.topic for made in node.made if made.sent] == ['human_meshes']


@pytest.mark.parametrize('topic', sorted(IMAGES))
def test_one_subscriber_gets_its_topic_with_the_header_of_the_image(
    node: FakeNode, topology: Topology, person: HumanMesh, topic: str
) -> None:
    node.subscribed = {topic}
    _publish(Outputs(node, NodeParameters(), topology), person)
    assert [made.topic for made in node.made if made.sent] == [topic]
    (message,) = node.sent(topic)
    if topic == 'markers':
        (message,) = deserialize_message(message, MarkerArray).markers
    assert message.header == HEADER


def test_switches_work_between_two_images(
    node: FakeNode, topology: Topology, person: HumanMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, 'tf2_msgs', TFMessage)
    stand_in(monkeypatch, 'hri_msgs', *HRI_MESSAGES)
    node.subscribed = {*IMAGES, '/tf'}
    outputs = Outputs(node, NodeParameters(), topology)
    _publish(outputs, person)
    outputs.update(NodeParameters(**OFF))
    _publish(outputs, person)
    (cleared,) = deserialize_message(node.sent('markers')[1], MarkerArray).markers
    assert cleared.action == Marker.DELETE
    assert set(node.publishers) == ALWAYS
    outputs.update(NodeParameters(**OFF, publish_tf=True, rep155=True))
    assert set(node.publishers) == ALWAYS | {'/tf', '/humans/bodies/tracked'}
    _publish(outputs, person)
    assert '/humans/bodies/p4/roi' in node.publishers
    outputs.update(NodeParameters(iuv_encoding='32FC3'))
    assert set(node.publishers) == ALWAYS
    _publish(outputs, person)
    assert {made.topic: len(node.sent(made.topic)) for made in node.made if made.sent} == {
        **dict.fromkeys(IMAGES, 2),
        'markers': 3,
        '/tf': 1,
        '/humans/bodies/tracked': 2,
    }
    assert [message.ids for message in node.sent('/humans/bodies/tracked')] == [['p4'], []]
    assert [image.encoding for image in node.sent('iuv')] == ['rgb8', '32FC3']
    outputs.destroy()
    assert node.publishers == {}


def test_missing_message_packages_fail_configure_but_only_a_parameter_later(
    node: FakeNode, topology: Topology, person: HumanMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, 'tf2_msgs')
    hide(monkeypatch, 'hri_msgs')
    wanted = NodeParameters(publish_tf=True, rep155=True)
    with pytest.raises(ImportError, match='tf2-msgs.*hri-msgs'):
        Outputs(node, wanted, topology)
    assert node.publishers == {}, 'nothing is left behind'
    node.subscribed = {'markers'}
    outputs = Outputs(node, NodeParameters(**OFF), topology)
    outputs.update(wanted)
    assert len(node.errors) == 1
    assert 'apt install' in node.errors[0]
    _publish(outputs, person)
    assert len(node.sent('markers')) == 1, 'the other switches work'
    outputs.update(dataclasses.replace(wanted, max_people=3))
    assert len(node.errors) == 1, 'nothing new of them'
    outputs.update(NodeParameters())
    outputs.update(wanted)
    assert len(node.errors) == 2, 'switched on once more'


def test_people_without_a_position_appear_only_in_images(
    node: FakeNode, topology: Topology, person: HumanMesh
) -> None:
    node.subscribed = IMAGES
    relative = dataclasses.replace(person, is_metric=False, translation=np.zeros(3))
    outputs = Outputs(node, NodeParameters(), topology)
    _publish(outputs, person)
    _publish(outputs, relative)
    assert [cloud.width for cloud in node.sent('vertices')] == [len(person.vertices), 0]
    actions = [
        [marker.action for marker in deserialize_message(data, MarkerArray).markers]
        for data in node.sent('markers')
    ]
    assert actions == [[Marker.ADD], [Marker.DELETE]]
    assert 'camera_info' in node.warnings[0]
    assert len(node.sent('overlay')) == len(node.sent('iuv')) == 2


def test_the_number_of_triangles_can_be_limited(
    node: FakeNode, topology: Topology, person: HumanMesh
) -> None:
    node.subscribed = {'markers'}
    _publish(Outputs(node, NodeParameters(marker_triangles=100), topology), person)
    (marker,) = deserialize_message(node.sent('markers')[0], MarkerArray).markers
    assert len(topology.faces) > 150
    assert len(marker.points) == 300
    corners = np.array([[point.x, point.y, point.z] for point in marker.points[:30]])
    gaps = np.linalg.norm(corners[:, None] - person.vertices, axis=2).min(1)
    assert gaps.max() < 1e-6, 'the corners are vertices of the mesh'


def test_clear_removes_markers_and_bodies(
    node: FakeNode, topology: Topology, person: HumanMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, 'hri_msgs', *HRI_MESSAGES)
    node.subscribed = {'markers'}
    outputs = Outputs(node, NodeParameters(rep155=True), topology)
    _publish(outputs, person)
    outputs.clear(HEADER)
    (marker,) = deserialize_message(node.sent('markers')[-1], MarkerArray).markers
    assert marker.action == Marker.DELETE
    assert [message.ids for message in node.sent('/humans/bodies/tracked')] == [['p4'], []]


def test_people_have_their_track_id_or_list_index(person: HumanMesh) -> None:
    nobody_tracked = [dataclasses.replace(person, track_id=-1)] * 2
    assert list(people_by_id(nobody_tracked)) == [0, 1]
    assert list(people_by_id([person])) == [4]
    broken = dataclasses.replace(person, vertices=np.full_like(person.vertices, np.nan))
    assert placed_people([broken]) == {}


def test_a_real_node_publishes_points_and_few_triangles_and_each_can_be_switched(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    inner = InnerNode(ros, monkeypatch, topology, marker_triangles=100)
    clouds: list[PointCloud2] = []
    markers: list[MarkerArray] = []
    ros.node.create_subscription(PointCloud2, 'vertices', clouds.append, 10)
    ros.node.create_subscription(MarkerArray, 'markers', markers.append, 10)
    camera = inner.activate()
    inner.wait_for_listeners('vertices', 'markers')
    answer = camera.show_until_placed(HEIGHT, WIDTH)
    ros.spin_until(
        lambda: (
            clouds
            and clouds[-1].header == answer.header
            and markers
            and markers[-1].markers
            and markers[-1].markers[0].header == answer.header
        )
    )
    cloud = clouds[-1]
    assert cloud.width == sum(len(mesh.vertices) for mesh in answer.meshes) / 3 > 0
    points = np.frombuffer(bytes(cloud.data), POINT)
    for mesh, marker in zip(answer.meshes, markers[-1].markers, strict=True):
        own = points[points['id'] == mesh.id]
        assert np.array_equal(
            np.stack([own['x'], own['y'], own['z']], axis=1).ravel(), np.array(mesh.vertices)
        )
        assert np.array_equal(own['visible'], np.array(mesh.visibility))
        assert (marker.id, len(marker.points)) == (mesh.id, 300)
    inner.set(publish_points=False)
    clouds.clear()
    camera.show(HEIGHT, WIDTH)
    ros.spin(0.2)
    assert clouds == []
    inner.node.close()
