"""Reads a text file line by line, with errors that name the file and the line."""

from __future__ import annotations

import math
import re
from pathlib import Path

__all__ = ['TextLines']

MAX_SHOWN = 40
"""Characters of a line that an error shows."""


class TextLines:
    """Iterates over the words of the non-empty lines; a brace counts as a separate line.

    Args:
        path: the file.
        comment: prefix of lines to skip; '' for none.

    Attributes:
        number: number of the last line that was read, from 1; 0 before the first.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty.
    """

    def __init__(self, path: str | Path, comment: str = '') -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'there is no motion file {path}')
        # Names may have any encoding; a binary file fails at its first word.
        text = self.path.read_text(encoding='utf-8-sig', errors='replace')
        self.number = 0
        self._items = [
            (number, words)
            for number, line in enumerate(text.split('\n'), start=1)
            if not (comment and line.lstrip().startswith(comment))
            for part in re.split(r'([{}])', line)
            if (words := part.split())
        ]
        self._next = 0
        if not self._items:
            raise ValueError(f'{path} is empty')

    @property
    def is_at_end(self) -> bool:
        """Whether all lines have been read."""
        return self._next == len(self._items)

    def peek(self) -> list[str]:
        """The words of the next line, without consuming it; empty at the end."""
        return [] if self.is_at_end else self._items[self._next][1]

    def next(self, expected: str) -> list[str]:
        """Consumes the next line and returns its words.

        Args:
            expected: the expected content, for the error.

        Raises:
            ValueError: there is no line left.
        """
        if self.is_at_end:
            raise self.error(f'the file ends here; expected {expected}')
        self.number, words = self._items[self._next]
        self._next += 1
        return words

    def numbers(self, words: list[str], count: int, what: str) -> list[float]:
        """Converts words of the last line to numbers.

        Raises:
            ValueError: there are not exactly `count` words, or one is not a finite number.
        """
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise self.error(f'{what}: {error}') from None
        if len(values) != count:
            raise self.error(f'{what}: expected {count} numbers, found {len(values)}')
        if not all(map(math.isfinite, values)):
            raise self.error(f'{what}: a number is not finite')
        return values

    def error(self, message: str) -> ValueError:
        """An error at the last line that was read."""
        return ValueError(f'{self.path}, line {self.number}: {message}')

    def unexpected(self, words: list[str], expected: str) -> ValueError:
        """An error for a line with unexpected content."""
        shown = ' '.join(words)[:MAX_SHOWN]
        return self.error(f'expected {expected}, found {shown!r}')
