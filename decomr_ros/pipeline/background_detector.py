"""A slow detector beside a fast network: people are looked for while meshes keep coming.

A detector takes about as long as a camera image, several where it looks at parts of the image.
Called in line, it would make the node skip those at every detection. Here it looks at an image on
a thread of its own, and the tracker gets the boxes when they are ready, a few images late, with
the time and the looks of the people in the image that they are of: the tracker compares them with
where everybody was then.

Where images are far apart in time, as on a slow machine, people have left their boxes by then. The
detector then looks at the present image, which waits for it: that costs little beside the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from decomr_core.people.appearance import looks_of_boxes
from decomr_core.people.detection import Detections
from decomr_core.people.tracking import Tracker, TrackerConfig

__all__ = ['BackgroundDetector', 'BackgroundTracker']


SLOW_STEP_S = 0.2
"""From this time between images on, an answer for the image before comes too late: a walker has
moved by about half the width of the box by then."""

WORTH_WAITING = 0.5
"""An image waits for a detector that takes less than this share of the time between images."""


class BackgroundDetector:
    """Looks at one image at a time, on one thread.

    In the place of a detector it answers with what it has found last; whether that is new, and
    of images of the present size, the tracker asks before.

    Attributes:
        last_s: how long the last image took, s; None: it has not looked at any.
    """

    def __init__(self, detector: Callable[[np.ndarray], Detections]) -> None:
        """Takes the detector to run."""
        self._detector = detector
        self._pool = ThreadPoolExecutor(1, 'detector')
        self._running: Future[Detections] | None = None
        self._size = (0, 0)
        self.last_s: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it can look at another image: nothing runs, and the last answer was taken."""
        return self._running is None

    def is_ready(self, width: int, height: int) -> bool:
        """Whether there is an answer that nobody has taken yet.

        Args:
            width: of the present image, px; an answer for another size is thrown away.
            height: of the present image, px.
        """
        if self._running is None or not self._running.done():
            return False
        if self._size != (width, height):
            self._running = None
        return self._running is not None

    def look_at(self, image: np.ndarray, time_s: float | None = None) -> None:
        """Starts on an image.

        Args:
            image: (H, W, 3) uint8 RGB; it must not change meanwhile.
            time_s: when it was taken, on the tracker's clock.
        """
        self._size = image.shape[1], image.shape[0]
        self._running = self._pool.submit(self._look, image, time_s)

    def __call__(self, image: np.ndarray) -> Detections:
        """Takes the answer, or looks at this image where it was given none; waits if need be.

        Args:
            image: the present one, (H, W, 3) uint8 RGB.
        """
        if self._running is None:
            self.look_at(image)
        running, self._running = self._running, None
        return running.result()

    def reset(self) -> None:
        """Throws away what is being looked at, and what waits to be."""
        if self._running is not None:
            self._running.cancel()
        self._running = None

    def _look(self, image: np.ndarray, time_s: float | None) -> Detections:
        """What is found, with what belongs to the image it is found in."""
        started_s = time.perf_counter()
        found = self._detector(image)
        self.last_s = time.perf_counter() - started_s
        return replace(found, looks=looks_of_boxes(image, found.boxes), time_s=time_s)

    def close(self) -> None:
        """Ends the thread after the image it looks at."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class BackgroundTracker(Tracker):
    """A tracker that takes detections when they are ready, and says when the next are due."""

    def __init__(self, detector: BackgroundDetector, config: TrackerConfig | None = None) -> None:
        """Starts with nobody in view.

        Args:
            detector: whose answers it takes.
            config: `detect_every` counts from the detector's answer to its next start.
        """
        super().__init__(config)
        self._detector = detector
        self._waits = False

    def reset(self) -> None:
        """Forgets everybody and what is being looked at; numbers go on counting."""
        super().reset()
        self._detector.reset()

    def needs_detection(self, width: int, height: int, time_s: float | None = None) -> bool:
        """Whether there are detections to match, or the image should wait for its own.

        See `Tracker.needs_detection`.
        """
        before_s = self.now_s
        super().needs_detection(width, height, time_s)
        step_s, detector_s = self.now_s - before_s, self._detector.last_s
        self._waits = (step_s >= SLOW_STEP_S and detector_s is not None
                       and detector_s <= WORTH_WAITING * step_s)
        return (self._detector.is_ready(width, height)
                or self._waits and self._is_due and self._detector.is_idle)

    def look_if_due(self, image: np.ndarray) -> None:
        """Starts the detector on an (H, W, 3) uint8 RGB image if it is time and it is idle."""
        if self._is_due and self._detector.is_idle and not self._waits:
            self._images_since_detection = 0
            self._detector.look_at(image, self.now_s)
