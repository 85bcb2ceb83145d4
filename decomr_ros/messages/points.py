"""Points as sensor_msgs/PointCloud2: the vertices of all people, and points of other types."""

from __future__ import annotations

import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

if TYPE_CHECKING:
    from std_msgs.msg import Header

    from decomr_core.base.structures import HumanMesh

__all__ = ['POINT', 'POINT_XYZ', 'POINT_XYZ_ID', 'point_cloud_message', 'points_of_meshes']

# Types of PointField by NumPy type.
_DATATYPES = {
    np.dtype('<f4'): PointField.FLOAT32,
    np.dtype('<i4'): PointField.INT32,
    np.dtype('u1'): PointField.UINT8,
}

POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'id', 'visible', 'part'],
        'formats': ['<f4', '<f4', '<f4', '<i4', 'u1', 'u1'],
        'offsets': [0, 4, 8, 12, 16, 17],
        'itemsize': 20,
    }
)
"""One point: metres in the camera optical frame (REP-103), the person's id, whether the camera
sees the vertex, and its part of the body (index into MeshTopology.part_names)."""

POINT_XYZ = np.dtype([(name, '<f4') for name in 'xyz'])
"""One point: metres."""

POINT_XYZ_ID = np.dtype([*((name, '<f4') for name in 'xyz'), ('id', '<i4')])
"""One point: metres, and the person's id."""


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
        points: (N,) of the type `POINT`, `POINT_XYZ` or `POINT_XYZ_ID`, finite.
    """
    fields = [
        PointField(name=name, offset=offset, count=1, datatype=_DATATYPES[type_])
        for name, (type_, offset, *_) in (points.dtype.fields or {}).items()
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
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=data,
        is_dense=True,
    )
