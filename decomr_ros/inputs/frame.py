"""One image with the calibration, boxes and depth of its moment, evaluated on demand."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sensor_msgs.msg import CompressedImage

from decomr_ros.inputs.image_checks import IMAGE_WARNINGS, image_remarks
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
    """An image message and the inputs that belong to it.

    Everything is evaluated when the worker first asks for it: an image that a newer one replaces
    costs nothing, and boxes or depth that arrive slightly later than the image are still found.

    Attributes:
        header: stamp and coordinate frame of the image.
    """

    def __init__(
        self,
        message: Image | SerializedImage | CompressedImage,
        calibrations: CalibrationInput,
        boxes: BoxInput,
        depths: DepthInput,
        warnings: StandingWarnings,
    ) -> None:
        """Combines an image message with the inputs.

        Args:
            message: the image. The name of its coordinate frame is valid for tf2.
            calibrations: the calibrations that have arrived.
            boxes: the detections that have arrived.
            depths: the depth images that have arrived.
            warnings: states the problems of the image.
        """
        self.header: Header = message.header
        self._message, self._warnings = message, warnings
        self._calibrations, self._boxes, self._depths = calibrations, boxes, depths

    @cached_property
    def rgb(self) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB, undistorted if the parameter `undistort` is set.

        Raises:
            BadInput: the message cannot be decoded.
        """
        return self.calibration.undistort_image(self._distorted)

    @property
    def intrinsics(self) -> np.ndarray | None:
        """(3, 3) px, of `rgb`; None if the camera is not calibrated."""
        return self.calibration.intrinsics

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration for the image's size; without one, it says why."""
        height, width = self._distorted.shape[:2]
        return self._calibrations.at(width, height, self.header.stamp)

    @cached_property
    def boxes(self) -> Detections | None:
        """The people whom another node has detected, in px of `rgb`; None: unknown."""
        return self._boxes.at(self.header.stamp, self.calibration)

    @cached_property
    def depth(self) -> DepthImage | None:
        """The depth image of this moment; None: there is none."""
        return self._depths.at(self.header.stamp, self.calibration)

    @cached_property
    def _distorted(self) -> np.ndarray:
        """The image as the camera took it, (H, W, 3) uint8 RGB."""
        is_compressed = isinstance(self._message, CompressedImage)
        decode = rgb_from_compressed_message if is_compressed else rgb_from_image_message
        image = decode(self._message)
        self._warnings.update(IMAGE_WARNINGS, image_remarks(self._message, image))
        return image
