"""Copies of a bag that are complete or do not exist."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from decomr_ros.bags.mcap_writing import BagWriter
from decomr_ros.bags.topics import BagTopic

if TYPE_CHECKING:
    from decomr_ros.bags.mcap_reading import BagMessage

__all__ = ['BagCopy', 'bag_copy']

# The copy is flushed after this many bytes.
FLUSH_SIZE = 16 * 2**20


class BagCopy:
    """Writes messages with the timestamps of another bag's messages."""

    def __init__(self, writer: BagWriter) -> None:
        """Stores the writer of the new bag."""
        self._writer, self._waiting = writer, 0

    @property
    def num_messages(self) -> int:
        """Number of messages written."""
        return sum(self._writer.counts.values())

    def write(self, topic: str, data: bytes, message: BagMessage) -> None:
        """Writes a serialised message.

        Args:
            topic: full name.
            data: serialised message.
            message: message of the other bag whose timestamps are used.
        """
        self._writer.write(topic, data, message.receive_ns, message.publish_ns)
        self._waiting += len(data)
        if self._waiting > FLUSH_SIZE:
            self._writer.flush()
            self._waiting = 0


@contextmanager
def bag_copy(
    out: Path, topics: Sequence[BagTopic], compression: str | None = None
) -> Iterator[BagCopy]:
    """A new bag, open within the context; deleted after an error.

    Args:
        out: folder of the new bag; must not exist, or must be empty.
        topics: of the new bag.
        compression: of its chunks, as in `BagWriter`.

    Raises:
        FileExistsError: the folder is not empty.
    """
    writer = BagWriter(out, topics, compression)
    try:
        yield BagCopy(writer)
        writer.close()
    except BaseException:
        shutil.rmtree(out)
        raise
