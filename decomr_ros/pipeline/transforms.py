"""Transforms between frames at the stamp of an image, from tf2.

`tf2_ros` is an optional package. Only this file imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rclpy.time import Time

from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.installation import install_hint

if TYPE_CHECKING:
    from geometry_msgs.msg import Transform
    from rclpy.node import Node
    from std_msgs.msg import Header

__all__ = ['LATEST_TF_S', 'FoundTransform', 'TransformUnknown', 'Transforms']

LATEST_TF_S = 0.1
"""Largest age of the newest transform relative to the image, s: odometry comes at 20 Hz or
more."""


class TransformUnknown(Exception):
    """A transform at the stamp of an image is not known; the text is the reason."""


class FoundTransform(NamedTuple):
    """A rigid transform between two frames.

    Attributes:
        matrix: (4, 4) target from source, metres.
        age_s: how much older than the image it is, s; 0: it is of the same time.
    """

    matrix: np.ndarray
    age_s: float


class Transforms:
    """Listens to /tf and /tf_static, and looks up transforms; thread-safe as tf2 is.

    Attributes:
        is_available: whether tf2_ros is installed.
    """

    def __init__(self, node: Node) -> None:
        """Subscribes, if tf2_ros is installed.

        Args:
            node: owner of the listener.
        """
        self._buffer: Any = None
        self._listener: Any = None
        self.is_available = False
        try:
            import tf2_ros
        except ImportError:
            return
        self.is_available = True
        # ValueError: a name that tf2 cannot take as text.
        self._errors = tf2_ros.TransformException, ValueError
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, target: str, source: str, header: Header) -> FoundTransform:
        """The transform at the stamp of an image, or the newest if it is hardly older.

        Args:
            target: the frame to transform to.
            source: the frame to transform from.
            header: of the image; its frame does not matter.

        Raises:
            TransformUnknown: there is none, it is more than `LATEST_TF_S` older than the image,
                it is not finite, or it changes and the image has no stamp.
        """
        if target == source:
            return FoundTransform(np.eye(4), 0.0)
        if self._buffer is None:
            raise TransformUnknown(
                f'the package tf2_ros is not installed; {install_hint("tf2_ros_py")}'
            )
        try:
            try:
                found, age_s = self._buffer.lookup_transform(target, source, header.stamp), 0.0
            except self._errors:
                found = self._buffer.lookup_transform(target, source, Time())
                age_s = (
                    nanoseconds_from_stamp(header.stamp)
                    - nanoseconds_from_stamp(found.header.stamp)
                ) / 1e9
                if not 0 <= age_s <= LATEST_TF_S:
                    raise
        except self._errors as error:
            raise TransformUnknown(
                f'{str(error).rstrip(".")}; does somebody publish it on /tf?'
            ) from error
        stamp_ns, found_ns = map(nanoseconds_from_stamp, (header.stamp, found.header.stamp))
        # For the time 0 tf2 returns the newest, whose stamp is 0 only if nothing on the way moves.
        if stamp_ns == 0 and found_ns != 0:
            raise TransformUnknown('the image has no stamp, and the frames move')
        matrix = _matrix(found.transform)
        if not np.isfinite(matrix).all():
            raise TransformUnknown('it contains a number that is not finite')
        return FoundTransform(matrix, age_s)

    def clear(self) -> None:
        """Forgets all transforms but the static ones: the stamps of the images jump back.

        tf2 would ignore new transforms that are 10 s older than the newest one.
        """
        if self._buffer is not None:
            self._buffer.clear()

    def destroy(self) -> None:
        """Ends the listener; afterwards every transform is unknown."""
        if self._listener is not None:
            self._listener.unregister()
        self._buffer = self._listener = None


def _matrix(transform: Transform) -> np.ndarray:
    """The matrix (4, 4) of a geometry_msgs/Transform; NaN for a quaternion of length 0."""
    turn, move = transform.rotation, transform.translation
    quaternion = np.array([turn.x, turn.y, turn.z, turn.w])
    with np.errstate(invalid='ignore', divide='ignore'):
        x, y, z, w = quaternion / np.linalg.norm(quaternion)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = move.x, move.y, move.z
    return matrix
