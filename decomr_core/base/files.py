"""Atomic writing of files: to a temporary file beside the target, which is then renamed.

Readers see either the complete old file or the complete new one, also during writing and after a
crash.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['replacing', 'write_if_missing']


@contextmanager
def replacing(
    path: str | Path, has_other_writers: bool = False, is_synced: bool = True
) -> Iterator[Path]:
    """Replaces a file atomically at the end of the block.

    After an error the old file is unchanged, and no temporary file is left.

    Args:
        path: the file to write; its folder must exist.
        has_other_writers: whether other processes may write this file at the same time; each then
            uses its own temporary file. Otherwise the name of the temporary file is fixed, so that
            the next writer replaces one left by a killed process.
        is_synced: whether to sync the file to disk before it replaces the old one. Takes
            milliseconds to seconds; False for files that can be recreated.

    Yields:
        The temporary file: a hidden path in the same folder, with the same suffix.

    Raises:
        OSError: the file cannot be written (a full disk may be detected only at the end).
    """
    path = Path(path)
    part = _part_beside(path, uuid.uuid4().hex if has_other_writers else '')
    try:
        yield part
        if is_synced:
            _sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_if_missing(path: str | Path, data: bytes) -> None:
    """Writes a file unless it exists; of several processes, the first one wins.

    Args:
        path: the file to write; its folder must exist.
        data: the content.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    part = _part_beside(path, uuid.uuid4().hex)
    try:
        part.write_bytes(data)
        _sync(part)
        try:
            os.link(part, path)  # unlike a rename, never replaces a file
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _part_beside(path: Path, own: str) -> Path:
    return path.with_name(f'.{path.stem}{own and "."}{own}.part{path.suffix}')


def _sync(path: Path) -> None:
    with path.open('rb') as handle:
        os.fsync(handle.fileno())
