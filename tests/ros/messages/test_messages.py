from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from decomr.msg import HumanMeshArray, MeshTopology
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from decomr_core.body_models import load_body
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.messages.meshes import (
    camera_info_message,
    human_mesh_array_message,
    human_meshes_from_message,
    intrinsics_from_camera_info,
    mesh_topology_message,
    nanoseconds_from_stamp,
    serialized_human_meshes,
)
from tests.ros.conftest import make_mesh

K = np.array([[500.0, 0, 320], [0, 510.0, 240], [0, 0, 1]])


def _info(**fields: object) -> CameraInfo:
    info = camera_info_message(Header(), K, 640, 480)
    for name, value in fields.items():
        setattr(info, name, value)
    return info


@settings(max_examples=20, deadline=None)
@given(num_people=st.integers(0, 3), num_vertices=st.integers(0, 30), seed=st.integers(0, 9))
def test_meshes_survive_the_message_and_its_serialisation(
    num_people: int, num_vertices: int, seed: int
) -> None:
    meshes = [make_mesh(index, num_vertices, seed + index) for index in range(num_people)]
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = 12, 34
    sent = human_mesh_array_message(header, meshes, 'abc')
    received = deserialize_message(serialize_message(sent), HumanMeshArray)
    assert received.header == header
    assert received.topology_hash == 'abc'
    seen = human_meshes_from_message(received)
    assert len(seen) == num_people
    for before, after in zip(meshes, seen, strict=True):
        for field in dataclasses.fields(before):
            if field.name != 'iuv':
                np.testing.assert_array_equal(
                    getattr(after, field.name), getattr(before, field.name), field.name
                )


@settings(max_examples=40, deadline=None)
@given(
    frame_id=st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), max_size=9),
    topology_hash=st.text('0123456789abcdef', max_size=9),
    sizes=st.lists(st.integers(0, 9), max_size=4),
)
def test_meshes_written_as_bytes_are_what_the_message_library_writes(
    frame_id: str, topology_hash: str, sizes: list[int]
) -> None:
    meshes = [make_mesh(index, size, index) for index, size in enumerate(sizes)]
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = -7, 123_456_789
    slow = serialize_message(human_mesh_array_message(header, meshes, topology_hash))
    fast = serialized_human_meshes(header, meshes, topology_hash)
    # Byte by byte but for the padding, in which the library leaves what was there before.
    assert len(fast) == len(slow)
    assert deserialize_message(fast, HumanMeshArray) == deserialize_message(slow, HumanMeshArray)


def test_a_message_with_incomplete_points_is_rejected() -> None:
    message = human_mesh_array_message(Header(), [make_mesh()], '')
    message.meshes[0].vertices = message.meshes[0].vertices[:-1]
    with pytest.raises(ValueError, match='expected a multiple of 3'):
        human_meshes_from_message(message)


def test_the_topology_message_holds_the_topology() -> None:
    body = load_body()
    num_vertices = len(body.v_template)
    chart = np.random.default_rng(0).random((num_vertices, 2))
    topology = Topology.from_body(
        body, UVMap(chart, body.faces.numpy(), np.arange(num_vertices), body.hash)
    )
    message = deserialize_message(serialize_message(mesh_topology_message(topology)), MeshTopology)
    assert (message.body_name, message.hash) == (topology.name, topology.hash)
    assert message.num_vertices == num_vertices
    np.testing.assert_array_equal(np.array(message.faces).reshape(-1, 3), topology.faces)
    np.testing.assert_array_equal(np.array(message.uv_faces).reshape(-1, 3), topology.uv_map.faces)
    np.testing.assert_array_equal(np.array(message.uv).reshape(-1, 2), chart.astype(np.float32))
    np.testing.assert_array_equal(message.uv_vertex_index, topology.uv_map.vertex_index)
    np.testing.assert_array_equal(np.array(message.vertex_parts), topology.vertex_parts)
    assert message.joint_names[:2] == ['pelvis', 'left_hip']
    assert list(message.joint_parents)[:4] == [-1, 0, 0, 0]
    assert max(message.vertex_parts) < len(message.part_names)


def test_a_calibrated_camera_gives_its_matrix() -> None:
    np.testing.assert_array_equal(intrinsics_from_camera_info(_info(), 640, 480), K)


def test_no_calibration_gives_none() -> None:
    assert intrinsics_from_camera_info(CameraInfo(width=640, height=480), 640, 480) is None


def test_a_rectified_image_takes_the_projection_matrix() -> None:
    p = np.zeros((3, 4))
    p[:, :3] = K * 0.5
    p[0, 3] = -40.0
    seen = intrinsics_from_camera_info(_info(p=p.ravel()), 640, 480, is_rectified=True)
    np.testing.assert_array_equal(seen, K * 0.5)


def test_region_of_interest_and_binning_move_and_scale_the_matrix() -> None:
    info = _info(binning_x=2, binning_y=4)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 320, 400
    seen = intrinsics_from_camera_info(info, 160, 100)
    np.testing.assert_allclose(seen, [[250, 0, 110], [0, 127.5, 50], [0, 0, 1]])


def test_a_calibration_of_another_resolution_is_rejected() -> None:
    with pytest.raises(ValueError, match='is for 640x480 px, the image has 1280x720'):
        intrinsics_from_camera_info(_info(), 1280, 720)


def test_a_driver_may_round_the_binned_size_by_a_pixel() -> None:
    info = _info(binning_x=3, binning_y=3)  # 213.3 x 160
    for width, height in ((213, 160), (214, 160), (214, 161)):
        seen = intrinsics_from_camera_info(info, width, height)
        np.testing.assert_allclose(seen[:2], K[:2] / 3)
    with pytest.raises(ValueError, match='is for 213x160 px, the image has 215x160'):
        intrinsics_from_camera_info(info, 215, 160)


def test_an_invalid_matrix_is_rejected() -> None:
    broken = K.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match='intrinsics'):
        intrinsics_from_camera_info(_info(k=broken.ravel()), 640, 480)


def test_a_stamp_in_nanoseconds_is_exact() -> None:
    header = Header()
    header.stamp.sec, header.stamp.nanosec = 1_700_000_000, 999_999_999
    assert nanoseconds_from_stamp(header.stamp) == 1_700_000_000_999_999_999
