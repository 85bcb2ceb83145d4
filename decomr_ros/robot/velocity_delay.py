"""Delay of the velocities of people, from the measured interval between images."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from decomr_core.people.smoothing import SmoothingConfig
from decomr_core.people.tracking import NOMINAL_PERIOD_S
from decomr_core.people.velocity import velocity_delay_s
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.timing import NS_PER_S

if TYPE_CHECKING:
    from std_msgs.msg import Header

__all__ = ['VelocityDelay']

NUM_INTERVALS = 10
"""Number of intervals whose mean is taken; the velocities are an average over more images."""


class VelocityDelay:
    """The delay of the velocities that `MeshSmoother` measures with its default cutoff."""

    def __init__(self) -> None:
        """Starts before the first image."""
        self._stamps_ns: deque[int] = deque(maxlen=NUM_INTERVALS + 1)

    def restart(self) -> None:
        """Forgets the images, when velocities are no longer measured."""
        self._stamps_ns.clear()

    def at(self, header: Header) -> float:
        """The delay at the next image, s; NaN: unknown, as in the first image.

        After a jump back or a gap, after which the velocities start anew, it is unknown as well.

        Args:
            header: of the image. If its stamp is 0, the tracker's nominal interval is assumed.
        """
        stamps, config = self._stamps_ns, SmoothingConfig()
        stamp_ns = nanoseconds_from_stamp(header.stamp)
        if stamp_ns == 0:
            return velocity_delay_s(config.speed_cutoff_hz, NOMINAL_PERIOD_S)
        if stamps and not 0 <= stamp_ns - stamps[-1] <= config.max_gap_s * NS_PER_S:
            stamps.clear()
        if not stamps or stamp_ns > stamps[-1]:
            stamps.append(stamp_ns)
        if len(stamps) < 2:
            return math.nan
        interval_s = (stamps[-1] - stamps[0]) / (len(stamps) - 1) / NS_PER_S
        return velocity_delay_s(config.speed_cutoff_hz, interval_s)
