"""The rate at which walking people and moving robot parts approach each other, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.approach_scenes import RATES_HZ, Walk
from benchmarks.proximity_parts import Capsule, nearest
from decomr_core.people.smoothing import MeshSmoother, SmoothingConfig
from decomr_core.people.velocity import velocity_delay_s

__all__ = ['approach_report', 'approaches']

PARTS = 4
SETTLED_S = 1.0
"""Time after the first image from which on rates are evaluated."""
STRIDE_S = 0.5
"""Time of a step: over it the mean rate does not depend on the swing of legs and arms."""
RADIUS_M, ROBOT_SPEED_M_S, START_M = 0.1, 0.6, 0.6


@dataclass(frozen=True)
class Approaches:
    """N measured rates of approach.

    Attributes:
        measured: m/s, positive if the two come nearer.
        truth: the rate of the true nearest distance `delay_s` earlier, m/s.
        mean_truth: the same, averaged over a step.
        distance: estimated nearest distance, m.
    """

    measured: np.ndarray
    truth: np.ndarray
    mean_truth: np.ndarray
    distance: np.ndarray


def approach_report(walks: Sequence[Walk]) -> list[dict[str, Any]]:
    """Errors by way, rate of images and depth."""
    rows = []
    for rate in RATES_HZ:
        for has_depth in (False, True):
            for way in ('all', *dict.fromkeys(walk.way for walk in walks)):
                chosen = [walk for walk in walks if way in ('all', walk.way)]
                made = approaches(chosen, rate, has_depth)
                rows.append(
                    {
                        'images_per_s': rate,
                        'has_depth': has_depth,
                        'way': way,
                        'cases': len(made.measured),
                        **_percentiles('error', made.measured - made.mean_truth),
                        **_percentiles('error_of_instant', made.measured - made.truth),
                    }
                )
    return rows


def approaches(
    walks: Sequence[Walk],
    rate: int,
    has_depth: bool,
    config: SmoothingConfig | None = None,
    smoother_of: Callable[[SmoothingConfig], MeshSmoother] | None = None,
    delay_s: float | None = None,
) -> Approaches:
    """Measures the rates of all walks, for `PARTS` robot parts each.

    Args:
        walks: the walks.
        rate: images per second.
        has_depth: whether there is a depth image.
        config: of the smoother.
        smoother_of: makes a smoother.
        delay_s: delay of the rates.
    """
    config = config or SmoothingConfig()
    if delay_s is None:
        delay_s = velocity_delay_s(config.speed_cutoff_hz, 1 / rate)
    rows: list[tuple[float, ...]] = []
    for walk in walks:
        smoother = (
            MeshSmoother(config, measures_motion=True)
            if smoother_of is None
            else smoother_of(config)
        )
        states = []
        for time_s, mesh in zip(walk.times_s, walk.meshes[rate, has_depth], strict=True):
            if mesh is None:
                continue
            (smooth,) = smoother.smooth([mesh], float(time_s))
            motion = smoother.motion(mesh.track_id)
            if motion is not None and motion.observed_s >= SETTLED_S:
                states.append((float(time_s), smooth.vertices, motion.vertex_velocities))
        for number in range(PARTS):
            rows += _rows(walk, states, np.random.default_rng([walk.seed, number, 5]), delay_s)
    return Approaches(*np.array(rows).T)


def _rows(
    walk: Walk,
    states: Sequence[tuple[float, np.ndarray, np.ndarray]],
    rng: np.random.Generator,
    delay_s: float,
) -> list[tuple[float, ...]]:
    """The rows of `Approaches` for one part, a sphere that starts near the camera and moves."""
    start = rng.uniform(-START_M, START_M, 3)
    velocity = rng.normal(size=3)
    velocity *= rng.uniform(0, ROBOT_SPEED_M_S) / np.linalg.norm(velocity)

    def part(time_s: float) -> Capsule:
        middle = start + velocity * time_s
        return Capsule(middle, middle, RADIUS_M)

    true = [nearest(v, part(t))[0] for t, v in zip(walk.times_s, walk.truth, strict=True)]
    true_rate = -np.gradient(np.array(true), walk.times_s)
    rows: list[tuple[float, ...]] = []
    for time_s, vertices, velocities in states:
        distance, index, direction = nearest(vertices, part(time_s))
        late = time_s - delay_s
        window = np.linspace(late - STRIDE_S / 2, late + STRIDE_S / 2, 16)
        if distance <= 0 or window[0] < walk.times_s[0] or window[-1] > walk.times_s[-1]:
            continue
        rows.append(
            (
                float(direction @ (velocity - velocities[index])),
                float(np.interp(late, walk.times_s, true_rate)),
                float(np.interp(window, walk.times_s, true_rate).mean()),
                distance,
            )
        )
    return rows


def _percentiles(name: str, errors: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile of absolute errors, m/s."""
    half, most = np.percentile(np.abs(errors), (50, 95))
    return {
        f'{name}_median_m_s': round(float(half), 3),
        f'{name}_95_m_s': round(float(most), 3),
        f'{name}_mean_m_s': round(float(errors.mean()), 3),
    }
