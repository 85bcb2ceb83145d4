"""A slow detector on a thread of its own, so that meshes keep coming while it searches.

A detector takes about as long as the interval between camera images, and several times as long
with tiles. If it ran before the network, the node would skip these images at every detection.
Instead it searches an image in the background. The tracker gets the detections a few images
later, with the time and the descriptors of the people in the searched image, and compares them
with where its tracks were at that time.

If the interval between images is long, as on a slow machine, people have left their boxes by then.
The detector then searches the present image, which waits for it. That costs little compared with
the rest of the interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from decomr_core.people.appearance import box_descriptors
from decomr_core.people.detection import Detections
from decomr_core.people.tracking import Tracker, TrackerConfig

__all__ = ['BackgroundDetector', 'BackgroundTracker']


LONG_INTERVAL_S = 0.2
"""From this interval between images on, detections in the image before arrive too late: a walker
moves by about half the width of the box in that time."""

WORTH_WAITING = 0.5
"""An image waits for a detector that takes less than this share of the interval between images."""


class BackgroundDetector:
    """Searches one image at a time on one thread.

    It can be called like any detector and then returns the detections of the image searched last.
    The tracker checks beforehand whether there are any.

    Attributes:
        last_s: duration of the last search, s; None: there was none yet.
    """

    def __init__(self, detector: Callable[[np.ndarray], Detections]) -> None:
        """Starts the thread for a detector."""
        self._detector = detector
        self._pool = ThreadPoolExecutor(1, 'detector')
        self._running: Future[Detections] | None = None
        self.last_s: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether another search can start: none runs, and the last detections were taken."""
        return self._running is None

    @property
    def is_ready(self) -> bool:
        """Whether there are detections that nobody has taken yet."""
        return self._running is not None and self._running.done()

    def is_worth_waiting(self, interval_s: float) -> bool:
        """Whether an image should wait for its own detections.

        Args:
            interval_s: time since the image before, s.
        """
        return (
            interval_s >= LONG_INTERVAL_S
            and self.last_s is not None
            and self.last_s <= WORTH_WAITING * interval_s
        )

    def start(self, image: np.ndarray, time_s: float | None = None) -> None:
        """Starts to search an image.

        Args:
            image: (H, W, 3) uint8 RGB; it must not change during the search.
            time_s: time of the image on the tracker's clock; None: the image in which the
                detections will be taken.
        """
        self._running = self._pool.submit(self._detect, image, time_s)

    def __call__(self, image: np.ndarray) -> Detections:
        """Takes the detections of the search that was started; waits for them if necessary.

        Args:
            image: the present image, (H, W, 3) uint8 RGB; searched if no search was started.
        """
        running, self._running = self._running, None
        return (running or self._pool.submit(self._detect, image, None)).result()

    def reset(self) -> None:
        """Discards a search that runs or waits, and detections that were not taken."""
        if self._running is not None:
            self._running.cancel()
        self._running = None

    def close(self) -> None:
        """Ends the thread after the search that runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _detect(self, image: np.ndarray, time_s: float | None) -> Detections:
        """The detections in an image, with its time and the descriptors of the people."""
        started_s = time.perf_counter()
        found = self._detector(image)
        self.last_s = time.perf_counter() - started_s
        return replace(found, descriptors=box_descriptors(image, found.boxes), time_s=time_s)


class BackgroundTracker(Tracker):
    """A tracker that takes detections when they are ready, and starts the searches."""

    def __init__(self, detector: BackgroundDetector, config: TrackerConfig | None = None) -> None:
        """Starts without tracks; updates are deferred.

        Args:
            detector: searches the images.
            config: see `TrackerConfig`. `detect_every` counts from the detections to the start of
                the next search.
        """
        super().__init__(config, defers_updates=True)
        self._detector = detector

    def is_detection_due(self, image_size: tuple[int, int], time_s: float | None = None) -> bool:
        """Whether detections are ready, or the next image should wait for its own.

        See `Tracker.is_detection_due`.
        """
        interval_s = self._interval_to(image_size, time_s)
        if interval_s is None:
            return False  # `predict` will discard a search in an image from before
        return self._detector.is_ready or (
            self._detector.is_idle
            and self._detector.is_worth_waiting(interval_s)
            and super().is_detection_due(image_size, time_s)
        )

    def start_if_due(self, image: np.ndarray) -> None:
        """Starts to search the present image in the background if a detection is due.

        Args:
            image: the present image, (H, W, 3) uint8 RGB; it must not change during the search.
        """
        if (
            self.should_search_present_image
            and self._detector.is_idle
            and not self._detector.is_worth_waiting(self._interval_s)
        ):
            self.search_started()
            self._detector.start(image, self.now_s)

    def reset(self) -> None:
        """Ends all tracks and discards a search. Track ids are not reused."""
        super().reset()
        self._detector.reset()
