"""The last messages of a topic, to be found by the time they are of."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from decomr_ros.messages.meshes import nanoseconds_from_stamp

__all__ = ['StampedMessages']


class StampedMessages:
    """The last messages of a topic, found by the time they are of; any thread."""

    def __init__(self, most: int) -> None:
        """Keeps so many."""
        self._messages: deque[tuple[int, Any]] = deque(maxlen=most)
        self._lock = threading.Lock()

    def add(self, stamp: Any, content: Any) -> None:
        """Takes what a message with this ROS stamp says."""
        with self._lock:
            self._messages.append((nanoseconds_from_stamp(stamp), content))

    def at(self, stamp: Any, max_age_s: float) -> Any | None:
        """What was said at that moment, or nearest to it within the time; None: nothing."""
        wanted_ns = nanoseconds_from_stamp(stamp)
        with self._lock:
            newest_first = list(self._messages)[::-1]
        near = [(abs(stamp_ns - wanted_ns), content) for stamp_ns, content in newest_first
                if abs(stamp_ns - wanted_ns) <= max_age_s * 1e9]
        return min(near, key=lambda pair: pair[0])[1] if near else None

    def nearest_s(self, stamp: Any) -> float | None:
        """By how much the nearest message is stamped after that moment, s; None: there is none."""
        wanted_ns = nanoseconds_from_stamp(stamp)
        with self._lock:
            return min(((stamp_ns - wanted_ns) / 1e9 for stamp_ns, _ in self._messages), key=abs,
                       default=None)
