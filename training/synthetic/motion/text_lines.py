"""The lines of a text file, with errors that name the file and the line."""

from __future__ import annotations

import math
import re
from pathlib import Path

__all__ = ['TextLines']

SHOWN = 40
"""Characters of a line that an error shows."""


class TextLines:
    """Steps through the words of the lines that hold any; a brace is a line of its own.

    Args:
        path: of the file.
        comment: what a line begins with that is passed over; '' for nothing.

    Attributes:
        number: of the line that was read last, from 1; 0 before the first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty.
    """

    def __init__(self, path: str | Path, comment: str = '') -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'no motion at {path}')
        # Names may be in any encoding; a binary file fails at its first word.
        text = self.path.read_text(encoding='utf-8-sig', errors='replace')
        self.number = 0
        self._items = [(number, words) for number, line in enumerate(text.split('\n'), start=1)
                       if not (comment and line.lstrip().startswith(comment))
                       for part in re.split(r'([{}])', line) if (words := part.split())]
        self._next = 0
        if not self._items:
            raise ValueError(f'{path} is empty')

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._next == len(self._items)

    def peek(self) -> list[str]:
        """The words of the next line, without going on; none at the end."""
        return [] if self.is_at_end else self._items[self._next][1]

    def next(self, expected: str) -> list[str]:
        """The words of the next line.

        Raises:
            ValueError: the file ends here; says what was expected.
        """
        if self.is_at_end:
            raise self.error(f'the file ends here; expected {expected}')
        self.number, words = self._items[self._next]
        self._next += 1
        return words

    def numbers(self, words: list[str], count: int, what: str) -> list[float]:
        """These words of the line that was read last as numbers.

        Raises:
            ValueError: there are more or fewer than `count`, or some is no finite number.
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
        """An error at the line that was read last."""
        return ValueError(f'{self.path}, line {self.number}: {message}')

    def unexpected(self, words: list[str], expected: str) -> ValueError:
        """An error for a line that holds something else."""
        shown = ' '.join(words)[:SHOWN]
        return self.error(f'expected {expected}, found {shown!r}')
