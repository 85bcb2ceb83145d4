"""Fits the constants of `decomr_core/estimation/uncertainty.py` to the errors of estimates.

The errors of roots and vertices are fitted by the most likely Student's t-distribution with 4
degrees of freedom, whose tails are as heavy as theirs, all constants at once. Standard deviations
are then those of the middle 68 %. The factors of the intervals are those with which 2.5 % of the
nearest distances are below and 2.5 % above.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from benchmarks.proximity.estimates import Estimate
from benchmarks.proximity.parts import Cases
from decomr_core.base.structures import HumanMesh
from decomr_core.estimation.uncertainty import doubt_and_cut

__all__ = ['fit_deviations', 'fit_intervals', 'root_errors']

FREEDOM = 4.0
VERTICES = 40
"""Vertices of each person whose errors are fitted."""
KINDS = ('ray', 'depth', 'across', 'visible', 'hidden')
NAMES = (
    'RAY_SHARE',
    'DEPTH_STD_M',
    'DEPTH_SHARE',
    'ACROSS_STD_M',
    'VISIBLE_STD_M',
    'HIDDEN_STD_M',
    'ROOT_GROWTH',
    'VERTEX_GROWTH',
    'CUT_GROWTH',
    'CHANGE_GROWTH',
)
START = np.array([0.06, 0.05, 0.01, 0.03, 0.06, 0.07, 2.5, 1.5, 1.0, 2.0])
NUM_DEVIATIONS = 6
"""The first so many constants are deviations, the others growths."""
OUTSIDE = 2.5
"""Percentage of the cases on each side of an interval."""
SHARES = np.arange(0.3, 1.21, 0.05)


def root_errors(person: Estimate, mesh: HumanMesh) -> tuple[float, np.ndarray]:
    """Error of the position of a root: along the ray of the estimate, and across it (3,), m."""
    position = np.asarray(mesh.translation, np.float64)
    ray = position / np.linalg.norm(position)
    error = person.true_translation - position
    along = float(error @ ray)
    return along, error - along * ray


def fit_deviations(people: Sequence[Estimate], image_size: tuple[int, int]) -> dict[str, float]:
    """The constants of the standard deviations, by name."""
    errors, features = _samples(people, image_size)

    def loss(numbers: np.ndarray) -> float:
        values = np.concatenate([np.exp(numbers[:NUM_DEVIATIONS]), numbers[NUM_DEVIATIONS:]])
        deviations = _deviations(dict(zip(NAMES, values, strict=True)), features)
        return sum(
            _unlikelihood(errors[kind] / deviations[kind], deviations[kind]) for kind in KINDS
        )

    start = np.concatenate([np.log(START[:NUM_DEVIATIONS]), START[NUM_DEVIATIONS:]])
    found = minimize(
        loss,
        start,
        method='Nelder-Mead',
        options={'maxiter': 20000, 'fatol': 1e-7, 'adaptive': True},
    ).x
    values = np.concatenate([np.exp(found[:NUM_DEVIATIONS]), found[NUM_DEVIATIONS:]])
    constants = dict(zip(NAMES, values.tolist(), strict=True))
    deviations = _deviations(constants, features)
    middle = {kind: np.percentile(np.abs(errors[kind]) / deviations[kind], 68) for kind in KINDS}
    for name, kind in zip(NAMES, ('ray', 'depth', 'depth', *KINDS[2:]), strict=False):
        constants[name] *= middle[kind]
    return {name: round(value, 4) for name, value in constants.items()}


def fit_intervals(cases: Cases) -> dict[str, float | list[float]]:
    """The share of a vertex's error in the nearest distance, and the factors of the intervals.

    The share is the most likely one; the factors hold for it, first down, then up.
    """
    losses = [
        _unlikelihood(cases.error / std, std)
        for std in (np.hypot(cases.along**0.5, share * cases.vertex_std) for share in SHARES)
    ]
    share = float(SHARES[int(np.argmin(losses))])
    std = np.hypot(cases.along**0.5, share * cases.vertex_std)
    down = -cases.error / std
    # The factor k of the upper bound solves truth^2 = (estimate + k std)^2 + (k across)^2.
    square, linear = std**2 + cases.across**2, cases.estimate * std
    gain = cases.truth**2 - cases.estimate**2
    up = (np.sqrt(np.maximum(linear**2 + square * gain, 0)) - linear) / square
    return {
        'NEAREST_SHARE': round(share, 2),
        **{
            name: [
                round(float(np.percentile(factor[cases.has_depth == has_depth], 100 - OUTSIDE)), 2)
                for factor in (down, up)
            ]
            for name, has_depth in (('RAY_INTERVAL', False), ('DEPTH_INTERVAL', True))
        },
    }


def _samples(
    people: Sequence[Estimate], image_size: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Errors in metres, and features (distance, doubt, cut, change), by kind of error."""
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {kind: [] for kind in KINDS}
    features: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}

    def add(kind: str, mesh: HumanMesh, values: Sequence[float]) -> None:
        distance = float(np.linalg.norm(mesh.translation))
        feature = (distance, *doubt_and_cut(mesh, image_size), abs(mesh.depth_change))
        errors[kind] += list(values)
        features[kind] += [feature] * len(values)

    for person in people:
        before, after = person.without_depth, person.with_depth
        along, across = root_errors(person, before)
        add('ray', before, [along])
        add('across', before, across[:2].tolist())
        if after.has_measured_depth:
            add('depth', after, [root_errors(person, after)[0]])
        body = person.true_vertices - person.true_translation
        wrong = body - (before.vertices - before.translation)
        for kind, is_chosen in (('visible', before.visibility), ('hidden', ~before.visibility)):
            some = wrong[is_chosen]
            add(kind, before, some[rng.integers(len(some), size=VERTICES)].ravel().tolist())
    return (
        {kind: np.array(values) for kind, values in errors.items()},
        {kind: np.array(values).T for kind, values in features.items()},
    )


def _deviations(
    constants: dict[str, float], features: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The standard deviations of the samples by kind, as `position_uncertainty` computes them."""
    made = {}
    for kind in KINDS:
        distance, doubt, cut, change = features[kind]
        if kind == 'ray':
            made[kind] = constants['RAY_SHARE'] * distance * np.exp(constants['CUT_GROWTH'] * cut)
        elif kind == 'depth':
            made[kind] = np.hypot(constants['DEPTH_STD_M'], constants['DEPTH_SHARE'] * distance)
            made[kind] = made[kind] * np.exp(constants['CHANGE_GROWTH'] * change)
        else:
            made[kind] = np.full(len(distance), constants[f'{kind.upper()}_STD_M'])
        growth = 'VERTEX_GROWTH' if kind in ('visible', 'hidden') else 'ROOT_GROWTH'
        made[kind] = made[kind] * np.exp(constants[growth] * doubt)
    return made


def _unlikelihood(errors: np.ndarray, deviations: np.ndarray) -> float:
    """Mean negative log-likelihood of errors in deviations (N,), m, plus a constant."""
    tails = (FREEDOM + 1) / 2 * np.log1p(errors**2 / FREEDOM)
    return float(np.mean(tails + np.log(deviations)))
