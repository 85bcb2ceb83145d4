"""Serialised ROS messages (CDR), written field by field: where the message library is too slow.

A message begins with four bytes that say how it is written, here plain CDR, little-endian. Behind
them each number lies at a multiple of its own size.
"""

from __future__ import annotations

import struct

import numpy as np

__all__ = ['CdrWriter']

# Representation: plain CDR, little-endian; alignment counts from behind these four bytes.
HEADER = b'\x00\x01\x00\x00'


class CdrWriter:
    """Takes numbers, texts and arrays one after the other; `joined` is the message."""

    def __init__(self) -> None:
        """Starts a message."""
        self._parts: list[bytes | memoryview] = [HEADER]
        self._size = len(HEADER)

    def numbers(self, format_: str, *values: float) -> int:
        """Writes numbers of one type, e.g. 'i' or 'd'; gives the place of the first."""
        size = struct.calcsize(f'<{format_}')
        padding = -(self._size - len(HEADER)) % size
        place = self._size + padding
        self._add(struct.pack(f'<{padding}x{len(values)}{format_}', *values))
        return place

    def text(self, text: str) -> None:
        """Writes a string: its length, its bytes and a zero."""
        data = text.encode() + b'\0'
        self.numbers('I', len(data))
        self._add(data)

    def array(self, dtype: str, values: np.ndarray) -> None:
        """Writes an array of any length, of numbers of up to four bytes such as '<f4'.

        It must not change before the message is joined.
        """
        values = np.ascontiguousarray(values, dtype)
        self.numbers('I', values.size)
        self._add(values.ravel().view(np.uint8).data)

    def points(self, count: int) -> int:
        """Leaves room for `count` points behind their number; gives the place of the first."""
        self.numbers('I', count)
        place = self.numbers('d') if count else self._size
        self._add(bytes(24 * count))
        return place

    def joined(self) -> bytes:
        """What has been written."""
        return b''.join(self._parts)

    def _add(self, part: bytes | memoryview) -> None:
        self._parts.append(part)
        self._size += len(part)
