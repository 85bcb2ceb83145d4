"""People on black, with the furniture they are on: what is laid over a background."""

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
        darkness: share of the light that it takes.
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
        seen: (B, S, S) uint8, 1 where the people are, and not behind their furniture.
        whole: (B,) how many pixels the people would have without furniture.
        lift_m: (B,) height of the people's lowest points above the floor.
        shadows: of the furniture of each; None where there is none.
    """

    people: np.ndarray
    silhouettes: np.ndarray
    seen: np.ndarray
    whole: np.ndarray
    lift_m: np.ndarray
    shadows: list[Shadow | None]

    @staticmethod
    def without_furniture(people: np.ndarray, silhouettes: np.ndarray) -> Layers:
        """People who are on the floor: (B, S, S, 3) and (B, S, S)."""
        count = len(people)
        return Layers(people, silhouettes, silhouettes, silhouettes.sum((1, 2)), np.zeros(count),
                      [None] * count)
