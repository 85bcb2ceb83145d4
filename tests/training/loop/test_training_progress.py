"""A run reports its progress, also if stderr is a file: a line for each entry of its log."""

from __future__ import annotations

import re

import pytest

from tests.training.loop.test_train import _config
from training.loop.train_progress import TrainProgress, duration_text
from training.loop.trainer import Trainer


@pytest.mark.usefixtures('small_trainer')
def test_a_run_without_a_terminal_has_a_line_per_log_entry(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr('training.loop.trainer.LOG_EVERY', 2)
    caplog.set_level('INFO')
    Trainer(_config(), tmp_path).run()
    lines = [record.message for record in caplog.records]
    assert f'4 steps; losses in {tmp_path}/log.jsonl, every 2 steps' in lines
    assert any(re.fullmatch(r'step 1 of 4 took .* s: about .* left', line) for line in lines)
    entries = [line for line in lines if re.match(r'step \d of 4: loss', line)]
    assert [entry[:11] for entry in entries] == ['step 2 of 4', 'step 4 of 4'], lines
    assert re.search(
        r'loss \d+\.\d+, [\d.]+ images/s, (\d+ s|less than a second) left', entries[0]
    ), entries


def test_the_time_left_is_that_of_this_run_not_of_all_before(monkeypatch, caplog):
    """Resumed at step 100 of 200: ten steps in ten seconds make 90 s, not less."""
    now = [0.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    caplog.set_level('INFO')
    progress = TrainProgress(200, 100, is_shown=True)
    for _ in range(10):
        now[0] += 1.0
        progress.update()
    progress.entry(0.5, 16.0)
    assert caplog.records[-1].message == (
        'step 110 of 200: loss 0.5000, 16.0 images/s, 1 min 30 s left'
    )


def test_durations_have_two_units():
    assert [duration_text(seconds) for seconds in (0.2, 59.6, 61, 3600, 7290, 180000)] == [
        'less than a second',
        '1 min 0 s',
        '1 min 1 s',
        '1 h 0 min',
        '2 h 1 min',
        '50 h 0 min',
    ]
