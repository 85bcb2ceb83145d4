"""The newest meshes and distances of the same image, from serialised messages."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from decomr.msg import HumanMeshArray, ProximityArray
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header

from decomr_ros.messages.meshes import nanoseconds_from_stamp

__all__ = ['DISTANCE_STALE_S', 'NewestPeople']

DISTANCE_STALE_S = 0.5
"""Distances are outdated if no message arrived for this long, s."""
NUM_MESSAGES = 30
"""Meshes that wait for their distances at most: 1 s at 30 Hz."""


class _Meshes(NamedTuple):
    """Meshes that wait to be shown."""

    stamp_ns: int
    arrived_ns: int
    data: bytes


class NewestPeople:
    """Selects the meshes to show: the newest, but if distances arrive, the newest that have some.

    The distances of an image arrive a little later than its meshes. Without waiting for them, the
    lines would vanish whenever an update of the page falls in between.
    """

    def __init__(self) -> None:
        """Starts without messages."""
        self._waiting: deque[_Meshes] = deque(maxlen=NUM_MESSAGES)
        self._shown_ns: int | None = None
        self._distances: bytes | None = None
        self._distances_ns, self._received_s = 0, -math.inf

    @property
    def has_distances(self) -> bool:
        """Whether distances have ever arrived."""
        return self._distances is not None

    def add_meshes(self, data: bytes, arrived_ns: int) -> None:
        """Adds a serialised HumanMeshArray that arrived at this ROS time, ns."""
        self._waiting.append(_Meshes(_stamp_ns(data), arrived_ns, data))

    def add_distances(self, data: bytes, now_s: float) -> None:
        """Replaces the distances by a serialised ProximityArray that arrived at this time, s."""
        self._distances, self._distances_ns = data, _stamp_ns(data)
        self._received_s = now_s

    def take_meshes(self, now_s: float) -> tuple[HumanMeshArray, int] | None:
        """The meshes to show now and their arrival, ns; None: those that are shown already.

        Args:
            now_s: monotonic time, s.
        """
        count = len(self._waiting)
        if self._are_recent(now_s):
            ready = [
                index
                for index, meshes in enumerate(self._waiting)
                if meshes.stamp_ns <= self._distances_ns
            ]
            if ready:
                count = ready[-1] + 1
            elif self._shown_ns == self._distances_ns:
                return None
        if count == 0:
            return None
        taken = [self._waiting.popleft() for _ in range(count)][-1]
        self._shown_ns = taken.stamp_ns
        return deserialize_message(taken.data, HumanMeshArray), taken.arrived_ns

    def distances(self, now_s: float) -> ProximityArray | None:
        """The distances of the meshes that `take_meshes` has returned last; None: unknown.

        Args:
            now_s: monotonic time, s.
        """
        data = self._distances
        if data is None or not self._are_recent(now_s) or self._distances_ns != self._shown_ns:
            return None
        return deserialize_message(data, ProximityArray)

    def _are_recent(self, now_s: float) -> bool:
        return now_s - self._received_s <= DISTANCE_STALE_S


def _stamp_ns(data: bytes) -> int:
    """The stamp of a serialised message whose first field is a header, ns."""
    return nanoseconds_from_stamp(deserialize_message(data, Header).stamp)
