from __future__ import annotations

import threading

import pytest

from decomr_ros.pipeline.frame_worker import FrameWorker, WorkerCounts


def _fail(error: Exception) -> None:
    raise AssertionError from error


def test_the_newest_frame_wins_and_every_frame_is_accounted_for() -> None:
    seen, started, go_on = [], threading.Event(), threading.Event()

    def process(frame: int) -> None:
        seen.append(frame)
        started.set()
        go_on.wait(5)

    worker = FrameWorker(process, _fail)
    worker.start()
    worker.submit(0)
    assert started.wait(5)
    for frame in range(1, 6):
        worker.submit(frame)
    go_on.set()
    assert worker.wait_until_idle(5)
    assert seen == [0, 5]
    assert worker.counts == WorkerCounts(received=6, skipped_for_newer=4, processed=2, failed=0)
    assert worker.stop()


def test_a_frame_that_fails_is_counted_reported_and_does_not_end_the_worker() -> None:
    errors, seen = [], []

    def process(frame: int) -> None:
        if frame == 0:
            raise ValueError('bad frame')
        seen.append(frame)

    worker = FrameWorker(process, errors.append)
    worker.start()
    for frame in (0, 1):
        worker.submit(frame)
        assert worker.wait_until_idle(5)
    assert worker.stop()
    assert seen == [1]
    assert [str(error) for error in errors] == ['bad frame']
    assert worker.counts == WorkerCounts(received=2, skipped_for_newer=0, processed=1, failed=1)


def test_stopping_skips_the_waiting_frame_and_the_worker_can_restart() -> None:
    started, go_on = threading.Event(), threading.Event()

    def process(frame: int) -> None:
        started.set()
        go_on.wait(5)

    worker = FrameWorker(process, _fail)
    worker.start()
    worker.submit(0)
    assert started.wait(5)
    worker.submit(1)
    assert not worker.stop(timeout_s=0.05)
    go_on.set()
    assert worker.stop()
    assert worker.counts == WorkerCounts(received=2, skipped_for_newer=1, processed=1, failed=0)
    worker.start()
    worker.submit(2)
    assert worker.wait_until_idle(5)
    assert worker.counts.processed == 2
    assert worker.stop()


def test_the_worker_does_not_start_twice() -> None:
    worker = FrameWorker(print, _fail)
    worker.start()
    with pytest.raises(RuntimeError, match='call stop'):
        worker.start()
    assert worker.stop()
    assert worker.stop()
