"""A new bag that is made of another one: whole, or not there at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from decomr_ros.bags.mcap_bag import BagTopic, BagWriter

if TYPE_CHECKING:
    from decomr_ros.bags.mcap_bag import BagMessage

__all__ = ['BagCopy', 'bag_copy']

# What is read may wait this long in memory to be written, bytes.
FLUSH_SIZE = 16 * 2 ** 20


class BagCopy:
    """Writes at the times of the messages of another bag."""

    def __init__(self, writer: BagWriter) -> None:
        """Takes the new bag."""
        self._writer, self._waiting = writer, 0

    @property
    def num_messages(self) -> int:
        """Messages that were written."""
        return sum(self._writer.counts.values())

    def write(self, topic: str, data: bytes, message: BagMessage) -> None:
        """Writes a serialised message.

        Args:
            topic: full name.
            data: what is written.
            message: of the other bag; its times are taken.
        """
        self._writer.write(topic, data, message.receive_ns, message.publish_ns)
        self._waiting += len(data)
        if self._waiting > FLUSH_SIZE:
            self._writer.flush()
            self._waiting = 0


@contextmanager
def bag_copy(out: Path, topics: Sequence[BagTopic], compression: str | None = None
             ) -> Iterator[BagCopy]:
    """Opens a new bag and closes it; after an error nothing is left of it.

    Args:
        out: folder of the new bag; must not exist, or be empty.
        topics: of the new bag.
        compression: of its chunks, as `BagWriter` takes it.

    Raises:
        FileExistsError: something is in the way of the new one.
    """
    writer = BagWriter(out, topics, compression)
    try:
        yield BagCopy(writer)
        writer.close()
    except BaseException:
        shutil.rmtree(out)
        raise
