"""Warnings that are logged once and shown on /diagnostics until their problem ends."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

__all__ = ['QUIET_S', 'StandingWarnings', 'without_numbers']

# A warning that ends and returns within this time is not logged again, s.
LOG_AGAIN_S = 60.0
# A warning from the ROS graph becomes active when it has persisted for this time, s: nodes that
# start or end are briefly visible in part.
LASTING_S = 1.0
# A warning about single messages is shown for this time after the last of them, s: the status is
# published only once a second.
SHOWN_S = 5.0
QUIET_S = 5.0
"""Minimum time between log lines with the same problem, s, even if the text changes."""
# Number of texts that are remembered as logged.
MAX_LOGGED = 500
_NUMBER = re.compile(r'-?\d+(?:\.\d+)?(?:e[-+]?\d+)?')


@dataclass
class _Standing:
    """An active warning."""

    text: str
    count: int = 0
    last_s: float = 0.0
    """Time of the last call of `set`, monotonic."""
    is_ending: bool = False
    logged: str = ''
    """The logged text without numbers."""


class StandingWarnings:
    """The active warnings by name; thread-safe.

    A name is a part of a key on /diagnostics, e.g. `camera_info`. `values` returns

    | key | value |
    |---|---|
    | `warnings` | number of active warnings |
    | `warning_NAME` | text of the warning |
    | `warning_NAME_count` | number of messages concerned since it began; only if counted |
    """

    def __init__(
        self, log: Callable[[str], object], note: Callable[[str], object] | None = None
    ) -> None:
        """Starts without warnings.

        Args:
            log: called with the text of a warning when it begins or when its text changes in more
                than numbers.
            note: called with remarks that are not warnings; None: `log`.
        """
        self._log, self._note = log, note or log
        self._lock = threading.Lock()
        self._standing: dict[str, _Standing] = {}
        self._logged_s: dict[tuple[str, str], float] = {}
        self._quiet_until_s: dict[str, float] = {}
        self._seen_s: dict[str, tuple[str, float]] = {}

    @classmethod
    def of_node(cls, node: Node) -> StandingWarnings:
        """Warnings that go to the log of a node."""

        def warn(text: str) -> None:
            """Logs a warning."""
            node.get_logger().warning(text)

        def inform(text: str) -> None:
            """Logs a remark; on another line, because rclpy refuses two severities on one."""
            node.get_logger().info(text)

        return cls(warn, inform)

    def set(self, name: str, text: str, count: int = 0, *, is_logged: bool = False) -> None:
        """Activates a warning, or updates it if it is active.

        Args:
            name: of the warning.
            text: what was observed, what it means and what to do; an empty text ends the warning.
            count: number of messages concerned since the last call.
            is_logged: the text has already been logged.
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

    def set_if_lasting(self, name: str, text: str) -> None:
        """Activates a warning when its text has been unchanged for `LASTING_S`.

        Args:
            name: of the warning.
            text: as in `set`; an empty text ends the warning immediately.
        """
        now_s = time.monotonic()
        with self._lock:
            seen, since_s = self._seen_s.get(name, ('', now_s))
            since_s = since_s if seen == text else now_s
            self._seen_s[name] = text, since_s
        if not text or now_s - since_s >= LASTING_S:
            self.set(name, text)

    def update(self, names: Iterable[str], found: Mapping[str, str]) -> None:
        """Activates the warnings about a message; the others of these names end soon.

        Args:
            names: the warnings that were checked.
            found: texts of the warnings that apply, by name.
        """
        for name in names:
            if name in found:
                self.set(name, found[name], 1)
            else:
                self.end_soon(name)

    def note(self, name: str, text: str) -> None:
        """Logs once how the node handles an input by design.

        Args:
            name: of the subject.
            text: what was observed and what the node does.
        """
        with self._lock:
            key = name, without_numbers(text)
            is_new = key not in self._logged_s
            self._remember(key)
        if is_new:
            self._note(text)

    def end(self, *names: str) -> None:
        """Ends warnings immediately."""
        with self._lock:
            for name in names:
                self._standing.pop(name, None)
                self._seen_s.pop(name, None)

    def end_soon(self, *names: str) -> None:
        """Ends warnings about messages; they are shown for `SHOWN_S` after the last message."""
        with self._lock:
            for name in names:
                if name in self._standing:
                    self._standing[name].is_ending = True

    def end_all_but(self, kept: Iterable[str]) -> None:
        """Ends all warnings except those of these names."""
        with self._lock:
            self._standing = {
                name: known for name, known in self._standing.items() if name in kept
            }
            self._seen_s.clear()

    def summary(self) -> str:
        """The text of the first warning and the number of others; empty if there are none."""
        texts = [known.text for known in self._shown().values()]
        more = len(texts) - 1
        return '' if not texts else texts[0] + (f' (and {more} more: warning_*)' if more else '')

    def values(self) -> dict[str, str]:
        """The values for /diagnostics, as text by name."""
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
            return {
                name: known
                for name, known in self._standing.items()
                if not known.is_ending or now_s - known.last_s < SHOWN_S
            }

    def _is_due(self, known: _Standing, name: str, text: str, is_of_message: bool) -> bool:
        """Whether a text is to be logged now; if so, records it as logged."""
        now_s, kind = time.monotonic(), without_numbers(text)
        if known.logged == kind:
            return False
        before_s = self._logged_s.get((name, kind))
        is_known = before_s is not None and now_s - before_s < LOG_AGAIN_S
        if not is_known and is_of_message and now_s < self._quiet_until_s.get(name, now_s):
            return False  # it may be logged with a later message
        known.logged = kind
        if not is_known:
            self._remember((name, kind))
            self._quiet_until_s[name] = now_s + QUIET_S
        return not is_known

    def _remember(self, key: tuple[str, str]) -> None:
        """Records a text as logged."""
        self._logged_s.pop(key, None)
        self._logged_s[key] = time.monotonic()
        while len(self._logged_s) > MAX_LOGGED:
            self._logged_s.pop(next(iter(self._logged_s)))


def without_numbers(text: str) -> str:
    """The text with every number replaced by `#`, to compare texts that differ in numbers."""
    return _NUMBER.sub('#', text)
