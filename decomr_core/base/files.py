"""Files that appear whole or not at all: written beside their place, then moved into it.

A reader, also one that comes while the file is written or after a crash, finds the whole old file
or the whole new one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['replacing', 'write_if_missing']


@contextmanager
def replacing(path: str | Path, has_rivals: bool = False, is_synced: bool = True
              ) -> Iterator[Path]:
    """A place to write a file to, from which it takes its own at the end of the block.

    After an error the file that was there is still there, and nothing lies beside it.

    Args:
        path: of the file; its folder must exist.
        has_rivals: whether other processes may write this file at the same time; each then writes
            to a place of its own. Else the place is always the same, so that the next writer
            takes away what a killed one left.
        is_synced: whether the file is on the disk, not only on its way there, before it replaces
            the old one. Takes milliseconds to seconds; False for what can be made again.

    Yields:
        A hidden path in the same folder, with the same suffix.

    Raises:
        OSError: the file cannot be written there (a full disk may show only at the end).
    """
    path = Path(path)
    part = _part_beside(path, uuid.uuid4().hex if has_rivals else '')
    try:
        yield part
        if is_synced:
            _sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_if_missing(path: str | Path, data: bytes) -> None:
    """Writes a file unless there is one: of several processes, the first one's stays.

    Args:
        path: of the file; its folder must exist.
        data: all that it holds.

    Raises:
        OSError: the file cannot be written there.
    """
    path = Path(path)
    part = _part_beside(path, uuid.uuid4().hex)
    try:
        part.write_bytes(data)
        _sync(part)
        try:
            os.link(part, path)  # unlike a move, never replaces a file
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _part_beside(path: Path, own: str) -> Path:
    return path.with_name(f'.{path.stem}{own and "."}{own}.part{path.suffix}')


def _sync(path: Path) -> None:
    with path.open('rb') as handle:
        os.fsync(handle.fileno())
