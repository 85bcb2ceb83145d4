"""The vertices of all people as one sensor_msgs/PointCloud2, for obstacle layers and viewers."""

from __future__ import annotations

import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

if TYPE_CHECKING:
    from std_msgs.msg import Header

    from decomr_core.base.structures import HumanMesh

__all__ = ['POINT', 'point_cloud_message', 'points_of_meshes']

# Name, NumPy type, type of PointField and offset (bytes) of each field.
_FIELDS = (
    ('x', '<f4', PointField.FLOAT32, 0),
    ('y', '<f4', PointField.FLOAT32, 4),
    ('z', '<f4', PointField.FLOAT32, 8),
    ('id', '<i4', PointField.INT32, 12),
    ('visible', 'u1', PointField.UINT8, 16),
    ('part', 'u1', PointField.UINT8, 17),
)

POINT = np.dtype(
    {
        'names': [name for name, _, _, _ in _FIELDS],
        'formats': [format_ for _, format_, _, _ in _FIELDS],
        'offsets': [offset for _, _, _, offset in _FIELDS],
        'itemsize': 20,
    }
)
"""One point: metres in the camera optical frame (REP-103), the person's id, whether the camera
sees the vertex, and its part of the body (index into MeshTopology.part_names)."""


def points_of_meshes(meshes: Mapping[int, HumanMesh], parts: np.ndarray) -> np.ndarray:
    """The vertices of all people, one person after the other.

    Args:
        meshes: metric people by id.
        parts: (V,) part of each vertex.

    Returns:
        (people * V,) of the type `POINT`.
    """
    points = np.zeros((len(meshes), len(parts)), POINT)
    points['part'] = parts
    for row, (track_id, mesh) in zip(points, meshes.items(), strict=True):
        row['x'], row['y'], row['z'] = mesh.vertices.T
        row['id'] = track_id
        row['visible'] = mesh.visibility
    return points.ravel()


def point_cloud_message(header: Header, points: np.ndarray) -> PointCloud2:
    """An unorganised cloud without invalid points.

    Args:
        header: stamp and frame of the image.
        points: (N,) of the type `POINT`, finite.
    """
    fields = [
        PointField(name=name, offset=offset, count=1, datatype=datatype)
        for name, _, datatype, offset in _FIELDS
    ]
    # rclpy checks the elements of any other type one by one.
    data = array.array('B')
    data.frombytes(points.view(np.uint8).data)
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=points.nbytes,
        data=data,
        is_dense=True,
    )
