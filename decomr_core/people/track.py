"""What is known about one person over time, what the meshes of one image say, and the rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from decomr_core.people.motion import BoxMotion

__all__ = ['Sights', 'Track', 'TrackerConfig']


@dataclass(frozen=True)
class Track:
    """One person over time.

    Attributes:
        track_id: counts up from 0 and is never used again.
        score: confidence in [0, 1] of the last detection.
        motion: where the person goes.
        missed: detections in a row that did not see the person.
        seen_s: time of the image in which a detection was matched last, on the tracker's clock.
        sure_s: the same of a detection that is not doubtful.
        sights: how many detections saw the person.
        is_new: whether these are few, so that it may be a mistake.
        hidden_since_s: since when neither detector nor mesh sees the person; None: one does.
        look: (K,) the person's colours; None: not known yet.
    """

    track_id: int
    score: float
    motion: BoxMotion = field(repr=False)
    missed: int = 0
    seen_s: float = 0.0
    sure_s: float = 0.0
    sights: int = 1
    is_new: bool = True
    hidden_since_s: float | None = None
    look: np.ndarray | None = field(default=None, repr=False)

    @property
    def box(self) -> np.ndarray:
        """(4,) where the person is expected: x_min, y_min, x_max, y_max, image px."""
        return self.motion.box

    @property
    def is_hidden(self) -> bool:
        """Whether the person is behind somebody or something."""
        return self.hidden_since_s is not None

    def moved(self, step_s: float) -> Track:
        """The track after so many seconds, where the motion model takes it."""
        return replace(self, motion=self.motion.predicted(step_s))


@dataclass
class Sights:
    """What the meshes of an image say of the people who were tracked in it.

    Attributes:
        boxes: (T, 4) around the meshes, image px.
        is_near: (T,) bool, who is next to somebody else.
        is_covered: (T,) bool, who is partly behind somebody else.
        looks: gives (T, K) what the people look like; None: not known.
        unseen: what becomes of those whose mesh does not show them, by index.
    """

    boxes: np.ndarray
    is_near: np.ndarray
    is_covered: np.ndarray
    looks: Callable[[], np.ndarray] | None
    unseen: dict[int, Track | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackerConfig:
    """How tracks begin, go on and end.

    Attributes:
        detect_every: the detector runs on every n-th image, and on each image while nobody is
            tracked; 1: on all.
        detect_period_s: it runs at the latest so long after the image that it looked at last, s,
            however few images came since; 0: no such limit.
        follows_mesh: the boxes around the meshes say where people are between two detections.
        max_missed: detections in a row that may miss a person whom the mesh still sees.
        max_missed_by_all: the same where not even a doubtful detection sees the person.
        max_doubtful_s: how long doubtful detections alone may keep a person.
        max_hidden_s: how long a person may be hidden, from detector and mesh, and keep the number.
        max_gap_s: after so long without an image everybody is forgotten.
        min_foreground: share of the person box that the mesh's IUV must call a person, or the
            mesh is not trusted to carry the box.
        min_shown_foreground: the same to be shown at all, although the detector sees somebody.
        min_covered: share of the pixels which its IUV image calls a person that a mesh must
            cover to be shown; the track goes on without. 0 shows all.
        max_tracks: so many people at most: those known longer, then those with the best scores;
            the others are counted in `Tracker.people_left_out`.
        same_person: two meshes that overlap more show one person.
        min_sights: with fewer detections a person is new: who is new and hidden ends with the next
            detection that does not see them.
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
    min_sights: int = 2

    def __post_init__(self) -> None:
        """Refuses values that make no sense.

        Raises:
            ValueError: a value is out of its range.
        """
        if (min(self.detect_every, self.max_tracks) < 1
                or min(self.max_missed, self.max_missed_by_all) < 0):
            raise ValueError(f'{self}: detect_every and max_tracks must be at least 1, '
                             'max_missed and max_missed_by_all at least 0')
        if not (min(self.max_hidden_s, self.max_doubtful_s, self.detect_period_s) >= 0
                and self.max_gap_s > 0):
            raise ValueError(f'{self}: max_hidden_s, detect_period_s and max_doubtful_s must be '
                             'at least 0, max_gap_s above 0')
        for name in ('min_foreground', 'min_shown_foreground', 'min_covered', 'same_person'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} is {getattr(self, name)}, expected 0 to 1')

    @classmethod
    def for_detector(cls, name: str, detect_every: int, max_tracks: int,
                     detect_period_s: float = 0.0) -> TrackerConfig:
        """The config that suits a detector.

        Args:
            name: of the detector, as in `decomr_core.people.detection.DETECTORS`.
            detect_every: see above.
            max_tracks: see above.
            detect_period_s: see above.
        """
        if name == 'whole-frame':
            # One person whose box is always the whole image: the one around the mesh is far
            # smaller. Somebody is there, whatever the mesh says.
            return cls(detect_every=1, max_tracks=1, follows_mesh=False, min_covered=0.0,
                       min_shown_foreground=0.0)
        return cls(detect_every=detect_every, detect_period_s=detect_period_s,
                   max_tracks=max_tracks)
