"""Pose of the camera in a fixed frame, for smoothing on a moving robot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decomr_ros.node.installation import install_hint
from decomr_ros.pipeline.transforms import TransformUnknown

if TYPE_CHECKING:
    import numpy as np
    from std_msgs.msg import Header

    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.pipeline.transforms import Transforms

__all__ = ['FixedFrame']


class FixedFrame:
    """Looks up the poses of cameras in one frame."""

    def __init__(
        self, transforms: Transforms | None, frame_id: str, warnings: StandingWarnings
    ) -> None:
        """Stores the frame.

        Args:
            transforms: looks up the poses; None: nobody needs transforms.
            frame_id: name of the fixed frame; empty: nothing is looked up.
            warnings: states the problems.
        """
        self._transforms, self._frame_id, self._warnings = transforms, frame_id, warnings

    def from_camera(self, header: Header) -> np.ndarray | None:
        """Pose (4, 4) of the camera in the fixed frame at the stamp of an image; None: unknown.

        Args:
            header: header of the image, in the camera's optical frame.
        """
        if not self._frame_id or self._transforms is None:
            return None
        if not self._transforms.is_available:
            self._warnings.set(
                'smoothing_frame',
                f'smoothing_frame is {self._frame_id!r}, but the package tf2_ros is not '
                'installed: meshes are smoothed in the camera frame, and lag behind when the '
                f'camera moves; {install_hint("tf2_ros_py")}',
            )
            return None
        try:
            found = self._transforms.lookup(self._frame_id, header.frame_id, header)
        except TransformUnknown as error:
            self._warnings.set(
                'smoothing_frame',
                f'smoothed in the camera frame: {self._frame_id} from {header.frame_id} is not '
                f'known: {error}',
                1,
            )
            return None
        self._warnings.end_soon('smoothing_frame')
        return found.matrix
