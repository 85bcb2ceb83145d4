"""Velocities of the frames of a robot, by which late poses are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from decomr_core.people.velocity import MIN_STEP_S, velocity_weight
from decomr_ros.pipeline.transforms import LATEST_TF_S

__all__ = ['FrameMotions']

CUTOFF_HZ = 1.0
"""Cutoff of the low-pass, Hz."""
MAX_GAP_S = 0.5
"""Time without a pose of a frame after which its filter restarts, s; as for people."""


@dataclass(frozen=True)
class _Motion:
    """The motion of one frame in the camera frame.

    Attributes:
        start_s: time of the first pose.
        time_s: time of the last pose.
        pose: (4, 4) last pose, metres.
        linear: (3,) velocity of the frame's origin, m/s; None: there was one pose so far.
        angular: (3,) rad/s, in the axes of the camera frame.
    """

    start_s: float
    time_s: float
    pose: np.ndarray
    linear: np.ndarray | None = None
    angular: np.ndarray | None = None


class FrameMotions:
    """Differences of poses in the camera frame, through a low-pass filter."""

    def __init__(self) -> None:
        """Starts without poses."""
        self._motions: dict[str, _Motion] = {}

    def update(self, poses: Mapping[str, tuple[np.ndarray, float]]) -> None:
        """Adds the poses of the frames in one image.

        The motion of a frame starts anew after a jump back in time, and after a gap. A pose that
        is slightly older than the last one changes nothing.

        Args:
            poses: pose (4, 4) in the camera frame and its time, s, by name of the frame.
        """
        for name, (pose, time_s) in poses.items():
            before = self._motions.get(name)
            if before is None or not -LATEST_TF_S <= time_s - before.time_s <= MAX_GAP_S:
                self._motions[name] = _Motion(time_s, time_s, pose)
            else:
                self._motions[name] = _updated(before, pose, time_s)
        self._motions = {name: self._motions[name] for name in poses}

    def velocity(self, name: str, point: np.ndarray) -> np.ndarray | None:
        """The velocity (3,) of a point that moves with a frame, m/s; None: unknown.

        Args:
            name: name of the frame.
            point: (3,) its present position in the camera frame, metres.
        """
        motion = self._motions.get(name)
        if motion is None or motion.linear is None or motion.angular is None:
            return None
        return motion.linear + np.cross(motion.angular, point - motion.pose[:3, 3])


def _updated(before: _Motion, pose: np.ndarray, time_s: float) -> _Motion:
    """The motion after one more pose; it starts as the mean since the first one."""
    step_s = time_s - before.time_s
    if step_s < MIN_STEP_S:
        return before
    linear = (pose[:3, 3] - before.pose[:3, 3]) / step_s
    turn, _ = cv2.Rodrigues(pose[:3, :3] @ before.pose[:3, :3].T)
    angular = turn[:, 0] / step_s
    if before.linear is not None and before.angular is not None:
        weight = velocity_weight(CUTOFF_HZ, step_s, time_s - before.start_s)
        linear = before.linear + weight * (linear - before.linear)
        angular = before.angular + weight * (angular - before.angular)
    return _Motion(before.start_s, time_s, pose, linear, angular)
