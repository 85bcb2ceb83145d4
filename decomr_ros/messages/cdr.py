"""Serialised ROS messages (CDR), field by field: where the message library is too slow.

A message begins with four bytes that say how it is written, here plain CDR, little-endian. Behind
them each number lies at a multiple of its own size.
"""

from __future__ import annotations

import struct

import numpy as np

__all__ = ['CdrReader', 'CdrWriter']

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


class CdrReader:
    """Walks through a serialised message: each call reads or passes over what comes next.

    Every method raises ValueError where the message ends too early.
    """

    def __init__(self, data: bytes) -> None:
        """Begins behind the first four bytes.

        Raises:
            ValueError: they do not say plain CDR, little-endian.
        """
        if data[:len(HEADER)] != HEADER:
            raise ValueError(f'it begins with {data[:len(HEADER)].hex(" ") or "nothing"}, not '
                             f'with {HEADER.hex(" ")} (plain CDR, little-endian)')
        self._data = data
        self._place = len(HEADER)

    def skip(self, size: int, count: int) -> int:
        """Passes over numbers of so many bytes each; gives the place of the first."""
        place = self._place + -(self._place - len(HEADER)) % size
        if place + size * count > len(self._data):
            raise ValueError(f'it ends at byte {len(self._data)}, in the middle of a field')
        self._place = place + size * count
        return place

    def numbers(self, format_: str, count: int = 1) -> tuple[float, ...]:
        """Reads numbers of one type, e.g. 'i' or 'd'."""
        place = self.skip(struct.calcsize(f'<{format_}'), count)
        return struct.unpack_from(f'<{count}{format_}', self._data, place)

    def text(self) -> str:
        """Reads a string."""
        (size,) = self.numbers('I')
        place = self.skip(1, size)
        return self._data[place:place + max(size - 1, 0)].decode('utf-8', 'replace')

    def array(self, size: int) -> tuple[int, int]:
        """Passes over an array of numbers of up to four bytes; gives its place and its length."""
        (count,) = self.numbers('I')
        return self.skip(size, count), count

    def check_end(self) -> None:
        """Raises ValueError where more follows than the padding of the last field."""
        if len(self._data) - self._place > 3:
            raise ValueError(f'{len(self._data) - self._place} bytes follow its last field')
