"""Rates of approach: changes of the nearest distances, through the filter of velocities.

The velocity of the nearest vertex would be no better: it is that of a leg or an arm which swings,
and another vertex is the nearest in the next image (docs/uncertainty.md compares them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from decomr_core.people.smoothing import SmoothingConfig
from decomr_core.people.velocity import MIN_STEP_S, NUM_STAGES, velocity_weight

__all__ = ['ApproachRates']

CONFIG = SmoothingConfig()
"""Cutoff and longest gap are those of people's velocities."""

Pair = tuple[int, str]
"""Track id of a person and tf frame of a robot part."""


class _Rate(NamedTuple):
    """The filter of one pair.

    Attributes:
        start_s: time of the first distance.
        time_s: time of the last distance.
        distance_m: the last distance.
        first: change of the distance after the first stage, m/s; None: there was one distance.
        second: the same after the second stage.
    """

    start_s: float
    time_s: float
    distance_m: float
    first: float | None = None
    second: float | None = None


class ApproachRates:
    """Follows the distance of each pair of person and robot part."""

    def __init__(self) -> None:
        """Starts without distances."""
        self._rates: dict[Pair, _Rate] = {}

    def update(self, distances: Mapping[Pair, float], time_s: float) -> dict[Pair, float]:
        """Adds the distances of one image.

        Args:
            distances: metres. Pairs that are missing start anew when they return.
            time_s: time of the image. The filters start anew after a jump back or a gap.

        Returns:
            Rate at which each distance decreases, m/s; pairs of unknown rate are missing.
        """
        self._rates = {
            pair: _updated(self._rates.get(pair), distance_m, time_s)
            for pair, distance_m in distances.items()
        }
        return {
            pair: -rate.second for pair, rate in self._rates.items() if rate.second is not None
        }


def _updated(before: _Rate | None, distance_m: float, time_s: float) -> _Rate:
    """The filter after one more distance; its weights are those of `VelocityState`."""
    if before is None or not 0 <= time_s - before.time_s <= CONFIG.max_gap_s:
        return _Rate(time_s, time_s, distance_m)
    step_s = time_s - before.time_s
    if step_s < MIN_STEP_S:
        return before
    first = second = (distance_m - before.distance_m) / step_s
    if before.first is not None and before.second is not None:
        weight = velocity_weight(
            NUM_STAGES * CONFIG.speed_cutoff_hz, step_s, time_s - before.start_s
        )
        first = before.first + weight * (first - before.first)
        second = before.second + weight * (first - before.second)
    return _Rate(before.start_s, time_s, distance_m, first, second)
