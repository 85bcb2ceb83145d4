from __future__ import annotations

import threading

import numpy as np
import pytest

from decomr_core.people.detection import Detections
from decomr_core.people.tracking import TrackerConfig
from decomr_ros.pipeline.background_detector import BackgroundDetector, BackgroundTracker
from tests.ros.conftest import wait_until

BOX = np.array([[2, 2, 10, 20]], np.float32)
IMAGE = np.zeros((48, 64, 3), np.uint8)
SIZE = 64, 48


class _Slow:
    """Detects one person in each image once the test releases it."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.go_on = threading.Semaphore(0)

    def __call__(self, image: np.ndarray) -> Detections:
        self.seen.append(image)
        assert self.go_on.acquire(timeout=5)
        return Detections(BOX, np.ones(1, np.float32))


def _make(detect_every: int = 4) -> tuple[_Slow, BackgroundDetector, BackgroundTracker]:
    slow = _Slow()
    detector = BackgroundDetector(slow)
    return slow, detector, BackgroundTracker(detector, TrackerConfig(detect_every=detect_every))


def _next_image(
    detector: BackgroundDetector, tracker: BackgroundTracker, image: np.ndarray = IMAGE
) -> bool:
    """What the estimator and the pipeline do for one image; whether detections were taken."""
    size = image.shape[1], image.shape[0]
    is_due = tracker.is_detection_due(size)
    tracker.predict(size, detections=detector(image) if is_due else None)
    tracker.start_if_due(image)
    return is_due


def test_images_continue_while_the_detector_runs_and_its_detections_arrive_later() -> None:
    slow, detector, tracker = _make()
    assert [_next_image(detector, tracker) for _ in range(3)] == [False] * 3
    wait_until(lambda: len(slow.seen) == 1, 5)
    assert tracker.tracks == []
    slow.go_on.release()
    wait_until(lambda: detector.is_ready, 5)
    assert _next_image(detector, tracker)
    np.testing.assert_array_equal(tracker.tracks[0].box, BOX[0])
    # Somebody is tracked: the next look is due after `detect_every` images, not before.
    assert [_next_image(detector, tracker) for _ in range(3)] == [False] * 3
    assert detector.is_idle
    _next_image(detector, tracker)
    assert not detector.is_idle
    slow.go_on.release()
    detector.close()


def test_detections_of_another_image_size_or_before_a_reset_are_discarded() -> None:
    slow, detector, tracker = _make()
    _next_image(detector, tracker)
    slow.go_on.release()
    wait_until(lambda: detector.is_ready, 5)
    other = np.zeros((10, 20, 3), np.uint8)
    assert not _next_image(detector, tracker, other)
    assert tracker.tracks == []
    slow.go_on.release()
    wait_until(lambda: detector.is_ready, 5)
    tracker.reset()
    assert not _next_image(detector, tracker, other)
    assert tracker.tracks == []
    slow.go_on.release()
    detector.close()


def test_a_detector_error_is_raised_when_its_result_is_taken() -> None:
    def fail(image: np.ndarray) -> Detections:
        raise ValueError('no')

    detector = BackgroundDetector(fail)
    detector.start(IMAGE)
    with pytest.raises(ValueError, match='no'):
        detector(IMAGE)
    assert detector.is_idle
    with pytest.raises(ValueError, match='no'):
        detector(IMAGE)
    detector.close()


def test_images_queued_before_a_reset_are_not_processed() -> None:
    slow, detector, _ = _make()
    images = [np.full_like(IMAGE, shade) for shade in range(6)]
    for image in images:
        detector.start(image)
        wait_until(lambda: slow.seen, 5)  # the first is being looked at, the others wait
        detector.reset()
    detector.start(images[-1])
    for _ in images:
        slow.go_on.release()
    wait_until(lambda: detector.is_ready, 5)
    assert [image[0, 0, 0] for image in slow.seen] == [0, 5]


class _Quick:
    """Detects one person immediately and records the images."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, image: np.ndarray) -> Detections:
        self.seen.append(int(image[0, 0, 0]))
        return Detections(BOX, np.ones(1, np.float32))


def test_at_a_low_rate_an_image_waits_for_its_own_detections() -> None:
    quick = _Quick()
    detector = BackgroundDetector(quick)
    tracker = BackgroundTracker(detector, TrackerConfig(detect_every=100, detect_period_s=0.5))
    asked = []
    for number in range(8):
        image = np.full_like(IMAGE, number)
        found = None
        if tracker.is_detection_due(SIZE, 10 + number * 0.5):
            found = detector(image)
            asked.append((number, quick.seen[-1]))
        tracker.predict(SIZE, 10 + number * 0.5, found)
        tracker.start_if_due(image)
        wait_until(lambda: detector.is_idle or detector.is_ready, 5)
    # The first image finds out how long it takes; its answer comes with the second.
    assert asked == [(1, 0), *((number, number) for number in range(2, 8))]
    detector.close()


def test_an_image_does_not_wait_for_a_detector_that_takes_longer_than_images() -> None:
    slow, detector, tracker = _make(detect_every=1)
    slow.go_on.release()
    detector.start(IMAGE)
    wait_until(lambda: detector.is_ready, 5)
    tracker.predict(SIZE, 9.9, detector(IMAGE))
    detector.last_s = 0.3
    tracker.predict(SIZE, 10.0)
    assert not tracker.is_detection_due(SIZE, 10.5)
    tracker.predict(SIZE, 10.5)
    tracker.start_if_due(IMAGE)
    assert not detector.is_idle, 'it looks in the background'
    slow.go_on.release()
    detector.close()


def test_at_a_high_rate_images_never_wait() -> None:
    quick = _Quick()
    detector = BackgroundDetector(quick)
    tracker = BackgroundTracker(detector, TrackerConfig(detect_every=3, detect_period_s=0.5))
    waits = 0
    for number in range(30):
        found = None
        if tracker.is_detection_due(SIZE, 10 + number / 10):
            waits += not detector.is_ready
            found = detector(IMAGE)
        tracker.predict(SIZE, 10 + number / 10, found)
        tracker.start_if_due(IMAGE)
        wait_until(lambda: detector.is_idle or detector.is_ready, 5)
    assert waits == 0 and len(quick.seen) > 5
    detector.close()
