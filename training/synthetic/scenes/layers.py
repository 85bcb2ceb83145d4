"""People and their furniture on black, for compositing over a background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Layers', 'Shadow']


@dataclass(frozen=True)
class Shadow:
    """The shadow of furniture on the floor.

    Attributes:
        corners: (n, 8, 3) corners of the furniture's parts, camera frame, m.
        softness_px: standard deviation of the edge's blur.
        darkness: share of the light that is blocked.
    """

    corners: np.ndarray
    softness_px: float
    darkness: float


@dataclass(frozen=True)
class Layers:
    """B rendered people.

    Attributes:
        people: (B, S, S, 3) float32, 0 to 255, lit, with their furniture, on black.
        silhouettes: (B, S, S) uint8, 1 at pixels of the people or their furniture.
        visible: (B, S, S) uint8, 1 at pixels of the people that their furniture does not hide.
        whole: (B,) number of the people's pixels, including those hidden by furniture.
        lift_m: (B,) height of each person's lowest point above the floor.
        shadows: shadow of each person's furniture; None without furniture.
    """

    people: np.ndarray
    silhouettes: np.ndarray
    visible: np.ndarray
    whole: np.ndarray
    lift_m: np.ndarray
    shadows: list[Shadow | None]

    @staticmethod
    def without_furniture(people: np.ndarray, silhouettes: np.ndarray) -> Layers:
        """Layers of people (B, S, S, 3) with silhouettes (B, S, S), without furniture."""
        count = len(people)
        return Layers(
            people,
            silhouettes,
            silhouettes,
            silhouettes.sum((1, 2)),
            np.zeros(count),
            [None] * count,
        )
