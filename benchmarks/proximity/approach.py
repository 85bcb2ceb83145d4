"""The rate at which walking people and moving robot parts approach each other, and the truth.

There are three ways to measure it:

* `vertex`: the velocity of the nearest vertex relative to the part, along the line between them.
* `root`: the same with the velocity of the person's root.
* `distance`: the change of the nearest distance, through the filter of the velocities.

The truth is the change of the true nearest distance, which swings with the legs and the arms of a
walker. The measured rates are late and swing less, so they are compared with its mean over a step,
centred on the time that they belong to, and with its value at that time. `exact` measures the
rates of the true meshes: their errors are those of the way of measuring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.proximity.parts import Capsule, nearest
from benchmarks.proximity.sensors import HEIGHT, WIDTH
from benchmarks.proximity.walks import RATES_HZ, Walk
from decomr_core.base.structures import HumanMesh
from decomr_core.estimation.uncertainty import PositionUncertainty, position_uncertainty
from decomr_core.people.smoothing import MeshSmoother, SmoothingConfig
from decomr_core.people.velocity import PersonMotion, VelocityState, velocity_delay_s

__all__ = ['METHODS', 'SOURCES', 'Approaches', 'approach_report', 'measure_approaches']

SOURCES = ('exact', 'with_depth', 'without_depth')
METHODS = ('vertex', 'root', 'distance')
PARTS = 4
SETTLED_S = 1.0
"""Time after the first image from which on rates are evaluated."""
STEP_S = 0.5
"""Time of a step: over it the mean rate does not depend on the swing of legs and arms."""
CONFIG = SmoothingConfig()
RADIUS_M, ROBOT_SPEED_M_S, START_M = 0.1, 0.6, 0.6
"""The parts are spheres that start within `START_M` of the camera along each axis and move evenly
at up to `ROBOT_SPEED_M_S`."""


@dataclass(frozen=True)
class Approaches:
    """N measured rates of approach, m/s, positive if the two come nearer.

    Attributes:
        measured: (len(METHODS), N).
        mean: (N,) the truth, averaged over a step.
        instant: (N,) the truth.
        distance_error: (N,) true minus estimated distance after smoothing, m.
        is_covered: (N,) 1 if the interval contains the true distance, otherwise 0.
        way: (N,) way of the walk.
    """

    measured: np.ndarray
    mean: np.ndarray
    instant: np.ndarray
    distance_error: np.ndarray
    is_covered: np.ndarray
    way: np.ndarray


def approach_report(walks: Sequence[Walk]) -> list[dict[str, Any]]:
    """Percentiles of the absolute errors, m/s, by images per second, source, way and method."""
    rows = []
    for rate in RATES_HZ:
        for source in SOURCES:
            made = measure_approaches(walks, rate, source)
            for way in ('all', *dict.fromkeys(walk.way for walk in walks)):
                chosen = np.ones(len(made.way), bool) if way == 'all' else made.way == way
                rows.append(
                    {
                        'images_per_s': rate,
                        'source': source,
                        'way': way,
                        'cases': int(chosen.sum()),
                        'distance_error_50_m': round(
                            float(np.median(np.abs(made.distance_error[chosen]))), 3
                        ),
                        'covered': round(float(made.is_covered[chosen].mean()), 4),
                        **{
                            method: _errors(made, number, chosen)
                            for number, method in enumerate(METHODS)
                        },
                    }
                )
    return rows


def measure_approaches(walks: Sequence[Walk], rate: int, source: str) -> Approaches:
    """Measures the rates of all walks, for `PARTS` robot parts each.

    Args:
        walks: the walks.
        rate: images per second.
        source: of `SOURCES`.
    """
    rows: list[tuple[float, ...]] = []
    ways: list[str] = []
    for walk in walks:
        states = _states(walk, rate, source)
        for number in range(PARTS):
            part = _Part.draw(np.random.default_rng([walk.seed, number, 5]))
            made = list(_rates(walk, states, part, rate))
            rows += made
            ways += [walk.way] * len(made)
    values = np.array(rows).T
    mean, instant, distance_error, is_covered = values[len(METHODS) :]
    return Approaches(
        values[: len(METHODS)], mean, instant, distance_error, is_covered, np.array(ways)
    )


@dataclass(frozen=True)
class _Part:
    """A sphere that moves evenly; position at time 0, m, and velocity, m/s."""

    start: np.ndarray
    velocity: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Part:
        start = rng.uniform(-START_M, START_M, 3)
        velocity = rng.normal(size=3)
        speed = rng.uniform(0, ROBOT_SPEED_M_S)
        return cls(start, velocity * (speed / np.linalg.norm(velocity)))

    def at(self, time_s: float) -> Capsule:
        middle = self.start + self.velocity * time_s
        return Capsule(middle, middle, RADIUS_M)


@dataclass(frozen=True)
class _State:
    """One image: vertices (V, 3) before smoothing, m, the smoothed mesh, and its uncertainty."""

    time_s: float
    raw: np.ndarray
    smooth: HumanMesh
    uncertainty: PositionUncertainty
    motion: PersonMotion | None


def _meshes(walk: Walk, rate: int, source: str) -> list[tuple[float, HumanMesh]]:
    """Times, s, and meshes of the images at a rate that show the person."""
    found = zip(walk.times_s.tolist(), walk.meshes[rate, source != 'without_depth'], strict=True)
    if source != 'exact':
        return [(time_s, mesh) for time_s, mesh in found if mesh is not None]
    return [
        (
            time_s,
            replace(
                mesh, vertices=true, joints=true[: len(mesh.joints)], translation=true.mean(0)
            ),
        )
        for (time_s, mesh), true in zip(found, walk.truth, strict=True)
        if mesh is not None
    ]


def _states(walk: Walk, rate: int, source: str) -> list[_State]:
    """The images at a rate that show the person, through the smoother."""
    smoother = MeshSmoother(CONFIG, measures_motion=True)
    states = []
    for time_s, mesh in _meshes(walk, rate, source):
        (smooth,) = smoother.smooth([mesh], time_s)
        motion = smoother.motion(mesh.track_id)
        uncertainty = position_uncertainty(smooth, (WIDTH, HEIGHT))
        states.append(_State(time_s, mesh.vertices, smooth, uncertainty, motion))
    return states


def _rates(
    walk: Walk, states: Sequence[_State], part: _Part, rate: int
) -> Iterator[tuple[float, ...]]:
    """For each image: the measured rate by each method, then the rest of `Approaches`."""
    delay_s = velocity_delay_s(CONFIG.speed_cutoff_hz, 1 / rate)
    true = [nearest(v, part.at(t))[0] for t, v in zip(walk.times_s, walk.truth, strict=True)]
    truth = -np.gradient(np.array(true), walk.times_s)
    filtered: VelocityState | None = None
    for state in states:
        time_s, motion, nobody = state.time_s, state.motion, np.zeros((3, 1), np.float32)
        raw = np.array([nearest(state.raw, part.at(time_s))[0], 0, 0])
        filtered = (
            VelocityState(time_s, time_s, raw, nobody, 1)
            if filtered is None
            else filtered.updated(raw, nobody, time_s, CONFIG.speed_cutoff_hz)
        )
        distance, index, direction = nearest(state.smooth.vertices, part.at(time_s))
        window = time_s - delay_s + np.linspace(-STEP_S / 2, STEP_S / 2, 16)
        is_known = walk.times_s[0] <= window[0] and window[-1] <= walk.times_s[-1]
        if motion is None or motion.observed_s < SETTLED_S or distance <= 0 or not is_known:
            continue
        is_visible = bool(state.smooth.visibility[index])
        _, low, high = state.uncertainty.interval(distance, direction, is_visible)
        now = float(np.interp(time_s, walk.times_s, true))
        assert motion.root_velocity is not None and filtered.root_velocity is not None
        yield (
            float(direction @ (part.velocity - motion.vertex_velocities[index])),
            float(direction @ (part.velocity - motion.root_velocity)),
            -float(filtered.root_velocity[0]),
            float(np.interp(window, walk.times_s, truth).mean()),
            float(np.interp(time_s - delay_s, walk.times_s, truth)),
            now - distance,
            low <= now <= high,
        )


def _errors(made: Approaches, method: int, chosen: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile of the absolute errors of one method, m/s."""
    errors = {}
    for name, truth in (('', made.mean), ('instant_', made.instant)):
        wrong = np.abs(made.measured[method] - truth)[chosen]
        for share in (50, 95):
            errors[f'{name}error_{share}'] = round(float(np.percentile(wrong, share)), 3)
    return errors
