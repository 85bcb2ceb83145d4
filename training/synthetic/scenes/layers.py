"""People and their furniture on black, ready to be laid over a background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Layers', 'Shadow']


@dataclass(frozen=True)
class Shadow:
    """The shadow of furniture on the floor.

    Attributes:
        corners: (n, 8, 3) of its parts, camera frame, m.
        softness_px: standard deviation of its edge.
        darkness: share of the light that is missing in it.
    """

    corners: np.ndarray
    softness_px: float
    darkness: float


@dataclass(frozen=True)
class Layers:
    """B drawn people.

    Attributes:
        people: (B, S, S, 3) float32, 0 to 255, lit, with their furniture, on black.
        silhouettes: (B, S, S) uint8, 1 where they or their furniture are.
        seen: (B, S, S) uint8, 1 where the people are and their furniture does not hide them.
        whole: (B,) number of the people's pixels before furniture hides some.
        lift_m: (B,) height of each person's lowest point above the floor.
        shadows: of each person's furniture; None without furniture.
    """

    people: np.ndarray
    silhouettes: np.ndarray
    seen: np.ndarray
    whole: np.ndarray
    lift_m: np.ndarray
    shadows: list[Shadow | None]

    @staticmethod
    def without_furniture(people: np.ndarray, silhouettes: np.ndarray) -> Layers:
        """Layers of pictures (B, S, S, 3) and silhouettes (B, S, S) alone."""
        count = len(people)
        return Layers(people, silhouettes, silhouettes, silhouettes.sum((1, 2)), np.zeros(count),
                      [None] * count)
