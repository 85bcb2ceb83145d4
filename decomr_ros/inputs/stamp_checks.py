"""Detects clocks that disagree: stopped ROS time, and stamps of another clock than the node's.

tf, boxes and depth are matched by stamps. With wrong stamps nothing fails, but nothing matches.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from decomr_ros.node.timing import NS_PER_S

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['InfoStamps', 'StampChecks', 'distance_text']

# Stamps that are further apart are of different clocks, s; cameras and networks delay by less.
FAR_S = 5.0
# ROS time that is unchanged in this many checks in a row is stopped. After a long configuration,
# the first checks precede the pending messages on /clock.
STOPPED_CHECKS = 4
# An older camera_info is of a camera that sends it rarely, s; its stamp is not compared.
RECENT_S = 1.0
# Offset of the stamp in a serialised message that begins with a header; format by byte order.
_STAMP_AT = 4
_ORDERS = {0: '>iI', 1: '<iI'}


class StampChecks:
    """Compares the stamps of images with ROS time, and ROS time with the machine's clock."""

    def __init__(self, node: Node, warnings: StandingWarnings) -> None:
        """Stores the node, whose clock is ROS time, and the warnings to update."""
        self._node, self._warnings = node, warnings
        self._clock_ns, self._num_checks, self._moved_s = 0, 0, time.monotonic()

    def image_jumps_back(self, stamp_ns: int, before_ns: int) -> bool:
        """Whether an image is older than the previous one; warns of implausible stamps.

        Args:
            stamp_ns: of the image, ns.
            before_ns: of the previous image, ns; 0: there was none.
        """
        is_back = stamp_ns < before_ns
        found = {}
        if is_back:
            found['image_order'] = (
                f'the stamps of images jumped back by {(before_ns - stamp_ns) / NS_PER_S:.3f} '
                's: all tracks were reset. This is normal when a bag or a simulation restarts, '
                'but a camera driver must not do it'
            )
        elif stamp_ns == before_ns != 0:
            found['image_order'] = (
                'images have the stamp of the previous image, so that no time passes for tracking '
                'and smoothing; configure the camera driver to stamp each image'
            )
        if stamp_ns == 0:
            found['image_stamps'] = (
                'images have the stamp 0: their age is unknown, boxes, depth and tf cannot be '
                'matched, and a frame period of 1/30 s is assumed; configure the camera driver to '
                'stamp them'
            )
        elif far := self._far_from_now(stamp_ns):
            found['image_stamps'] = far
        self._warnings.update(('image_order', 'image_stamps'), found)
        return is_back

    def check_clock(self) -> None:
        """Warns if `use_sim_time` is set but the clock is stopped; call it periodically."""
        now_ns, now_s = self._node.get_clock().now().nanoseconds, time.monotonic()
        if now_ns != self._clock_ns:
            self._clock_ns, self._num_checks, self._moved_s = now_ns, 0, now_s
        self._num_checks += 1
        text = ''
        if self._uses_sim_time() and self._num_checks >= STOPPED_CHECKS:
            text = (
                f'/clock has been at {now_ns / NS_PER_S:.3f} s for '
                f'{now_s - self._moved_s:.0f} s; check whether the simulation is paused or '
                'has ended'
            )
            if now_ns == 0:
                text = (
                    'use_sim_time is true, but no message arrived on /clock: ROS time is 0. '
                    'Start the simulation or ros2 bag play --clock, or set use_sim_time to '
                    'false'
                )
        self._warnings.set('clock', text)

    def _far_from_now(self, stamp_ns: int) -> str:
        """A warning about a stamp that is far from ROS time; empty if it is near."""
        now_ns = self._node.get_clock().now().nanoseconds
        if now_ns == 0:
            return ''  # no /clock yet, of which `check_clock` warns
        ahead_s = (stamp_ns - now_ns) / NS_PER_S
        if abs(ahead_s) <= FAR_S:
            return ''
        advice = (
            'use_sim_time is true: check that images and /clock come from the same '
            'simulation or bag'
            if self._uses_sim_time()
            else 'synchronise the clocks of the machines (chrony, ptp), or set use_sim_time for '
            'images of a simulation or a bag'
        )
        return (
            f'images are stamped {_apart(ahead_s)} the current ROS time, so latencies are '
            f'wrong and transforms may not be found; {advice}'
        )

    def _uses_sim_time(self) -> bool:
        return bool(self._node.get_parameter_or('use_sim_time').value)


class InfoStamps:
    """Compares the stamps of camera_info with those of images.

    Calibrations are matched by image size, so different stamps have no effect; but they indicate
    a misconfigured camera. Written by one thread, read by another.
    """

    def __init__(self, warnings: StandingWarnings) -> None:
        """Stores the warnings to update."""
        self._warnings = warnings
        self._last: tuple[int, float] | None = None

    def take(self, serialized: bytes) -> None:
        """Stores the stamp of a serialised camera_info that has just arrived."""
        order = _ORDERS.get(serialized[1] if len(serialized) > 1 else -1)
        if order is not None and len(serialized) >= _STAMP_AT + struct.calcsize(order):
            seconds, nanoseconds = struct.unpack_from(order, serialized, _STAMP_AT)
            self._last = seconds * NS_PER_S + nanoseconds, time.monotonic()

    def compare(self, image_ns: int) -> None:
        """Warns if a recent camera_info is stamped by another clock than the image.

        Args:
            image_ns: stamp of an image that has just arrived, ns.
        """
        if self._last is None or time.monotonic() - self._last[1] > RECENT_S:
            return
        ahead_s = (self._last[0] - image_ns) / NS_PER_S
        found = {}
        if abs(ahead_s) > FAR_S:
            found['camera_info_stamps'] = (
                f'camera_info is stamped {_apart(ahead_s)} the images; its stamp is ignored, '
                'because it is matched by the image size; configure the camera driver to stamp '
                'both alike'
            )
        self._warnings.update(('camera_info_stamps',), found)


def distance_text(ahead_s: float | None) -> str:
    """Why no message of a topic matches an image, as the end of a sentence.

    Args:
        ahead_s: stamp of the nearest message minus that of the image, s; None: none has arrived.
    """
    if ahead_s is None:
        return ', none has arrived so far'
    return (
        f' (the nearest is stamped {_apart(ahead_s)} it; each message must have the stamp of '
        'its image, from the same clock)'
    )


def _apart(ahead_s: float) -> str:
    """E.g. `3.0 s before`."""
    return f'{abs(ahead_s):.1f} s {"after" if ahead_s > 0 else "before"}'
