from __future__ import annotations

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from decomr_ros.messages.points import POINT, point_cloud_message, points_of_meshes
from tests.ros.conftest import make_mesh

PARTS = np.arange(20) % 7
# How any reader of point clouds finds the numbers: by the fields of the message.
TYPES = {PointField.FLOAT32: '<f4', PointField.INT32: '<i4', PointField.UINT8: 'u1'}


def _read(message: PointCloud2) -> np.ndarray:
    fields = np.dtype(
        {
            'names': [entry.name for entry in message.fields],
            'formats': [TYPES[entry.datatype] for entry in message.fields],
            'offsets': [entry.offset for entry in message.fields],
            'itemsize': message.point_step,
        }
    )
    assert message.row_step == message.point_step * message.width == len(message.data)
    return np.frombuffer(bytes(message.data), fields)


def test_the_cloud_contains_every_vertex_with_id_visibility_and_part() -> None:
    people = {3: make_mesh(3, seed=1), 70_000: make_mesh(70_000, seed=2)}
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = 12, 34
    sent = point_cloud_message(header, points_of_meshes(people, PARTS))
    message = deserialize_message(serialize_message(sent), PointCloud2)
    assert message.header == header
    assert (message.height, message.width) == (1, 40)
    assert message.is_dense and not message.is_bigendian
    points = _read(message)
    for track_id, mesh in people.items():
        own = points[points['id'] == track_id]
        assert np.array_equal(np.stack([own['x'], own['y'], own['z']], axis=1), mesh.vertices)
        assert np.array_equal(own['visible'], mesh.visibility)
        assert np.array_equal(own['part'], PARTS)


def test_no_people_give_an_empty_cloud_with_the_same_fields() -> None:
    message = point_cloud_message(Header(), points_of_meshes({}, PARTS))
    assert (message.width, len(message.data), message.point_step) == (0, 0, POINT.itemsize)
    assert [entry.name for entry in message.fields] == list(POINT.names)
