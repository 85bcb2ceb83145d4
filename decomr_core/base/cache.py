"""Caches for exported models and other files that can be recreated.

There are two caches, and reading searches both:

* the user's cache: `DECOMR_CACHE`, otherwise `decomr` in `XDG_CACHE_HOME`, otherwise
  `~/.cache/decomr`. New files are written there. If it is not writable, they are written to a
  temporary folder, and a warning is logged once.
* the installed cache: `share/decomr/cache` in the virtual environment. `make setup` fills it, and
  all users can read it.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
import sys
import tempfile
from pathlib import Path

__all__ = [
    'VARIABLE',
    'cache_folder',
    'find_cached',
    'installed_cache',
    'is_writable',
    'user_cache',
]

VARIABLE = 'DECOMR_CACHE'
"""Environment variable with the folder of the user's cache."""

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder for new files, created if missing."""
    folder = user_cache()
    return folder if is_writable(folder) else _temporary_folder(folder)


def find_cached(name: str | Path) -> Path | None:
    """A file or folder in the user's or the installed cache; None if it is in neither.

    This creates nothing.

    Args:
        name: path relative to the cache.
    """
    folders = [user_cache(), installed_cache()]
    if _is_private(_temporary_name()):
        folders.append(_temporary_name())
    places = (folder / name for folder in folders if folder is not None)
    # Path.exists would raise an error for a file in an unreadable folder.
    return next((place for place in places if os.access(place, os.R_OK)), None)


def user_cache() -> Path:
    """The folder of the user's cache, which may not exist."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(base) / 'decomr'


def installed_cache() -> Path | None:
    """The folder that `make setup` fills; None outside of a virtual environment."""
    if sys.prefix == sys.base_prefix:
        return None
    return Path(sys.prefix) / 'share' / 'decomr' / 'cache'


def is_writable(folder: Path) -> bool:
    """Whether files can be created in a folder, which is created if missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only creating a file detects a read-only file system for root.
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.lru_cache(maxsize=8)
def _temporary_folder(cache: Path) -> Path:
    """A temporary folder in place of an unwritable cache; logs a warning once per cache."""
    folder = _temporary_name()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_private(folder):
            raise PermissionError(f'other users can write to {folder}')
    except OSError:  # another user could replace files that are loaded from there
        folder = Path(tempfile.mkdtemp(prefix='decomr-'))
    logger.warning(
        'the cache %s is not writable; files are written to the temporary folder %s '
        'and may have to be recreated; set %s to a writable folder',
        cache,
        folder,
        VARIABLE,
    )
    return folder


def _temporary_name() -> Path:
    return Path(tempfile.gettempdir()) / f'decomr-{os.getuid()}'


def _is_private(folder: Path) -> bool:
    """Whether this user owns a folder and no other user can write into it."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
