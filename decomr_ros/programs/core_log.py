"""What `decomr_core` logs, in the node's log: on the console and on /rosout."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

__all__ = ['pass_on_warnings']


def pass_on_warnings(log: RcutilsLogger) -> None:
    """Passes warnings and errors of `decomr_core` on; those of its other loggers stay as they are.

    Args:
        log: of the node of this process.
    """
    logger = logging.getLogger('decomr_core')
    logger.handlers = [_Handler(log)]
    logger.propagate = False


class _Handler(logging.Handler):
    def __init__(self, log: RcutilsLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Logs a record."""
        # From one line each: rclpy allows a line of code one severity.
        if record.levelno >= logging.ERROR:
            self._log.error(record.getMessage())
        else:
            self._log.warning(record.getMessage())
