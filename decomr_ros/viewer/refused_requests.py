"""Requests that the page's web server refuses, such as HEAD: one line each, no traceback."""

from __future__ import annotations

import logging

__all__ = ['quiet_refusals']

# The logger of the library that viser's server is made with.
_SERVER = 'websockets.server'


def quiet_refusals() -> None:
    """Lets requests that are refused be told in one line, for the whole process."""
    logger = logging.getLogger(_SERVER)
    if not any(isinstance(known, _OneLine) for known in logger.filters):
        logger.addFilter(_OneLine())


class _OneLine(logging.Filter):
    """Replaces a traceback by what was wrong in the first place."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through, those of refused requests in other words."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            while error.__cause__ is not None:
                error = error.__cause__
            record.msg, record.args = f'decomr view: a request was refused: {error}', ()
            record.exc_info = record.exc_text = None
        return True
