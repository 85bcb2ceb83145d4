from __future__ import annotations

from types import SimpleNamespace

import pytest

from decomr_ros.node import standing_warnings
from decomr_ros.node.standing_warnings import StandingWarnings


class Told:
    """Warnings, their log, and a time that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.log: list[str] = []
        self.notes: list[str] = []
        monkeypatch.setattr(
            standing_warnings, 'time', SimpleNamespace(monotonic=lambda: self.now_s)
        )
        self.warnings = StandingWarnings(self.log.append, self.notes.append)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_a_warning_is_logged_once_counted_and_active_until_it_ends(told: Told) -> None:
    for number in range(5):
        told.warnings.set('depth', f'depth of {number}.5 m is odd', 1)
        told.now_s += 100
    assert told.log == ['depth of 0.5 m is odd']
    assert told.warnings.values() == {
        'warnings': '1',
        'warning_depth': 'depth of 4.5 m is odd',
        'warning_depth_count': '5',
    }
    told.warnings.end_soon('depth', 'never seen')
    assert told.warnings.summary() == ''
    assert told.warnings.values() == {'warnings': '0'}


def test_one_bad_message_is_shown_for_some_seconds(told: Told) -> None:
    told.warnings.set('boxes', 'odd', 1)
    told.warnings.end_soon('boxes')
    told.now_s += 4
    assert told.warnings.summary() == 'odd'
    told.now_s += 2
    assert told.warnings.summary() == ''
    told.warnings.set('calibration', 'none yet')
    told.warnings.end('calibration')
    assert told.warnings.summary() == ''


def test_intermittent_warnings_do_not_fill_the_log(told: Told) -> None:
    for _ in range(500):
        told.warnings.set('stamps', 'odd', 1)
        told.warnings.end_soon('stamps')
        told.now_s += 0.1
    assert told.log == ['odd']
    told.now_s += 60
    told.warnings.set('stamps', 'odd', 1)
    assert len(told.log) == 2
    assert told.warnings.values()['warning_stamps_count'] == '1'


def test_texts_about_messages_are_throttled_and_none_is_lost(told: Told) -> None:
    for index in range(100):
        told.warnings.set('boxes', f'class {"abcdefghij"[index % 10]}', 1)
        told.now_s += 0.1
    assert 2 <= len(told.log) <= 3
    told.warnings.set('other', 'at once', 1)
    assert told.log[-1] == 'at once'
    for _ in range(60):
        told.warnings.set('boxes', 'class k', 1)
        told.now_s += 0.1
    assert told.log.count('class k') == 1


def test_checked_warnings_that_do_not_apply_end(told: Told) -> None:
    told.warnings.update(('a', 'b'), {'a': 'odd', 'b': 'even'})
    assert told.warnings.summary() == 'odd (and 1 more: warning_*)'
    told.now_s += 6
    told.warnings.update(('a', 'b'), {'b': 'even'})
    assert told.warnings.summary() == 'even'


def test_a_note_is_logged_once_and_is_not_a_warning(told: Told) -> None:
    for _ in range(3):
        told.warnings.note('ids', 'not used')
        told.now_s += 100
    assert told.notes == ['not used']
    assert told.log == []
    assert told.warnings.values() == {'warnings': '0'}


def test_a_text_already_in_the_log_is_not_logged_again(told: Told) -> None:
    told.warnings.set('parameters', 'a', is_logged=True)
    told.warnings.end_all_but(['parameters'])
    assert told.warnings.summary() == 'a'
    assert told.log == []
