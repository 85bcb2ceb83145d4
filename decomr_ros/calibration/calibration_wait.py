"""When the want of a calibration is worth a warning: not in the first moments of the images.

A camera's driver publishes image and calibration at once, but the middleware connects the two
topics one after the other, and some drivers publish the calibration more seldom than images.
"""

from __future__ import annotations

import time

__all__ = ['CalibrationWait']

# So long after the first image without a calibration nothing is said, s.
WAIT_S = 2.0


class CalibrationWait:
    """Counts the images that have no calibration; asked by the worker, once for each of them."""

    def __init__(self) -> None:
        """Before the first image."""
        self._first_s: float | None = None
        self._early, self._is_told = 0, False

    def count(self, is_absent: bool) -> int:
        """One more image without: how many a warning is to count now; 0: it is too early.

        Args:
            is_absent: no calibration has come; False: one has, that does not suit the image.
        """
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
        self._early += 1
        if is_absent and now_s - self._first_s < WAIT_S:
            return 0
        count, self._early, self._is_told = self._early, 0, True
        return count

    def is_over(self) -> bool:
        """One more image, with a calibration: whether a warning has just come to its end."""
        was_told, self._is_told, self._early = self._is_told, False, 0
        self._first_s = 0.0 if self._first_s is None else self._first_s
        return was_told
