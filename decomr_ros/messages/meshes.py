"""Converts the messages of this package from and to the structures of decomr_core; stateless.

Stamps and frame ids are copied from the header of the image.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from decomr.msg import HumanMesh as HumanMeshMessage
from decomr.msg import HumanMeshArray, MeshTopology
from geometry_msgs.msg import Point
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models.joints import JOINT_NAMES, PARENTS
from decomr_core.geometry.camera import check_intrinsics
from decomr_ros.messages.cdr import CdrWriter
from decomr_ros.node.timing import NS_PER_S

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time

    from decomr_core.uv.topology import Topology

__all__ = [
    'camera_info_message',
    'human_mesh_array_message',
    'human_meshes_from_message',
    'intrinsics_from_camera_info',
    'mesh_topology_message',
    'nanoseconds_from_stamp',
    'serialized_human_meshes',
]

# IUV crop of a mesh that was read from a message.
NO_IUV = np.zeros((3, 1, 1), np.float32)


def nanoseconds_from_stamp(stamp: Time) -> int:
    """A ROS stamp in nanoseconds since its clock's epoch."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def intrinsics_from_camera_info(
    message: CameraInfo, width: int, height: int, is_rectified: bool = False
) -> np.ndarray | None:
    """The pinhole matrix of an image, with the driver's region of interest and binning applied.

    Lens distortion is not considered.

    Args:
        message: the calibration of the image.
        width: of the published image, px.
        height: of the published image, px.
        is_rectified: the image is rectified: P is used instead of K.

    Returns:
        (3, 3) float64 pinhole matrix, px; None if the camera is not calibrated (K[0] == 0 or
        P[0] == 0).

    Raises:
        ValueError: the calibration is invalid, or of another resolution than the image.
    """
    numbers = (
        np.asarray(message.p, float).reshape(3, 4)[:, :3]
        if is_rectified
        else np.asarray(message.k, float).reshape(3, 3)
    )
    matrix = check_intrinsics(numbers)
    if matrix is None:
        return None
    binning = np.array([max(1, message.binning_x), max(1, message.binning_y)], float)
    region = message.roi
    # A region of size 0 means the whole image (sensor_msgs/CameraInfo).
    full_size = (
        (region.width, region.height)
        if region.width and region.height
        else (message.width, message.height)
    )
    expected = np.floor(np.asarray(full_size) / binning)
    if np.any(np.abs(expected - (width, height)) > 1) and full_size != (0, 0):
        raise ValueError(
            f'camera_info is for {expected[0]:.0f}x{expected[1]:.0f} px, the image '
            f'has {width}x{height}; publish the camera_info of this resolution'
        )
    intrinsics = matrix.copy()
    intrinsics[:2, 2] -= (region.x_offset, region.y_offset)
    intrinsics[:2] /= binning[:, None]
    return intrinsics


def camera_info_message(
    header: Header,
    intrinsics: np.ndarray,
    width: int,
    height: int,
    distortion: Sequence[float] = (),
    distortion_model: str = 'plumb_bob',
) -> CameraInfo:
    """The CameraInfo of a whole image.

    Args:
        header: stamp and frame of the image.
        intrinsics: (3, 3) pinhole matrix, px.
        width: of the image, px.
        height: of the image, px.
        distortion: coefficients of the model; empty: zero coefficients of plumb_bob.
        distortion_model: sensor_msgs name.
    """
    projection = np.zeros((3, 4))
    projection[:, :3] = intrinsics
    return CameraInfo(
        header=header,
        width=width,
        height=height,
        distortion_model=distortion_model if distortion else 'plumb_bob',
        d=array.array('d', distortion or [0.0] * 5),
        k=np.asarray(intrinsics, float).ravel(),
        r=np.eye(3).ravel(),
        p=projection.ravel(),
    )


def human_mesh_array_message(
    header: Header, meshes: Sequence[HumanMesh], topology_hash: str
) -> HumanMeshArray:
    """The meshes of one image; an empty array if there are none.

    Args:
        header: stamp and frame of the image.
        meshes: the people.
        topology_hash: hash of the topology of their meshes.
    """
    return HumanMeshArray(
        header=header, topology_hash=topology_hash, meshes=[_mesh_message(mesh) for mesh in meshes]
    )


