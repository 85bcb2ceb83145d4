"""Delays the warning about a missing calibration at the start.

A camera driver publishes image and calibration together, but the middleware connects the two
topics one after the other, and some drivers publish the calibration less often than images.
"""

from __future__ import annotations

import time

__all__ = ['CalibrationWait']

# No warning is given for this time after the first image without a calibration, s.
WAIT_S = 2.0


class CalibrationWait:
    """Counts images without a calibration; called by the worker once per image."""

    def __init__(self) -> None:
        """Starts before the first image."""
        self._first_s: float | None = None
        self._early, self._has_warned = 0, False

    def count(self, is_absent: bool) -> int:
        """Counts an image without a calibration.

        Args:
            is_absent: no calibration has arrived; False: one has, but it does not fit the image.

        Returns:
            The number of images that the warning must count now; 0: too early for a warning.
        """
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
        self._early += 1
        if is_absent and now_s - self._first_s < WAIT_S:
            return 0
        count, self._early, self._has_warned = self._early, 0, True
        return count

    def is_over(self) -> bool:
        """Records an image with a calibration; returns whether this ends the warning."""
        had_warned, self._has_warned, self._early = self._has_warned, False, 0
        self._first_s = 0.0 if self._first_s is None else self._first_s
        return had_warned
