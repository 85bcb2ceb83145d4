"""Pose of the camera in a fixed frame, from tf2, for smoothing on a moving robot.

`tf2_ros` is an optional package. Only this file imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.time import Time

from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.installation import install_hint
from decomr_ros.node.standing_warnings import StandingWarnings

if TYPE_CHECKING:
    from geometry_msgs.msg import Transform, TransformStamped
    from rclpy.node import Node
    from std_msgs.msg import Header

__all__ = ['FixedFrame']

# Largest age of the newest transform relative to the image, s: odometry comes at 20 Hz or more.
LATEST_TF_S = 0.1


class FixedFrame:
    """Appearances up the poses of cameras in one frame."""

    def __init__(
        self, node: Node, frame_id: str, warnings: StandingWarnings | None = None
    ) -> None:
        """Listens to tf if a frame is given and tf2_ros is installed.

        Args:
            node: owner of the listener.
            frame_id: name of the fixed frame; empty: nothing is looked up.
            warnings: states the problems; None: they are only logged.
        """
        self._node, self._frame_id = node, frame_id
        self._warnings = warnings or StandingWarnings.of_node(node)
        self._buffer: Any = None  # of tf2_ros, which may not be installed
        self._listener: Any = None
        self._missing = ''
        if not frame_id:
            return
        try:
            import tf2_ros
        except ImportError:
            self._missing = (
                f'smoothing_frame is {frame_id!r}, but the package tf2_ros is not installed: '
                'meshes are smoothed in the camera frame, and lag behind when the camera moves; '
                f'{install_hint("tf2_ros_py")}'
            )
            self._warnings.set('smoothing_frame', self._missing)
            return
        self._error = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def from_camera(self, header: Header) -> np.ndarray | None:
        """Pose (4, 4) of the camera in the fixed frame at the stamp of an image; None: unknown.

        Args:
            header: header of the image, in the camera's optical frame.
        """
        if self._buffer is None:
            if self._missing:
                self._warnings.set('smoothing_frame', self._missing)
            return None
        try:
            found = self._lookup(header)
        except self._error as error:
            self._warnings.set(
                'smoothing_frame',
                f'smoothed in the camera frame: {self._frame_id} from {header.frame_id} is not '
                f'known: {error}; does somebody publish it on /tf?',
                1,
            )
            return None
        self._warnings.end_soon('smoothing_frame')
        return _matrix(found.transform)

    def _lookup(self, header: Header) -> TransformStamped:
        """The transform at the stamp, or the newest one if it is at most `LATEST_TF_S` older."""
        try:
            return self._buffer.lookup_transform(self._frame_id, header.frame_id, header.stamp)
        except self._error:
            newest = self._buffer.lookup_transform(self._frame_id, header.frame_id, Time())
            behind_s = (
                nanoseconds_from_stamp(header.stamp) - nanoseconds_from_stamp(newest.header.stamp)
            ) / 1e9
            if not 0 <= behind_s <= LATEST_TF_S:
                raise
            return newest

    def destroy(self) -> None:
        """Ends the listener."""
        if self._listener is not None:
            self._listener.unregister()
        self._buffer = self._listener = None


def _matrix(transform: Transform) -> np.ndarray:
    """The matrix (4, 4) of a geometry_msgs/Transform."""
    turn, move = transform.rotation, transform.translation
    x, y, z, w = np.array([turn.x, turn.y, turn.z, turn.w]) / np.linalg.norm(
        [turn.x, turn.y, turn.z, turn.w]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = move.x, move.y, move.z
    return matrix
