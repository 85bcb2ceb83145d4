from __future__ import annotations

from types import SimpleNamespace

import pytest

from decomr_ros import quiet_log


def test_the_first_text_and_one_in_each_period_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    log = quiet_log.QuietLog(logged.append, 5.0)
    for now in (0.0, 4.9, 5.0, 9.9, 100.0, 104.0):
        monkeypatch.setattr(quiet_log, 'time', SimpleNamespace(monotonic=lambda now=now: now))
        log(f'at {now:g} s')
    assert logged == ['at 0 s', 'at 5 s', 'at 100 s']
