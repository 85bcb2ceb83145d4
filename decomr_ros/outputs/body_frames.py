"""People as TF frames: `body_<name>` and optionally their joints (REP-155, REP-103).

`tf2_msgs`, the package of the /tf message, is optional and imported only here.

The body frame (REP-155): origin at the midpoint of the hips, x forward out of the body, y to its
left, z towards the head. The y axis passes through both hips; z points to the middle of the
spine, made perpendicular to y. The parent is the camera optical frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from rclpy.qos import QoSProfile

from decomr_core.body_models.joints import JOINT_NAMES
from decomr_ros.node.installation import install_hint
from decomr_ros.node.qos import PublisherEventCallbacks

if TYPE_CHECKING:
    from rclpy.node import Node
    from std_msgs.msg import Header

    from decomr_core.base.structures import HumanMesh

__all__ = [
    'BodyFrames',
    'body_from_joints',
    'body_name',
    'body_transforms',
    'joint_frame_name',
    'quaternion',
]

# As the broadcasters of tf2_ros: reliable, depth 100.
TF_QOS = QoSProfile(depth=100)
LEFT_HIP, RIGHT_HIP, SPINE = (
    JOINT_NAMES.index(name) for name in ('left_hip', 'right_hip', 'spine2')
)
# Shortest distance of hips or length of the spine that determines a direction, metres.
SHORTEST_M = 1e-3


class BodyFrames:
    """Publishes people on /tf."""

    def __init__(self, node: Node) -> None:
        """Creates the publisher.

        Raises:
            ImportError: tf2_msgs is not installed.
        """
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            raise ImportError(
                'publish_tf is true, but the package tf2_msgs is not installed, so people cannot '
                f'be published on /tf; {install_hint("tf2_msgs")}, or set '
                'publish_tf to false'
            ) from error
        self._node, self._message_type = node, TFMessage
        # Without events, the publisher is not in the executor's wait set, so any thread can
        # create and destroy it.
        self._publisher = node.create_publisher(
            TFMessage,
            '/tf',
            TF_QOS,
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
        )

    def publish(self, header: Header, meshes: Mapping[int, HumanMesh], has_joints: bool) -> None:
        """Publishes the frames of one image, unless there are no people or no subscribers.

        Args:
            header: stamp and frame of the image.
            meshes: people with a position, by id.
            has_joints: also publish each joint, as a child of its body frame.
        """
        if not meshes or self._publisher.get_subscription_count() == 0:
            return
        transforms = body_transforms(header, self._node.get_namespace(), meshes, has_joints)
        if transforms:
            self._publisher.publish(self._message_type(transforms=transforms))

    def destroy(self) -> None:
        """Destroys the publisher."""
        self._node.destroy_publisher(self._publisher)


def body_transforms(
    header: Header, namespace: str, meshes: Mapping[int, HumanMesh], has_joints: bool
) -> list[TransformStamped]:
    """The frames of the people of one image.

    Args:
        header: stamp and frame of the image.
        namespace: of the node that estimated the meshes.
        meshes: people with a position, by id.
        has_joints: also include each joint, as a child of its body frame.
    """
    return [
        transform
        for track_id, mesh in meshes.items()
        for transform in _transforms(header, body_name(namespace, track_id), mesh, has_joints)
    ]


def body_name(namespace: str, track_id: int) -> str:
    """The name of a person in frames and topics: `p3`, or `left_p3` for a node in /left.

    A token of a ROS name must not begin with a digit. Frames have no namespaces, so the name
    contains the node's namespace to distinguish the people of two nodes.
    """
    return '_'.join([*filter(None, namespace.split('/')), f'p{track_id}'])


def joint_frame_name(joint: str, body: str) -> str:
    """REP-155's name of a joint's frame, e.g. `l_shoulder_p3`, `head_p3`.

    Args:
        joint: SMPL's name.
        body: name of the person, from `body_name`.
    """
    side, _, rest = joint.partition('_')
    short = {'left': f'l_{rest}', 'right': f'r_{rest}'}.get(side, joint)
    return f'{short}_{body}'


def body_from_joints(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The position and orientation of a body.

    Args:
        joints: (24, 3) metres, camera optical frame, SMPL's order.

    Returns:
        Origin (3,) metres, and rotation (3, 3) whose columns are the body's x, y and z axis in
        the camera frame; None if the joints do not determine the orientation.
    """
    joints = np.asarray(joints, np.float64)
    origin = (joints[LEFT_HIP] + joints[RIGHT_HIP]) / 2
    left, up = joints[LEFT_HIP] - joints[RIGHT_HIP], joints[SPINE] - origin
    forward = np.cross(left, up)
    lengths = np.linalg.norm(left), np.linalg.norm(forward)
    # |left x up| / |left| is the distance of the spine from the line through the hips.
    if not (lengths[0] > SHORTEST_M and lengths[1] > SHORTEST_M * lengths[0]):
        return None
    left, forward = left / lengths[0], forward / lengths[1]
    return origin, np.stack([forward, left, np.cross(forward, left)], axis=1)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """The quaternion (x, y, z, w) of a rotation matrix (3, 3), with w >= 0.

    The normalised row of the symmetric matrix 4 q q^T with the largest diagonal element, which
    avoids small divisors (Shepperd, 'Quaternion from Rotation Matrix', 1978).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.asarray(rotation, np.float64).tolist()
    outer = np.array(
        [
            [1 + xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, 1 - xx + yy - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, 1 - xx - yy + zz, yx - xy],
            [zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz],
        ]
    )
    row = outer[outer.diagonal().argmax()]
    row = row / np.linalg.norm(row)
    return -row if row[3] < 0 else row


def _transforms(
    header: Header, body: str, mesh: HumanMesh, has_joints: bool
) -> list[TransformStamped]:
    """The body frame, then its joints; empty if the joints do not determine an orientation."""
    placed = body_from_joints(mesh.joints)
    if placed is None:
        return []
    origin, rotation = placed
    transforms = [_transform(header, f'body_{body}', origin, quaternion(rotation))]
    if has_joints:
        # The joint frames have the axes of the body frame.
        positions = (np.asarray(mesh.joints, np.float64) - origin) @ rotation
        transforms += [
            _transform(
                header,
                joint_frame_name(name, body),
                position,
                (0.0, 0.0, 0.0, 1.0),
                parent=f'body_{body}',
            )
            for name, position in zip(JOINT_NAMES, positions, strict=True)
        ]
    return transforms


def _transform(
    header: Header,
    child: str,
    position: np.ndarray,
    rotation: np.ndarray | tuple,
    parent: str = '',
) -> TransformStamped:
    """A transform at the image's stamp; the parent is the image's frame unless it is given."""
    message = TransformStamped(child_frame_id=child)
    message.header.stamp = header.stamp
    message.header.frame_id = parent or header.frame_id
    x, y, z = (float(number) for number in position)
    message.transform.translation = Vector3(x=x, y=y, z=z)
    x, y, z, w = (float(number) for number in rotation)
    message.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return message
