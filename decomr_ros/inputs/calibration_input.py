"""The camera_info topic: takes its messages and gives each image its calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from decomr_ros.calibration.calibration import Calibration, CalibrationStore
from decomr_ros.calibration.calibration_checks import CALIBRATION_WARNINGS
from decomr_ros.calibration.calibration_wait import CalibrationWait
from decomr_ros.inputs.stamp_checks import InfoStamps
from decomr_ros.messages.bad_input import BadInput, BadInputCounts
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.standing_warnings import QUIET_S
from decomr_ros.topics.input_topics import no_camera_info_text

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['CalibrationInput']

# Offset of the content of a serialised message that begins with a stamp, bytes.
AFTER_STAMP = 12


class CalibrationInput:
    """The calibrations that have arrived.

    The subscription's thread calls `read` and `add`, the worker calls `at`.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        parameters: Callable[[], NodeParameters],
        warnings: StandingWarnings,
        bad: BadInputCounts,
    ) -> None:
        """Starts without a calibration.

        Args:
            node: for its log and its view of the ROS graph.
            topic: full name of the topic.
            parameters: returns the present parameters.
            warnings: states the problems.
            bad: counts the messages that cannot be used.
        """
        self._node, self._topic, self._parameters = node, topic, parameters
        self._warnings, self._bad = warnings, bad
        self._store = CalibrationStore(
            lambda text: node.get_logger().info(text, throttle_duration_sec=QUIET_S)
        )
        self._stamps = InfoStamps(warnings)
        self._wait = CalibrationWait()
        self._last_content = b''

    def restart_wait(self) -> None:
        """Restarts the time in which a missing calibration is not a warning yet."""
        self._wait = CalibrationWait()

    def read(self, serialized: bytes) -> CameraInfo | None:
        """Deserialises a camera_info.

        Returns:
            The message; None if it repeats the one before, as most cameras do with each image, or
            if it is damaged, which is counted.
        """
        content = serialized[AFTER_STAMP:]
        self._stamps.take(serialized)
        if content == self._last_content:
            return None
        try:
            message = deserialize_message(serialized, CameraInfo)
        except Exception as error:  # noqa: BLE001 - rclpy raises several kinds
            self._bad.add(
                BadInput(
                    'camera_info',
                    f'a camera_info of {len(serialized)} bytes that cannot be read: {error}',
                )
            )
            return None
        self._last_content = content
        return message

    def add(self, message: CameraInfo) -> None:
        """Stores a calibration; counts one that is invalid."""
        try:
            self._store.add(message)
            self._warnings.end_soon('bad_camera_info')
        except BadInput as error:
            self._last_content = b''  # so that a repetition is counted as well
            self._bad.add(error)

    def at(self, width: int, height: int, stamp: Any = None) -> Calibration:
        """The calibration for an image; states what is wrong with it as a warning.

        Args:
            width: width of the image, px.
            height: height of the image, px.
            stamp: ROS stamp of the image, compared with those of camera_info; None: not compared.
        """
        parameters = self._parameters()
        calibration = self._store.for_image(
            width, height, parameters.image_is_rectified, parameters.undistort
        )
        if calibration.intrinsics is None:
            self._warn_of_missing(calibration)
        else:
            self._warnings.end('camera_info')
            if self._wait.is_over():
                self._warnings.note(
                    'camera_info',
                    f'camera_info has come on {self._topic}: people have positions from now on',
                )
        found = dict(calibration.remarks)
        if calibration.warning:
            found['lens'] = calibration.warning
        self._warnings.update((*CALIBRATION_WARNINGS, 'lens'), found)
        if stamp is not None:
            self._stamps.compare(nanoseconds_from_stamp(stamp))
        return calibration

    def _warn_of_missing(self, calibration: Calibration) -> None:
        """Warns that an image has no intrinsics, unless they may still be on their way."""
        problem = calibration.problem or no_camera_info_text(self._node, self._topic)
        if problem == self._store.refused:  # it has a warning of its own
            problem = f'no usable camera_info on {self._topic} yet'
        problem += '; until then meshes are relative to the root, without a position'
        if count := self._wait.count(not calibration.problem):
            self._warnings.set('camera_info', problem, count)
