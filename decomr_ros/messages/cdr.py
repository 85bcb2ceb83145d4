"""Reads and writes serialised ROS messages (CDR) field by field; faster than the message library.

A message begins with a four-byte header that gives its representation, here plain CDR,
little-endian. After it, each number is aligned to a multiple of its size.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

__all__ = ['CdrReader', 'CdrWriter']

# Representation: plain CDR, little-endian; alignment is relative to the end of these four bytes.
HEADER = b'\x00\x01\x00\x00'


class CdrWriter:
    """Writes numbers, strings and arrays one after the other; `joined` returns the message."""

    def __init__(self) -> None:
        """Starts a message."""
        self._parts: list[bytes | memoryview] = [HEADER]
        self._size = len(HEADER)

    def numbers(self, format_: str, *values: float) -> int:
        """Writes numbers of one type, e.g. 'i' or 'd'; returns the offset of the first."""
        size = struct.calcsize(f'<{format_}')
        padding = -(self._size - len(HEADER)) % size
        offset = self._size + padding
        self._add(struct.pack(f'<{padding}x{len(values)}{format_}', *values))
        return offset

    def text(self, text: str) -> None:
        """Writes a string: its length, its bytes and a terminating zero."""
        data = text.encode() + b'\0'
        self.numbers('I', len(data))
        self._add(data)

    def array(self, dtype: str, values: np.ndarray) -> None:
        """Writes a sequence of numbers of up to four bytes, such as '<f4'.

        The array must not change before `joined` is called.
        """
        values = np.ascontiguousarray(values, dtype)
        self.numbers('I', values.size)
        self._add(values.ravel().view(np.uint8).data)

    def points(self, count: int) -> int:
        """Writes a sequence of `count` zero points; returns the offset of the first."""
        self.numbers('I', count)
        offset = self.numbers('d') if count else self._size
        self._add(bytes(24 * count))
        return offset

    def joined(self) -> bytes:
        """The serialised message."""
        return b''.join(self._parts)

    def _add(self, part: bytes | memoryview) -> None:
        self._parts.append(part)
        self._size += len(part)


class CdrReader:
    """Reads a serialised message: each call reads or skips the next field.

    Every method raises ValueError if the message ends too early.
    """

    def __init__(self, data: bytes) -> None:
        """Starts after the header.

        Raises:
            ValueError: the header is not that of plain CDR, little-endian.
        """
        if data[: len(HEADER)] != HEADER:
            raise ValueError(
                f'it begins with {data[: len(HEADER)].hex(" ") or "nothing"}, '
                f'expected {HEADER.hex(" ")} (plain CDR, little-endian)'
            )
        self._data = data
        self._offset = len(HEADER)

    def skip(self, size: int, count: int) -> int:
        """Skips `count` numbers of `size` bytes each; returns the offset of the first."""
        offset = self._offset + -(self._offset - len(HEADER)) % size
        if offset + size * count > len(self._data):
            raise ValueError(f'it ends at byte {len(self._data)}, in the middle of a field')
        self._offset = offset + size * count
        return offset

    def numbers(self, format_: str, count: int = 1) -> tuple[Any, ...]:
        """Reads numbers of one type, e.g. 'i' or 'd'."""
        offset = self.skip(struct.calcsize(f'<{format_}'), count)
        return struct.unpack_from(f'<{count}{format_}', self._data, offset)

    def text(self) -> str:
        """Reads a string."""
        (size,) = self.numbers('I')
        offset = self.skip(1, size)
        return self._data[offset : offset + max(size - 1, 0)].decode('utf-8', 'replace')

    def array(self, size: int) -> tuple[int, int]:
        """Skips a sequence of numbers of up to four bytes; returns its offset and length."""
        (count,) = self.numbers('I')
        return self.skip(size, count), count

    def check_end(self) -> None:
        """Raises ValueError if more bytes follow than the padding of the last field."""
        if len(self._data) - self._offset > 3:
            raise ValueError(f'{len(self._data) - self._offset} bytes follow its last field')
