"""Track state, the people that a tracker expects in an image, and the tracker's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from decomr_core.people.motion import BoxMotion

__all__ = ['ExpectedPeople', 'Track', 'TrackerConfig']


@dataclass(frozen=True)
class Track:
    """One person over time.

    Attributes:
        track_id: counts up from 0 and is never reused; -1: the tracker has not assigned it yet.
        score: confidence in [0, 1] of the last detection.
        motion: motion filter of the person's box.
        missed: consecutive detector runs without a detection of the person.
        last_detected_s: time of the image in which a detection was last associated, on the
            tracker's clock.
        last_confident_s: the same for the last detection that was not doubtful.
        num_detections: detections associated so far, doubtful ones excluded.
        is_tentative: `num_detections` is still below `min_detections`: possibly a false positive.
        hidden_since_s: time since which neither detector nor mesh observes the person; None:
            the person is observed.
        descriptor: (K,) colours of the person, see `appearance.py`; None: unknown.
    """

    track_id: int
    score: float
    motion: BoxMotion = field(repr=False)
    missed: int = 0
    last_detected_s: float = 0.0
    last_confident_s: float = 0.0
    num_detections: int = 1
    is_tentative: bool = True
    hidden_since_s: float | None = None
    descriptor: np.ndarray | None = field(default=None, repr=False)

    @property
    def box(self) -> np.ndarray:
        """(4,) expected box of the person: x_min, y_min, x_max, y_max, image px."""
        return self.motion.box

    @property
    def is_hidden(self) -> bool:
        """Whether the person is occluded by another person or an object."""
        return self.hidden_since_s is not None

    def predicted(self, step_s: float) -> Track:
        """The track `step_s` seconds later, according to the motion model."""
        return replace(self, motion=self.motion.predicted(step_s))


@dataclass(frozen=True)
class ExpectedPeople:
    """The people expected in one image, T of them.

    Attributes:
        track_ids: (T,) track ids; -1 for people who are not tracked.
        scores: (T,) confidences in [0, 1].
        boxes: (T, 4) expected boxes, image px.
        crop_boxes: (T, 4) boxes to crop, image px. They stay constant while a person hardly
            moves.
    """

    track_ids: Sequence[int] | np.ndarray
    scores: Sequence[float] | np.ndarray
    boxes: np.ndarray
    crop_boxes: np.ndarray


@dataclass(frozen=True)
class TrackerConfig:
    """How tracks begin, continue and end.

    Attributes:
        detect_every: the detector runs on every n-th image, and on every image while nobody is
            tracked; 1: on all images.
        detect_period_s: maximum time between two images that the detector searches, s,
            regardless of how many images arrive in between; 0: no maximum.
        follows_mesh: between two detections, the boxes around the meshes update the tracks.
        max_missed: consecutive detector runs that may miss a person whom the mesh still shows.
        max_missed_by_all: the same limit where not even a doubtful detection matches the person.
        max_doubtful_s: how long doubtful detections alone may keep a track alive.
        max_hidden_s: how long a person may be hidden and keep the track id.
        max_gap_s: longest time between two images after which tracks continue.
        min_foreground: minimum share of foreground in the person box, according to the IUV image;
            below it the mesh does not update the track.
        min_shown_foreground: the same minimum for showing the mesh of a person whom the detector
            has just detected.
        min_covered: minimum share of the IUV image's foreground pixels that a shown mesh covers;
            the track continues regardless. 0 shows all meshes.
        max_tracks: maximum number of tracks: older tracks first, then the best scores. The
            others are counted in `Tracker.people_left_out`.
        same_person: intersection over union above which two meshes show the same person.
        min_detections: detections that confirm a track. A tentative track that is hidden ends at
            the next detector run that misses it.
    """

    detect_every: int = 5
    detect_period_s: float = 0.0
    follows_mesh: bool = True
    max_missed: int = 3
    max_missed_by_all: int = 1
    max_doubtful_s: float = 5.0
    max_hidden_s: float = 2.0
    max_gap_s: float = 2.0
    min_foreground: float = 0.1
    min_shown_foreground: float = 0.03
    min_covered: float = 0.5
    max_tracks: int = 30
    same_person: float = 0.7
    min_detections: int = 2

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: a value is out of its range.
        """
        if (
            min(self.detect_every, self.max_tracks) < 1
            or min(self.max_missed, self.max_missed_by_all) < 0
        ):
            raise ValueError(
                f'{self}: detect_every and max_tracks must be at least 1, '
                'max_missed and max_missed_by_all at least 0'
            )
        if not (
            min(self.max_hidden_s, self.max_doubtful_s, self.detect_period_s) >= 0
            and self.max_gap_s > 0
        ):
            raise ValueError(
                f'{self}: max_hidden_s, detect_period_s and max_doubtful_s must be '
                'at least 0, max_gap_s above 0'
            )
        for name in ('min_foreground', 'min_shown_foreground', 'min_covered', 'same_person'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}, expected 0 to 1')

    @classmethod
    def for_detector(
        cls, name: str, detect_every: int, max_tracks: int, detect_period_s: float = 0.0
    ) -> TrackerConfig:
        """The configuration that suits a detector.

        Args:
            name: name of the detector, as in `decomr_core.estimation.detectors.DETECTORS`.
            detect_every: see the attribute.
            max_tracks: see the attribute.
            detect_period_s: see the attribute.
        """
        if name == 'whole-frame':
            # The only person's box is always the whole image, far larger than the box around the
            # mesh. The detector reports a person regardless of the mesh.
            return cls(
                detect_every=1,
                max_tracks=1,
                follows_mesh=False,
                min_covered=0.0,
                min_shown_foreground=0.0,
            )
        return cls(
            detect_every=detect_every, detect_period_s=detect_period_s, max_tracks=max_tracks
        )
