"""Flattens the cut half body without flips and overlaps, with its wall on a straight line."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from decomr_core.uv.chart.clearance import Clearance
from decomr_core.uv.chart.distortion_energy import DistortionEnergy, detail_scales
from decomr_core.uv.chart.landmarks import HalfBody
from decomr_core.uv.chart.seams import CutHalf
from decomr_core.uv.chart.stress import Stress
from decomr_core.uv.mesh_graph import neighbour_matrix

__all__ = ['STRESS_WEIGHT', 'flatten_half', 'tutte_half_disc']

# Target gap across a seam, in H; a smaller gap would cause bleeding when sampled.
SEAM_GAP = 0.01
# Share of the unit square that the chart covers.
COVERAGE = 0.605
MAX_ITERATIONS = 80
# A stage of the solve ends when a step lowers the energy by less than this share.
COARSE, CONVERGED = 1e-3, 1e-4
# Weight of the stress term; a larger weight raises S1 and S2 at the cost of even areas.
STRESS_WEIGHT = 30.0
LINE_SEARCH_STEPS = 30

logger = logging.getLogger(__name__)


def flatten_half(
    half: HalfBody,
    cut: CutHalf,
    stress_weight: float = STRESS_WEIGHT,
    progress: Callable[[str, float], None] | None = None,
) -> np.ndarray:
    """Positions of the cut half's vertices in the plane, by projected Newton steps.

    The first stage minimises without the stress term, the second with it.

    Args:
        half: the half body.
        cut: the half body, cut to a disk.
        stress_weight: weight of the stress term, in areas of the half body; 0 for none.
        progress: called with the name of the stage and the completed fraction in [0, 1].

    Returns:
        (P, 2) metres: x = 0 on the wall and > 0 elsewhere, y up.
    """
    energy = DistortionEnergy(cut.vertices, cut.faces, detail_scales(cut.vertices, cut.faces))
    area = float(energy.areas.sum())
    half_side = np.sqrt(2 * area / COVERAGE) / 2
    terms = [energy, Clearance(cut.vertices, cut.rim, SEAM_GAP * half.height, half_side)]
    positions = tutte_half_disc(cut) * (0.97 * half_side)
    if not np.isfinite(energy.value(positions)):
        raise ValueError(
            'the initial flat half body has flipped triangles; parts of the mesh are '
            'connected to it by a single edge'
        )
    done = 0.0
    for stage, tolerance in (('flattening', COARSE), ('bending', CONVERGED)):
        if stage == 'bending' and stress_weight > 0:
            terms = [*terms, Stress(half, cut, stress_weight * area)]
        for iteration in range(MAX_ITERATIONS):
            positions, value, drop = _newton_step(terms, cut, positions)
            logger.debug('%s %d: energy %.6g', stage, iteration, value)
            if progress:
                progress(stage, done + iteration / MAX_ITERATIONS / 2)
            if drop < tolerance * value:
                break
        done += 0.5
    return positions


def tutte_half_disc(cut: CutHalf) -> np.ndarray:
    """(P, 2) injective initial positions: wall on the y axis, rim on the unit half circle.

    Every inner vertex is at the mean of its neighbours (Tutte 1963).
    """
    size = len(cut.vertices)
    fixed = np.zeros((size, 2))
    fixed[cut.wall, 1] = 1 - 2 * _fractions(cut.vertices[cut.wall])
    angle = np.pi * (_fractions(cut.vertices[cut.rim]) - 0.5)
    fixed[cut.rim[1:-1]] = np.stack([np.cos(angle), np.sin(angle)], axis=1)[1:-1]
    is_inner = np.ones(size, dtype=bool)
    is_inner[cut.wall] = is_inner[cut.rim] = False
    links = neighbour_matrix(cut.faces, size)
    laplacian = sparse.diags(np.asarray(links.sum(axis=1)).ravel()) - links
    inner = np.flatnonzero(is_inner)
    rows = laplacian.tocsr()[inner]
    fixed[inner] = _solve(rows[:, inner].tocsc(), -(rows @ fixed))
    return fixed


def _fractions(points: np.ndarray) -> np.ndarray:
    """(K,) normalised arc length of (K, 3) points of a chain, 0 to 1."""
    along = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    return along / along[-1]


def _solve(matrix: sparse.csc_matrix, right_side: np.ndarray) -> np.ndarray:
    return splu(
        matrix, permc_spec='MMD_AT_PLUS_A', diag_pivot_thresh=0.0, options={'SymmetricMode': True}
    ).solve(right_side)


def _newton_step(
    terms: list, cut: CutHalf, positions: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The next (P, 2) positions, their energy and its decrease."""
    # Wall vertices move along the wall only.
    is_free = np.ones(2 * len(positions), dtype=bool)
    is_free[2 * cut.wall] = False
    gradient, blocks = np.zeros_like(positions), []
    for term in terms:
        term_gradient, term_blocks = term.derivatives(positions)
        gradient += term_gradient
        blocks += term_blocks
    rows = np.concatenate(
        [np.repeat(index, index.shape[1], axis=1).ravel() for index, _ in blocks]
    )
    columns = np.concatenate([np.tile(index, (1, index.shape[1])).ravel() for index, _ in blocks])
    values = np.concatenate([value.ravel() for _, value in blocks])
    order = np.cumsum(is_free) - 1
    keep = is_free[rows] & is_free[columns]
    size = int(is_free.sum())
    matrix = sparse.coo_matrix(
        (values[keep], (order[rows[keep]], order[columns[keep]])), shape=(size, size)
    ).tocsc()
    direction = np.zeros(2 * len(positions))
    direction[is_free] = _solve(matrix, -gradient.ravel()[is_free])
    return _line_search(terms, positions, direction.reshape(-1, 2))


def _line_search(
    terms: list, positions: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Halves the step until it lowers the energy and keeps the map injective."""
    energy, clearance = terms[:2]
    value = sum(term.value(positions) for term in terms)
    step = min(1.0, 0.9 * energy.longest_step(positions, direction))
    for _ in range(LINE_SEARCH_STEPS):
        candidate = positions + step * direction
        new_value = energy.value(candidate)
        if new_value < value:
            new_value = sum(term.value(candidate) for term in terms)
        if new_value < value and clearance.is_simple(candidate):
            return candidate, new_value, value - new_value
        step /= 2
    return positions, value, 0.0
