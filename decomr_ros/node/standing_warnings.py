"""Problems that the node works on with: logged once, shown on /diagnostics until they end."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

__all__ = ['StandingWarnings', 'without_numbers']

# A problem that ends and begins again within this time is not logged again, s.
LOG_AGAIN_S = 60.0
# What the graph shows holds from the time on that it shows it for so long, s: nodes that start and
# end are seen in part for a moment.
LASTING_S = 1.0
# What is wrong with single messages is shown for so long after the last of them, s: the status is
# published once a second only.
SHOWN_S = 5.0
# Lines about the messages of one problem are at least so far apart, s, in whatever words.
QUIET_S = 5.0
# So many texts are remembered as logged.
MOST_LOGGED = 500
_NUMBER = re.compile(r'-?\d+(?:\.\d+)?(?:e[-+]?\d+)?')


@dataclass
class _Standing:
    """One problem that has not ended."""

    text: str
    count: int = 0
    last_s: float = 0.0
    """When it was stated last, monotonic time."""
    is_ending: bool = False
    logged: str = ''
    """What the log has of it, without numbers."""


class StandingWarnings:
    """The problems that hold at present, by name; any thread.

    A name is a part of a key on /diagnostics, e.g. `camera_info`. The values of `values` are

    | key | value |
    |---|---|
    | `warnings` | how many problems hold |
    | `warning_NAME` | the text of one |
    | `warning_NAME_count` | how many messages it concerned since it began; only where counted |
    """

    def __init__(self, log: Callable[[str], object],
                 note: Callable[[str], object] | None = None) -> None:
        """Starts without any.

        Args:
            log: called with the text of each problem when it begins or its text changes, not in
                numbers only.
            note: called with what is worth a line and no problem; None: `log` is.
        """
        self._log, self._note = log, note or log
        self._lock = threading.Lock()
        self._standing: dict[str, _Standing] = {}
        self._logged_s: dict[tuple[str, str], float] = {}
        self._quiet_until_s: dict[str, float] = {}
        self._seen_s: dict[str, tuple[str, float]] = {}

    def hold(self, name: str, text: str, count: int = 0, *, is_logged: bool = False) -> None:
        """States a problem; one that is stated already goes on.

        Args:
            name: of the problem.
            text: what was seen, what it means and what to do. An empty text ends the problem.
            count: messages that it concerned since the last call.
            is_logged: the log has the text already.
        """
        if not text:
            self.end(name)
            return
        text, now_s = ' '.join(text.split()), time.monotonic()
        with self._lock:
            known = self._standing.get(name)
            if known is None or known.is_ending:
                known = self._standing[name] = _Standing('')
            known.text, known.last_s = text, now_s
            known.count += count
            is_due = self._is_due(known, name, text, count > 0)
        if is_due and not is_logged:
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

    def update(self, names: Iterable[str], found: Mapping[str, str]) -> None:
        """States what is wrong with a message; the other problems of these names end soon.

        Args:
            names: what was looked for.
            found: text by name.
        """
        for name in names:
            if name in found:
                self.hold(name, found[name], 1)
            else:
                self.end_soon(name)

    def note(self, name: str, text: str) -> None:
        """Logs once what the node does by design with something it was given.

        Args:
            name: of what it is about.
            text: what was seen and what the node does.
        """
        with self._lock:
            key = name, without_numbers(text)
            is_new = key not in self._logged_s
            self._remember(key)
        if is_new:
            self._note(text)

    def end(self, *names: str) -> None:
        """States that problems of these names do not hold any more."""
        with self._lock:
            for name in names:
                self._standing.pop(name, None)
                self._seen_s.pop(name, None)

    def end_soon(self, *names: str) -> None:
        """Ends problems of single messages, which are shown for `SHOWN_S` after the last."""
        with self._lock:
            for name in names:
                if name in self._standing:
                    self._standing[name].is_ending = True

    def end_all_but(self, kept: Iterable[str]) -> None:
        """Ends every problem except those of these names."""
        with self._lock:
            self._standing = {name: known for name, known in self._standing.items()
                              if name in kept}
            self._seen_s.clear()

    def summary(self) -> str:
        """The first problem in words and how many more there are; empty if there are none."""
        texts = [known.text for known in self._shown().values()]
        more = len(texts) - 1
        return '' if not texts else texts[0] + (f' (and {more} more: warning_*)' if more else '')

    def values(self) -> dict[str, str]:
        """What /diagnostics shows, as text by name."""
        shown = self._shown()
        values = {'warnings': str(len(shown))}
        for name, known in sorted(shown.items()):
            values[f'warning_{name}'] = known.text
            if known.count:
                values[f'warning_{name}_count'] = str(known.count)
        return values

    def _shown(self) -> dict[str, _Standing]:
        now_s = time.monotonic()
        with self._lock:
            return {name: known for name, known in self._standing.items()
                    if not known.is_ending or now_s - known.last_s < SHOWN_S}

    def _is_due(self, known: _Standing, name: str, text: str, is_of_message: bool) -> bool:
        """Whether a text is to be logged now; notes that it was."""
        now_s, kind = time.monotonic(), without_numbers(text)
        if known.logged == kind:
            return False
        before_s = self._logged_s.get((name, kind))
        is_known = before_s is not None and now_s - before_s < LOG_AGAIN_S
        if not is_known and is_of_message and now_s < self._quiet_until_s.get(name, now_s):
            return False  # the next message asks again
        known.logged = kind
        if not is_known:
            self._remember((name, kind))
            self._quiet_until_s[name] = now_s + QUIET_S
        return not is_known

    def _remember(self, key: tuple[str, str]) -> None:
        """Notes that a text is in the log."""
        self._logged_s.pop(key, None)
        self._logged_s[key] = time.monotonic()
        while len(self._logged_s) > MOST_LOGGED:
            self._logged_s.pop(next(iter(self._logged_s)))


def without_numbers(text: str) -> str:
    """What texts that differ in numbers only have in common."""
    return _NUMBER.sub('#', text)
