"""What is known about one person over time, and what the meshes of one image say of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from decomr_core.motion import BoxMotion

__all__ = ['Sights', 'Track']


@dataclass(frozen=True)
class Track:
    """One person over time.

    Attributes:
        track_id: counts up from 0 and is never used again.
        score: confidence in [0, 1] of the last detection.
        motion: where the person goes.
        missed: detections in a row that did not see the person.
        seen_s: time of the image in which a detection was matched last, on the tracker's clock.
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
