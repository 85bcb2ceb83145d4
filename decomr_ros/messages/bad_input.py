"""Messages that cannot be used: the error, its causes, and their counts."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['CAUSES', 'BadInput', 'BadInputCounts']

CAUSES = {
    'damaged': 'an image message that is truncated or not an image message',
    'encoding': 'an image in an unsupported encoding',
    'size': 'an image whose sizes contradict each other',
    'compressed': 'a compressed image that is damaged or in another format',
    'camera_info': 'an invalid calibration',
    'boxes': 'detections with invalid boxes',
    'depth': 'a depth image that does not belong to the image',
}
"""The meaning of each cause."""


class BadInput(ValueError):
    """A received message that cannot be used.

    Attributes:
        cause: one of `CAUSES`.
    """

    def __init__(self, cause: str, text: str) -> None:
        """Makes the error from its cause and the text for the user."""
        super().__init__(text)
        self.cause = cause


class BadInputCounts:
    """Counts unusable messages by cause and states each as a warning; any thread."""

    def __init__(self, warnings: StandingWarnings) -> None:
        """Starts at zero; `warnings` states the problems."""
        self._warnings = warnings
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def by_cause(self) -> dict[str, int]:
        """The counts so far, by cause."""
        with self._lock:
            return dict(self._counts)

    def add(self, error: BadInput) -> None:
        """Counts one message."""
        with self._lock:
            self._counts[error.cause] += 1
        self._warnings.set(f'bad_{error.cause}', f'left out: {error}', 1)

    def values(self) -> dict[str, str]:
        """The counts for /diagnostics, as text by name."""
        return {f'bad_{cause}': str(count) for cause, count in sorted(self.by_cause.items())}
