"""What is wrong with a message from outside, and in one word, so that it can be counted."""

from __future__ import annotations

__all__ = ['CAUSES', 'BadInput']

CAUSES = {
    'damaged': 'an image message that is cut off, or no image message at all',
    'encoding': 'an image in an encoding that nobody here can read',
    'size': 'an image whose sizes contradict each other',
    'compressed': 'a compressed image that is damaged or in another format',
    'camera_info': 'a calibration that is none',
    'boxes': 'detections with boxes that are none',
    'depth': 'a depth image that does not belong to the picture',
}
"""What each cause stands for."""


class BadInput(ValueError):
    """A message from outside that cannot be used.

    Attributes:
        cause: one of `CAUSES`.
    """

    def __init__(self, cause: str, text: str) -> None:
        """Takes the cause and what to tell the user."""
        super().__init__(text)
        self.cause = cause
