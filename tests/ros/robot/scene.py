"""People at given places before a camera, for the tests of the outputs for robots."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.geometry.camera import project_perspective
from decomr_core.uv.topology import Topology
from decomr_ros.pipeline.frame_result import FrameResult
from decomr_ros.pipeline.transforms import FoundTransform, TransformUnknown
from tests.ros.conftest import make_mesh

WIDTH, HEIGHT = 320, 240
INTRINSICS = np.array([[250.0, 0, 159.5], [0, 250, 119.5], [0, 0, 1]])
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
Place = tuple[float, float, float]
_TYPES = {PointField.FLOAT32: '<f4', PointField.INT32: '<i4', PointField.UINT8: 'u1'}


def person_at(topology: Topology, place: Place, track_id: int = 4, **changes: object) -> HumanMesh:
    """A person with this root, whose IUV image has the foreground of the projected mesh."""
    vertices = (topology.v_template * (0.6, -1, -1) + place).astype(np.float32)
    image_xy = project_perspective(vertices, INTRINSICS)
    low, high = image_xy.min(0), image_xy.max(0)
    side = float((high - low).max()) * 1.2
    center = (low + high) / 2
    iuv = np.zeros((3, 64, 64), np.float32)
    corners = (image_xy - center + side / 2) * 64 / side
    for face in topology.faces:
        cv2.fillConvexPoly(iuv[0], np.round(corners[face] - 0.5).astype(np.int32), 1.0)
    mesh = dataclasses.replace(
        make_mesh(track_id, len(vertices)),
        vertices=vertices,
        translation=np.array(place),
        visibility=topology.v_template[:, 2] > 0,
        box=np.append(low, high).astype(np.float32),
        crop_center=center.astype(np.float32),
        crop_side=side,
        iuv=iuv,
    )
    return dataclasses.replace(mesh, **changes)


def result_of(*meshes: HumanMesh, time_s: float = 1.0, **changes: object) -> FrameResult:
    """What the pipeline has found in an image at a time."""
    header = Header(stamp=stamp_of(time_s), frame_id='camera')
    result = FrameResult(header, IMAGE, list(meshes), INTRINSICS)
    return dataclasses.replace(result, **changes)


def stamp_of(time_s: float) -> Time:
    """A stamp, s."""
    return Time(sec=int(time_s), nanosec=round(time_s % 1 * 1e9))


def read_cloud(message: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """The points (N, 3) and the structured array (N,) of a cloud, by the fields it names."""
    fields = np.dtype(
        {
            'names': [entry.name for entry in message.fields],
            'formats': [_TYPES[entry.datatype] for entry in message.fields],
            'offsets': [entry.offset for entry in message.fields],
            'itemsize': message.point_step,
        }
    )
    assert message.height == 1 and message.is_dense
    assert message.row_step == message.point_step * message.width == len(message.data)
    points = np.frombuffer(bytes(message.data), fields)
    xyz = np.stack([points['x'], points['y'], points['z']], axis=1)
    assert np.isfinite(xyz).all()
    return xyz, points


def transforms_of(matrices: dict[str, np.ndarray], is_available: bool = True) -> SimpleNamespace:
    """Stands in for `Transforms`: the pose of the camera in each frame; others are unknown."""

    def lookup(target: str, source: str, header: Header) -> FoundTransform:
        """The transform at any stamp."""
        assert source == 'camera'
        if target not in matrices:
            raise TransformUnknown(f'{target} does not exist')
        return FoundTransform(matrices[target], 0.0)

    return SimpleNamespace(lookup=lookup, is_available=is_available)
