"""Clocks that do not agree: ROS time that stands still, stamps of another clock than the node's.

Latencies, tf, boxes and depth are matched by stamps; where those are wrong nothing fails, and
nothing is found.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['InfoStamps', 'StampChecks', 'distance_text']

# Stamps further apart are of different clocks, s; cameras and networks delay by less.
FAR_S = 5.0
# ROS time that was the same at so many looks in a row stands still. A node that was busy with its
# configuration looks before it hears what has come on /clock meanwhile.
MOST_LOOKS = 4
NANOSECONDS = 1_000_000_000
# A camera_info that came longer ago is one that is sent seldom, s: its stamp may be old.
RECENT_S = 1.0
# Where the stamp lies in a serialised message that begins with a header, by its byte order.
_STAMP_AT = 4
_ORDERS = {0: '>iI', 1: '<iI'}


class StampChecks:
    """Compares the stamps of images with ROS time, and ROS time with the machine's own clock."""

    def __init__(self, node: Node, warnings: StandingWarnings) -> None:
        """Takes the node, whose clock is ROS time, and what it warns with."""
        self._node, self._warnings = node, warnings
        self._clock_ns, self._looks, self._moved_s = 0, 0, time.monotonic()

    def image_jumps_back(self, stamp_ns: int, before_ns: int) -> bool:
        """Whether an image is older than the one before; warns of stamps that make no sense.

        Args:
            stamp_ns: of the image; nanoseconds of its clock.
            before_ns: of the image before; 0: there was none.
        """
        is_back = stamp_ns < before_ns
        found = {}
        if is_back:
            found['image_order'] = (
                f'time jumped back by {(before_ns - stamp_ns) / NANOSECONDS:.3f} s: the tracks '
                'start anew. A bag or a simulation that starts again does that; a camera driver '
                'must not')
        elif stamp_ns == before_ns != 0:
            found['image_order'] = (
                'images have the stamp of the image before, so that no time passes for tracking '
                'and smoothing; let the camera driver stamp each image')
        if stamp_ns == 0:
            found['image_stamps'] = (
                'images are stamped 0: their age is unknown, boxes, depth and tf cannot be '
                'matched, and each counts as a thirtieth of a second; let the camera driver '
                'stamp them')
        elif far := self._far_from_now(stamp_ns):
            found['image_stamps'] = far
        self._warnings.update(('image_order', 'image_stamps'), found)
        return is_back

    def look_at_clock(self) -> None:
        """Warns where `use_sim_time` is set and no clock runs; to be called now and then."""
        now_ns, now_s = self._node.get_clock().now().nanoseconds, time.monotonic()
        if now_ns != self._clock_ns:
            self._clock_ns, self._looks, self._moved_s = now_ns, 0, now_s
        self._looks += 1
        text = ''
        if self._uses_sim_time() and self._looks >= MOST_LOOKS:
            text = (f'/clock stands at {now_ns / NANOSECONDS:.3f} s for '
                    f'{now_s - self._moved_s:.0f} s; is the simulation paused, or has it ended?')
            if now_ns == 0:
                text = ('use_sim_time is true, but nothing came on /clock: ROS time stands at 0. '
                        'Start the simulation or ros2 bag play --clock, or set use_sim_time to '
                        'false')
        self._warnings.hold('clock', text)

    def _far_from_now(self, stamp_ns: int) -> str:
        """A warning about a stamp of another clock; empty where it is of the node's own."""
        now_ns = self._node.get_clock().now().nanoseconds
        if now_ns == 0:
            return ''  # no clock yet, which has a warning of its own
        ahead_s = (stamp_ns - now_ns) / NANOSECONDS
        if abs(ahead_s) <= FAR_S:
            return ''
        advice = ('use_sim_time is true: do the images come from the same simulation or bag as '
                  '/clock?' if self._uses_sim_time() else
                  'synchronise the clocks of the machines (chrony, ptp), or set use_sim_time for '
                  'images of a simulation or a bag')
        return (f'images are stamped {_apart(ahead_s)} the present ROS time, so that '
                f'latencies are wrong and tf may not be found; {advice}')

    def _uses_sim_time(self) -> bool:
        return bool(self._node.get_parameter_or('use_sim_time').value)


class InfoStamps:
    """Compares the stamps of camera_info with those of images.

    Calibrations are matched by size, so that nothing fails; but a camera whose two topics have
    different clocks is set up wrongly. Written by one thread, read by another.
    """

    def __init__(self, warnings: StandingWarnings) -> None:
        """Takes what it warns with."""
        self._warnings = warnings
        self._last: tuple[int, float] | None = None

    def take(self, serialized: bytes) -> None:
        """Notes the stamp of a serialised camera_info that has just come."""
        order = _ORDERS.get(serialized[1] if len(serialized) > 1 else -1)
        if order is not None and len(serialized) >= _STAMP_AT + struct.calcsize(order):
            seconds, nanoseconds = struct.unpack_from(order, serialized, _STAMP_AT)
            self._last = seconds * NANOSECONDS + nanoseconds, time.monotonic()

    def compare(self, image_ns: int) -> None:
        """Warns where the camera_info of this moment is stamped by another clock.

        Args:
            image_ns: stamp of an image that has just come, nanoseconds.
        """
        if self._last is None or time.monotonic() - self._last[1] > RECENT_S:
            return
        ahead_s = (self._last[0] - image_ns) / NANOSECONDS
        found = {}
        if abs(ahead_s) > FAR_S:
            found['camera_info_stamps'] = (
                f'camera_info is stamped {_apart(ahead_s)} the images: it is matched by the size '
                'of the image, its stamp is not used; let the camera driver stamp both alike')
        self._warnings.update(('camera_info_stamps',), found)


def distance_text(ahead_s: float | None) -> str:
    """Why no message of a topic is of the moment of an image, as a part of a sentence.

    Args:
        ahead_s: by how much the nearest message is stamped after the image; None: none came.
    """
    if ahead_s is None:
        return ', none came so far'
    return (f' (the nearest is stamped {_apart(ahead_s)} it; their stamps must be those of the '
            'images that they are of, from one clock)')


def _apart(ahead_s: float) -> str:
    """E.g. `3.0 s before`."""
    return f'{abs(ahead_s):.1f} s {"after" if ahead_s > 0 else "before"}'
