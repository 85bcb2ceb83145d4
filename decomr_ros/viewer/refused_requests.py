"""Logs requests that the web server rejects, such as HEAD, in one line without a traceback."""

from __future__ import annotations

import logging

__all__ = ['quiet_refusals']

# The logger of viser's web server.
_SERVER = 'websockets.server'


def quiet_refusals() -> None:
    """Installs the filter for the whole process."""
    logger = logging.getLogger(_SERVER)
    if not any(isinstance(known, _OneLine) for known in logger.filters):
        logger.addFilter(_OneLine())


class _OneLine(logging.Filter):
    """Replaces a traceback by its original cause."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Passes every record; rewrites those of rejected requests."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            while error.__cause__ is not None:
                error = error.__cause__
            record.msg, record.args = f'decomr view: a request was rejected: {error}', ()
            record.exc_info = record.exc_text = None
        return True
