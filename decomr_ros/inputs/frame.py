"""One image, and the calibration, boxes and depth that match its stamp; read when needed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sensor_msgs.msg import CompressedImage

from decomr_ros.inputs.image_checks import IMAGE_WARNINGS, image_warnings
from decomr_ros.messages.compressed import rgb_from_compressed_message
from decomr_ros.messages.images import rgb_from_image_message

if TYPE_CHECKING:
    import numpy as np
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from decomr_core.people.detection import Detections
    from decomr_ros.calibration.calibration import Calibration
    from decomr_ros.inputs.box_input import BoxInput
    from decomr_ros.inputs.calibration_input import CalibrationInput
    from decomr_ros.inputs.depth_image import DepthImage
    from decomr_ros.inputs.depth_input import DepthInput
    from decomr_ros.messages.serialized_image import SerializedImage
    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['Frame']


class Frame:
    """An image message and the inputs that belong to it: a video frame, not a tf2 frame.

    The thread that takes the message creates it; the worker reads it. Each property is evaluated
    when it is first read, and then kept: an image that a newer one replaces is never decoded, and
    boxes or depth that arrive slightly later than the image are still found. Every property needs
    the decoded image, and raises `BadInput` if the message cannot be decoded.

    Attributes:
        header: stamp and tf2 frame of the image.
    """

    def __init__(
        self,
        message: Image | SerializedImage | CompressedImage,
        calibration_input: CalibrationInput,
        box_input: BoxInput,
        depth_input: DepthInput,
        warnings: StandingWarnings,
    ) -> None:
        """Combines an image message with the inputs; reads none of them yet.

        Args:
            message: the image. Its `frame_id` must be valid for tf2, without a leading slash.
            calibration_input: gives the calibration for the image's size.
            box_input: gives the boxes nearest to the image's stamp.
            depth_input: gives the depth image nearest to the image's stamp.
            warnings: receives what is wrong with the image.
        """
        self.header: Header = message.header
        self._message, self._warnings = message, warnings
        self._calibration_input, self._box_input = calibration_input, box_input
        self._depth_input = depth_input

    @cached_property
    def rgb(self) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB, undistorted if the parameter `undistort` is set.

        Raises:
            BadInput: the message cannot be decoded.
        """
        return self.calibration.undistort_image(self._received)

    @property
    def intrinsics(self) -> np.ndarray | None:
        """(3, 3) px, of `rgb`; None if the camera is not calibrated."""
        return self.calibration.intrinsics

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration for the image's size; without one, its `problem` gives the reason."""
        height, width = self._received.shape[:2]
        return self._calibration_input.at(width, height, self.header.stamp)

    @cached_property
    def boxes(self) -> Detections | None:
        """The people whom another node has detected, in px of `rgb`.

        None: `use_boxes` is not set, or no message has a stamp within `boxes_max_age_s` of the
        image's.
        """
        return self._box_input.at(self.header.stamp, self.calibration)

    @cached_property
    def depth(self) -> DepthImage | None:
        """The depth image with the nearest stamp.

        None: `use_depth` is not set, no depth image is near enough (see `DepthInput`), or it is
        unusable.
        """
        return self._depth_input.at(self.header.stamp, self.calibration)

    @cached_property
    def _received(self) -> np.ndarray:
        """The decoded message, (H, W, 3) uint8 RGB, before `undistort`."""
        is_compressed = isinstance(self._message, CompressedImage)
        decode = rgb_from_compressed_message if is_compressed else rgb_from_image_message
        image = decode(self._message)
        self._warnings.update(IMAGE_WARNINGS, image_warnings(self._message, image))
        return image