def serialized_human_meshes(
    header: Header, meshes: Sequence[HumanMesh], topology_hash: str
) -> bytes:
    """Serialised `human_mesh_array_message`, in half the time of the message library.

    Args:
        header: stamp and frame of the image.
        meshes: the people.
        topology_hash: hash of the topology of their meshes.

    Returns:
        The serialised message, for `publish`.
    """
    writer = CdrWriter()
    writer.numbers('i', header.stamp.sec)
    writer.numbers('I', header.stamp.nanosec)
    writer.text(header.frame_id)
    writer.text(topology_hash)
    writer.numbers('I', len(meshes))
    for mesh in meshes:
        _write_mesh(writer, mesh)
    return writer.joined()


def human_meshes_from_message(message: HumanMeshArray) -> list[HumanMesh]:
    """The people of a message; IUV crops are not part of the message and are empty.

    Raises:
        ValueError: the length of an array of points is not a multiple of 3.
    """
    return [_mesh_from_message(mesh) for mesh in message.meshes]


def mesh_topology_message(topology: Topology) -> MeshTopology:
    """The data that all meshes share: faces, UV, parts, names. The stamp is zero."""
    uv_map = topology.uv_map
    return MeshTopology(
        body_name=topology.name,
        hash=topology.hash,
        num_vertices=len(topology.v_template),
        faces=_array('I', topology.faces),
        uv=_array('f', uv_map.uv),
        uv_faces=_array('I', uv_map.faces),
        uv_vertex_index=_array('I', uv_map.vertex_index),
        vertex_parts=_array('B', topology.vertex_parts),
        part_names=list(JOINT_NAMES),
        joint_names=list(JOINT_NAMES),
        joint_parents=_array('i', PARENTS),
    )


def _mesh_message(mesh: HumanMesh) -> HumanMeshMessage:
    x, y, z = (float(number) for number in mesh.translation)
    return HumanMeshMessage(
        id=int(mesh.track_id),
        score=float(mesh.score),
        box=np.asarray(mesh.box, np.float32),
        translation=Point(x=x, y=y, z=z),
        is_metric=bool(mesh.is_metric),
        weak_camera=np.asarray(mesh.weak_camera, np.float32),
        crop_center=np.asarray(mesh.crop_center, np.float32),
        crop_side=float(mesh.crop_side),
        vertices=_array('f', mesh.vertices),
        joints=_array('f', mesh.joints),
        visibility=_array('B', mesh.visibility),
    )


def _write_mesh(writer: CdrWriter, mesh: HumanMesh) -> None:
    """Writes the fields of decomr/HumanMesh in order."""
    writer.numbers('i', mesh.track_id)
    writer.numbers('f', mesh.score, *mesh.box)
    writer.numbers('d', *mesh.translation)
    writer.numbers('B', bool(mesh.is_metric))
    writer.numbers('f', *mesh.weak_camera, *mesh.crop_center, mesh.crop_side)
    writer.array('<f4', mesh.vertices)
    writer.array('<f4', mesh.joints)
    writer.array('u1', mesh.visibility)


def _mesh_from_message(message: HumanMeshMessage) -> HumanMesh:
    for name in ('vertices', 'joints'):
        if len(getattr(message, name)) % 3:
            raise ValueError(
                f'mesh {message.id}: {name} has {len(getattr(message, name))} '
                'numbers, expected a multiple of 3; the message was not published '
                'by decomr'
            )
    point = message.translation
    return HumanMesh(
        track_id=message.id,
        score=message.score,
        box=np.array(message.box),
        vertices=np.array(message.vertices, np.float32).reshape(-1, 3),
        joints=np.array(message.joints, np.float32).reshape(-1, 3),
        translation=np.array([point.x, point.y, point.z]),
        is_metric=message.is_metric,
        visibility=np.array(message.visibility, np.uint8).astype(bool),
        weak_camera=np.array(message.weak_camera),
        crop_center=np.array(message.crop_center),
        crop_side=message.crop_side,
        iuv=NO_IUV,
    )


def _array(typecode: str, numbers: Any) -> array.array:
    """A flat array.array; rclpy checks the elements of any other type one by one."""
    return array.array(
        typecode, np.ascontiguousarray(np.asarray(numbers), np.dtype(typecode)).tobytes()
    )
