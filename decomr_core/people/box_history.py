"""The boxes of the tracks in the last images, for detections that arrive late."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from decomr_core.people.track import Track

__all__ = ['BoxHistory']

CAPACITY = 64
"""Number of images that are kept: two seconds of a camera."""

SAME_TIME_S = 1e-6
"""Two times of the tracker's clock that differ by less are of the same image."""


class BoxHistory:
    """Remembers where the tracks were. All times are on the tracker's clock, s."""

    def __init__(self) -> None:
        """Starts empty."""
        self._images: deque[tuple[float, dict[int, np.ndarray]]] = deque(maxlen=CAPACITY)

    def add(self, now_s: float, tracks: Sequence[Track]) -> None:
        """Stores the boxes of the tracks in the image of this time."""
        self._images.append((now_s, {track.track_id: track.box for track in tracks}))

    def boxes_then(self, tracks: Sequence[Track], then_s: float | None) -> np.ndarray:
        """Boxes (T, 4) of the tracks in an earlier image, image px.

        A track that has no known box there has its present one.

        Args:
            tracks: T tracks.
            then_s: time of the earlier image; None: the present image.
        """
        known: dict[int, np.ndarray] = next(
            (
                boxes
                for time_s, boxes in reversed(self._images)
                if then_s is not None and abs(time_s - then_s) < SAME_TIME_S
            ),
            {},
        )
        return np.array(
            [known.get(track.track_id, track.box) for track in tracks], np.float32
        ).reshape(-1, 4)

    def clear(self) -> None:
        """Forgets all images."""
        self._images.clear()
