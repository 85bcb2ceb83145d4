"""Forwards the log of `decomr_core` to the node's log: console and /rosout."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

__all__ = ['pass_on_warnings']


def pass_on_warnings(log: RcutilsLogger) -> None:
    """Forwards warnings and errors of `decomr_core`; other loggers are left unchanged.

    Args:
        log: the node's log.
    """
    logger = logging.getLogger('decomr_core')
    logger.handlers = [_Handler(log)]
    logger.propagate = False


class _Handler(logging.Handler):
    def __init__(self, log: RcutilsLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Forwards a record."""
        # On separate lines: rclpy allows only one severity per line of code.
        if record.levelno >= logging.ERROR:
            self._log.error(record.getMessage())
        else:
            self._log.warning(record.getMessage())
