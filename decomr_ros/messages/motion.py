"""Makes decomr/HumanMotion messages: velocities, uncertainty and predicted joints; stateless."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from decomr.msg import HumanMotion, HumanMotionArray
from geometry_msgs.msg import Vector3
from std_msgs.msg import Header

from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.people.prediction import predict_joints

if TYPE_CHECKING:
    from decomr_core.base.structures import HumanMesh
    from decomr_core.estimation.uncertainty import PositionUncertainty
    from decomr_core.people.velocity import PersonMotion

__all__ = ['HORIZONS_S', 'human_motion_array_message', 'human_motion_message']

HORIZONS_S = (0.1, 0.2, 0.3)
"""Times after the stamp at which joints are predicted, s. Later ones would be worth little: the
mean error is 158 mm at the last one (`benchmarks/prediction.py`)."""


def human_motion_array_message(
    header: Header, topology_hash: str, delay_s: float, motions: Sequence[HumanMotion]
) -> HumanMotionArray:
    """The motion of the people in one image.

    Args:
        header: stamp of the image, and the frame of the vectors.
        topology_hash: hash of the topology of the meshes.
        delay_s: of the velocities, s; NaN: unknown.
        motions: the people.
    """
    return HumanMotionArray(
        header=header,
        topology_hash=topology_hash,
        delay=delay_s,
        horizons=array.array('f', HORIZONS_S),
        motions=motions,
    )


def human_motion_message(
    mesh: HumanMesh,
    vertex_parts: np.ndarray,
    motion: PersonMotion | None,
    uncertainty: PositionUncertainty | None,
    fixed_from_camera: np.ndarray | None,
) -> HumanMotion:
    """The motion of one person; what is unknown is NaN.

    Args:
        mesh: the person, in the camera optical frame.
        vertex_parts: (V,) body part of each vertex.
        motion: velocities of the mesh, in the axes of the message; None: they are unknown.
        uncertainty: of the position, in the camera optical frame; None: the position is unknown.
        fixed_from_camera: (4, 4) pose of the camera in the frame of the message, metres; None: the
            message is in the camera optical frame.
    """
    is_metric = uncertainty is not None
    pose = np.eye(4) if fixed_from_camera is None else fixed_from_camera
    rotation, origin = pose[:3, :3], pose[:3, 3]
    if motion is None:
        joint_velocities = np.full(mesh.joints.shape, np.nan)
        part_velocities = np.full((len(JOINT_NAMES), 3), np.nan)
        root_velocity = None
    else:
        joint_velocities = motion.joint_velocities
        part_velocities = _part_means(motion.vertex_velocities, vertex_parts)
        root_velocity = motion.root_velocity
    joints = mesh.joints @ rotation.T + (origin if is_metric else 0)
    predicted = predict_joints(joints, joint_velocities, HORIZONS_S, root_velocity)
    covariance = np.full((3, 3), np.nan)
    if uncertainty is not None:
        covariance = rotation @ uncertainty.covariance @ rotation.T
    x, y, z = np.full(3, np.nan) if root_velocity is None else root_velocity
    return HumanMotion(
        id=int(mesh.track_id),
        is_metric=is_metric,
        observed_time=0.0 if motion is None else float(motion.observed_s),
        velocity=Vector3(x=float(x), y=float(y), z=float(z)),
        joint_velocities=_array(joint_velocities),
        part_velocities=_array(part_velocities),
        position_covariance=covariance.ravel(),
        visible_std=np.nan if uncertainty is None else uncertainty.visible_std,
        hidden_std=np.nan if uncertainty is None else uncertainty.hidden_std,
        predicted_joints=_array(predicted),
    )


def _part_means(velocities: np.ndarray, vertex_parts: np.ndarray) -> np.ndarray:
    """The mean (N, 3) of the vertices' vectors (V, 3) by body part; NaN for an empty part."""
    count = len(JOINT_NAMES)
    sums = [np.bincount(vertex_parts, numbers, count) for numbers in velocities.T]
    with np.errstate(invalid='ignore'):
        return np.stack(sums, axis=1) / np.bincount(vertex_parts, minlength=count)[:, None]


def _array(numbers: np.ndarray) -> array.array:
    """A flat array.array; rclpy checks the elements of any other type one by one."""
    return array.array('f', np.ascontiguousarray(numbers, np.float32).tobytes())
