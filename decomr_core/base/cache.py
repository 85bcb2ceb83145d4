"""Where exported models and other files that can be made again are kept.

There are two places, and each is searched for what somebody wants to read:

* the user's cache: `DECOMR_CACHE`, else `decomr` in `XDG_CACHE_HOME`, else `~/.cache/decomr`. New
  files go there. If it cannot be written, they go to a temporary folder instead, and the log says
  so once.
* the installation's: `share/decomr/cache` of the virtual environment. `make setup` fills it, and
  any user may read it.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
import sys
import tempfile
from pathlib import Path

__all__ = ['VARIABLE', 'cache_folder', 'find_cached', 'installed_cache', 'is_writable',
           'wanted_folder']

VARIABLE = 'DECOMR_CACHE'
"""Names the user's cache."""

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder that new files go to, created if it is missing."""
    folder = wanted_folder()
    return folder if is_writable(folder) else _temporary_folder(folder)


def find_cached(name: str | Path) -> Path | None:
    """A file or folder of the user's cache or of the installation's; None if neither has it.

    This creates nothing.

    Args:
        name: relative to a cache.
    """
    folders = [wanted_folder(), installed_cache()]
    if _is_private(_temporary_name()):
        folders.append(_temporary_name())
    places = (folder / name for folder in folders if folder is not None)
    # Path.exists would raise an error for a file in a folder that may not be read.
    return next((place for place in places if os.access(place, os.R_OK)), None)


def wanted_folder() -> Path:
    """The user's cache, whether it is there or not."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(base) / 'decomr'


def installed_cache() -> Path | None:
    """The folder that `make setup` fills; None outside a virtual environment."""
    if sys.prefix == sys.base_prefix:
        return None
    return Path(sys.prefix) / 'share' / 'decomr' / 'cache'


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is created if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only a file shows it: root may write anywhere but in a file system mounted read-only.
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.lru_cache(maxsize=8)
def _temporary_folder(wanted: Path) -> Path:
    """What stands in for a cache that cannot be written; the log says so once."""
    folder = _temporary_name()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not _is_private(folder):
            raise PermissionError(f'{folder} is not ours alone')
    except OSError:  # somebody else's, who could change what is loaded from there
        folder = Path(tempfile.mkdtemp(prefix='decomr-'))
    logger.warning('the cache %s cannot be written; files go to the temporary folder %s and may '
                   'have to be made again; name a folder that can be written: %s',
                   wanted, folder, VARIABLE)
    return folder


def _temporary_name() -> Path:
    return Path(tempfile.gettempdir()) / f'decomr-{os.getuid()}'


def _is_private(folder: Path) -> bool:
    """Whether a folder is this user's, and nobody else may write into it."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
            and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
