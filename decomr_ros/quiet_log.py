"""What may be wrong with every message, said once in a while."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ['QuietLog']


class QuietLog:
    """Logs the first of many texts and then one in each period.

    rclpy's `throttle_duration_sec` does the same but looks up the caller's file first: half a
    millisecond for every text, also those that it leaves out.

    Args:
        log: takes a text, e.g. a method of a node's logger.
        period_s: time between two texts that are logged.
    """

    def __init__(self, log: Callable[[str], object], period_s: float) -> None:
        self._log, self._period_s = log, period_s
        self._next = float('-inf')

    def __call__(self, text: str) -> None:
        """Logs the text, unless one has been logged within the period."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._period_s
            self._log(text)
