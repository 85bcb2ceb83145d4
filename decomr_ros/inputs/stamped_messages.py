"""A buffer of the last messages of a topic, searched by stamp."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from decomr_ros.messages.meshes import nanoseconds_from_stamp

__all__ = ['StampedMessages']


class StampedMessages:
    """The last messages of a topic, found by their stamps; any thread."""

    def __init__(self, capacity: int) -> None:
        """Starts empty; `capacity` is the maximum number of messages."""
        self._messages: deque[tuple[int, Any]] = deque(maxlen=capacity)
        self._lock = threading.Lock()

    def add(self, stamp: Any, content: Any) -> None:
        """Adds the content of a message with this ROS stamp."""
        with self._lock:
            self._messages.append((nanoseconds_from_stamp(stamp), content))

    def at(self, stamp: Any, max_age_s: float) -> Any | None:
        """The content nearest to a ROS stamp, the newest of equals; None if none is near enough.

        Args:
            stamp: ROS stamp.
            max_age_s: largest difference between the stamps, s.
        """
        wanted_ns = nanoseconds_from_stamp(stamp)
        with self._lock:
            newest_first = list(self._messages)[::-1]
        near = [
            (abs(stamp_ns - wanted_ns), content)
            for stamp_ns, content in newest_first
            if abs(stamp_ns - wanted_ns) <= max_age_s * 1e9
        ]
        return min(near, key=lambda pair: pair[0])[1] if near else None

    def nearest_s(self, stamp: Any) -> float | None:
        """Signed time from a ROS stamp to the nearest message, s; None if there is none."""
        wanted_ns = nanoseconds_from_stamp(stamp)
        with self._lock:
            return min(
                ((stamp_ns - wanted_ns) / 1e9 for stamp_ns, _ in self._messages),
                key=abs,
                default=None,
            )
