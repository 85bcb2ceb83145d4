"""`decomr bag markers`: a bag that other programs open by themselves, with its people in it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from decomr_core import cli
from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.bags.markers import add_markers, serialized_transforms
from decomr_ros.bags.mcap_reading import read_bag, read_topics
from decomr_ros.bags.mcap_writing import BagWriter
from decomr_ros.bags.message_definitions import message_definition
from decomr_ros.bags.recording import Recording
from decomr_ros.bags.topics import BagTopic, qos_text
from decomr_ros.messages.markers import MeshMarkers
from decomr_ros.messages.meshes import human_mesh_array_message, mesh_topology_message
from decomr_ros.outputs.body_frames import body_transforms
from tests.ros.conftest import make_mesh

START_NS = 1_700_000_000_000_000_000
MESHES, TOPOLOGY = 'decomr/msg/HumanMeshArray', 'decomr/msg/MeshTopology'
IMAGE = 'sensor_msgs/msg/CompressedImage'


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


def _person(topology: Topology, number: int) -> HumanMesh:
    vertices = topology.v_template * (1, -1, -1) + (0, 0, 4)
    return dataclasses.replace(
        make_mesh(number, len(vertices), seed=number), vertices=vertices.astype(np.float32)
    )


def _header(step: int) -> Header:
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = divmod(START_NS + step * 10**8, 10**9)
    return header


def _write_bag(
    folder: Path,
    topology: Topology,
    namespace: str = '',
    is_closed: bool = True,
    body: str = '',
    is_metric: bool = True,
    *more: str,
) -> Path:
    """People 3 and 5 in steps 0 and 1, person 5 in step 2, none in step 3."""
    types = {
        f'{namespace}/topology': TOPOLOGY,
        f'{namespace}/human_meshes': MESHES,
        **dict.fromkeys(more, IMAGE),
    }
    writer = BagWriter(
        folder,
        [
            BagTopic(name, type_, message_definition(type_), type_ == TOPOLOGY, 7)
            for name, type_ in types.items()
        ],
    )
    writer.write(
        f'{namespace}/topology',
        serialize_message(mesh_topology_message(topology)),
        START_NS,
        START_NS,
    )
    for step, numbers in enumerate(([3, 5], [3, 5], [5], [])):
        people = [
            dataclasses.replace(_person(topology, number), is_metric=is_metric)
            for number in numbers
        ]
        array = human_mesh_array_message(_header(step), people, body or topology.hash)
        moment = START_NS + step * 10**8 + 2 * 10**7
        writer.write(f'{namespace}/human_meshes', serialize_message(array), moment, moment - 5)
        for name in more:
            writer.write(
                name, serialize_message(CompressedImage(header=_header(step))), moment, moment
            )
    writer.close() if is_closed else writer.flush()
    return folder


def _markers(bag: Path, topic: str = '/markers') -> list[MarkerArray]:
    return [deserialize_message(message.data, MarkerArray) for message in read_bag(bag, [topic])]


def test_the_markers_are_those_of_the_live_node_at_the_time_of_their_meshes(
    tmp_path: Path, topology: Topology
) -> None:
    bag = _write_bag(tmp_path / 'bag', topology)
    report = add_markers(bag, tmp_path / 'copy')
    assert (report['messages'], report['with_markers'], report['without_position']) == (4, 3, 0)
    live, seen = MeshMarkers(topology.faces), _markers(tmp_path / 'copy')
    for step, numbers in enumerate(([3, 5], [3, 5], [5], [])):
        expected = live.serialize(
            _header(step), {number: _person(topology, number).vertices for number in numbers}
        )
        assert seen[step] == deserialize_message(expected, MarkerArray)
    assert [marker.action for marker in seen[3].markers] == [Marker.DELETE]
    meshes, markers = (
        list(read_bag(tmp_path / 'copy', [topic])) for topic in ('/human_meshes', '/markers')
    )
    assert [(message.receive_ns, message.publish_ns) for message in meshes] == [
        (message.receive_ns, message.publish_ns) for message in markers
    ]


def test_everything_else_is_copied_byte_for_byte_with_its_qos(
    tmp_path: Path, topology: Topology
) -> None:
    bag = _write_bag(tmp_path / 'bag', topology, '', True, '', True, '/image/compressed')
    add_markers(bag, tmp_path / 'copy')
    before = list(read_bag(bag))
    after = list(read_bag(tmp_path / 'copy', ['/topology', '/human_meshes', '/image/compressed']))
    assert after == before
    topics = read_topics(tmp_path / 'copy')
    for name, topic in read_topics(bag).items():
        assert qos_text(topics[name]) == qos_text(topic)
    assert topics['/topology'].is_latched and topics['/topology'].depth == 7


def test_the_frames_are_those_of_the_live_node_and_readable_by_other_programs(
    tmp_path: Path, topology: Topology
) -> None:
    bag = _write_bag(tmp_path / 'bag', topology, '/left')
    add_markers(bag, tmp_path / 'copy', frames='joints')
    assert len(_markers(tmp_path / 'copy', '/left/markers')) == 4
    with AnyReader([tmp_path / 'copy']) as reader:  # decodes by the definitions of the bag
        arrays = [
            reader.deserialize(data, connection.msgtype)
            for connection, _, data in reader.messages()
            if connection.topic == '/tf'
        ]
    assert [len(array.transforms) for array in arrays] == [50, 50, 25]
    expected = body_transforms(_header(2), '/left', {5: _person(topology, 5)}, has_joints=True)
    for seen, wanted in zip(arrays[2].transforms, expected, strict=True):
        assert seen.child_frame_id == wanted.child_frame_id
        assert seen.header.frame_id == wanted.header.frame_id
        assert seen.header.stamp.nanosec == wanted.header.stamp.nanosec
        for part, names in (('translation', 'xyz'), ('rotation', 'xyzw')):
            for name in names:
                assert getattr(getattr(seen.transform, part), name) == getattr(
                    getattr(wanted.transform, part), name
                )
    assert arrays[2].transforms[0].child_frame_id == 'body_left_p5'


def test_transforms_are_written_as_the_message_library_writes_them(topology: Topology) -> None:
    transforms = body_transforms(_header(1), '/', {3: _person(topology, 3)}, has_joints=True)
    store = get_typestore(Stores.ROS2_JAZZY)
    data = serialized_transforms(transforms)
    again = store.serialize_cdr(
        store.deserialize_cdr(data, 'tf2_msgs/msg/TFMessage'), 'tf2_msgs/msg/TFMessage'
    )
    assert bytes(again)[4:] == data[4:]


def test_a_bag_whose_recorder_was_killed_gets_markers_too(
    tmp_path: Path, topology: Topology
) -> None:
    bag = _write_bag(tmp_path / 'bag', topology, is_closed=False)
    add_markers(bag, tmp_path / 'copy')
    assert len(_markers(tmp_path / 'copy')) == 4
    assert read_topics(bag)['/topology'].is_latched


def test_the_command_reports_the_added_and_omitted_data(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _write_bag(tmp_path / 'bag', topology, is_metric=False)
    words = ['bag', 'markers', str(bag), '--out', str(tmp_path / 'copy'), '--triangles', '100']
    assert cli.main([*words, '--json']) == 0
    text, report = capsys.readouterr().out.splitlines()
    assert '/markers for 4 mesh messages, 0 of them with people' in text
    assert '5 meshes without a position are left out' in text
    assert json.loads(report)['without_position'] == 5
    assert cli.main(words) == 2
    assert 'is not empty' in capsys.readouterr().err
    assert (
        cli.main(
            [
                'bag',
                'markers',
                str(_write_bag(tmp_path / 'other', topology)),
                '--out',
                str(tmp_path / 'few'),
                '--triangles',
                '100',
                '--tf',
                'none',
            ]
        )
        == 0
    )
    assert {
        len(marker.points) for array in _markers(tmp_path / 'few') for marker in array.markers
    } == {300, 0}
    assert '/tf' not in read_topics(tmp_path / 'few')


def test_a_bag_with_markers_or_meshes_of_another_body_is_rejected_and_leaves_nothing(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    add_markers(_write_bag(tmp_path / 'bag', topology), tmp_path / 'copy')
    assert (
        cli.main(['bag', 'markers', str(tmp_path / 'copy'), '--out', str(tmp_path / 'again')]) == 2
    )
    assert 'contains messages on /markers; open it directly' in capsys.readouterr().err
    other = _write_bag(tmp_path / 'other', topology, body='another body')
    assert cli.main(['bag', 'markers', str(other), '--out', str(tmp_path / 'again')]) == 2
    assert 'meshes belong to the body another body' in capsys.readouterr().err
    assert not (tmp_path / 'again').exists()


def test_compressed_iuv_and_overlay_are_not_mistaken_for_the_camera_image(
    tmp_path: Path, topology: Topology
) -> None:
    bag = _write_bag(
        tmp_path / 'bag', topology, '', True, '', True, '/iuv/compressed', '/overlay/compressed'
    )
    assert Recording(bag).camera_image_topic() is None
    bag = _write_bag(
        tmp_path / 'with',
        topology,
        '',
        True,
        '',
        True,
        '/a/overlay/compressed',
        '/z/image/compressed',
    )
    assert Recording(bag).camera_image_topic() == '/z/image/compressed'
