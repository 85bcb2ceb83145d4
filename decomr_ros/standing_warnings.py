"""Problems that the node works on with: logged once, shown on /diagnostics until they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ['StandingWarnings']

# A problem that ends and begins again within this time is not logged again, s.
LOG_AGAIN_S = 60.0
# What the graph shows holds from the time on that it shows it for so long, s: nodes that start and
# end are seen in part for a moment.
LASTING_S = 1.0
# So many texts are remembered as logged.
MOST_LOGGED = 100


@dataclass
class _Standing:
    """One problem that has not ended."""

    text: str
    count: int = 0


class StandingWarnings:
    """The problems that hold at present, by name; any thread.

    A name is a part of a key on /diagnostics, e.g. `camera_info`. The values of `values` are

    | key | value |
    |---|---|
    | `warnings` | how many problems hold |
    | `warning_NAME` | the text of one |
    | `warning_NAME_count` | how many messages it concerned since it began; only where counted |
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        """Starts without any.

        Args:
            log: called with the text of each problem when it begins or its text changes.
        """
        self._log = log
        self._lock = threading.Lock()
        self._standing: dict[str, _Standing] = {}
        self._logged_s: dict[str, float] = {}
        self._seen_s: dict[str, tuple[str, float]] = {}

    def hold(self, name: str, text: str, count: int = 0) -> None:
        """States a problem; one that is stated already goes on.

        Args:
            name: of the problem.
            text: what was seen, what it means and what to do, without numbers that change. An
                empty text ends the problem.
            count: messages that it concerned since the last call.
        """
        if not text:
            self.end(name)
            return
        with self._lock:
            known = self._standing.setdefault(name, _Standing(''))
            known.count += count
            is_new = known.text != text
            known.text = text
            is_new = is_new and self._is_due(text)
        if is_new:
            self._log(text)

    def hold_if_lasting(self, name: str, text: str) -> None:
        """States a problem once it has been seen, in the same words, for `LASTING_S`.

        Args:
            name: of the problem.
            text: as `hold` takes it; an empty one ends the problem at once.
        """
        now_s = time.monotonic()
        with self._lock:
            seen, since_s = self._seen_s.get(name, ('', now_s))
            since_s = since_s if seen == text else now_s
            self._seen_s[name] = text, since_s
        if not text or now_s - since_s >= LASTING_S:
            self.hold(name, text)

    def end(self, *names: str) -> None:
        """States that problems of these names do not hold any more."""
        with self._lock:
            for name in names:
                self._standing.pop(name, None)
                self._seen_s.pop(name, None)

    def end_all_but(self, kept: Iterable[str]) -> None:
        """Ends every problem except those of these names."""
        with self._lock:
            self._standing = {name: known for name, known in self._standing.items()
                              if name in kept}
            self._seen_s.clear()

    def summary(self) -> str:
        """The first problem in words and how many more there are; empty if there are none."""
        with self._lock:
            texts = [known.text for known in self._standing.values()]
        more = len(texts) - 1
        return '' if not texts else texts[0] + (f' (and {more} more: warning_*)' if more else '')

    def values(self) -> dict[str, str]:
        """What /diagnostics shows, as text by name."""
        with self._lock:
            standing = {name: (known.text, known.count)
                        for name, known in sorted(self._standing.items())}
        values = {'warnings': str(len(standing))}
        for name, (text, count) in standing.items():
            values[f'warning_{name}'] = text
            if count:
                values[f'warning_{name}_count'] = str(count)
        return values

    def _is_due(self, text: str) -> bool:
        """Whether a text is to be logged now; notes that it was."""
        now_s = time.monotonic()
        before_s = self._logged_s.pop(text, None)
        self._logged_s[text] = now_s
        while len(self._logged_s) > MOST_LOGGED:
            self._logged_s.pop(next(iter(self._logged_s)))
        return before_s is None or now_s - before_s >= LOG_AGAIN_S
