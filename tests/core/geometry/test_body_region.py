"""The region of a body, and the points that fill it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.body_models import BodyModel
from decomr_core.geometry.obstacles import BodyRegion, Padding, body_region, obstacle_points

CELL_M = 0.05
HALF_TURN = np.array([1, -1, -1])


def _random_region(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Padding]]:
    """Vertices, visibility, ray and the two paddings of a person-sized cloud."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform((-2, -1, 0.8), (2, 1, 6))
    vertices = (middle + rng.normal(0, (0.2, 0.5, 0.15), (60, 3))).astype(np.float32)
    paddings = [Padding(*rng.uniform(0.02, 0.6, 2)) for _ in range(2)]
    return vertices, rng.random(60) < 0.5, middle / np.linalg.norm(middle), paddings


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_place_within_the_padding_of_a_vertex_is_inside(seed: int) -> None:
    vertices, is_visible, ray, paddings = _random_region(seed)
    region = body_region(vertices, is_visible, ray, *paddings)
    rng = np.random.default_rng(seed)
    across = rng.normal(size=(len(vertices), 3))
    across -= (across @ ray)[:, None] * ray
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    for mask, padding in zip((is_visible, ~is_visible), paddings, strict=True):
        moved = (
            vertices[mask]
            + padding.across_m * rng.random((mask.sum(), 1)) ** 0.2 * across[mask]
            + padding.along_m * rng.uniform(-1, 1, (mask.sum(), 1)) * ray
        )
        assert region.contains(moved).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_places_far_from_all_vertices_are_outside(seed: int) -> None:
    vertices, is_visible, ray, paddings = _random_region(seed)
    region = body_region(vertices, is_visible, ray, *paddings)
    along = vertices @ ray
    end_m = max(padding.along_m for padding in paddings) + 0.01
    assert not region.contains(vertices + (along.max() - along + end_m)[:, None] * ray).any()
    assert not region.contains(vertices + (along.min() - along - end_m)[:, None] * ray).any()
    side = np.cross(ray, (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side)
    reach = vertices @ side
    # The columns may add the diagonal of two of them.
    beside_m = max(padding.across_m for padding in paddings) + 0.08
    assert not region.contains(vertices + (reach.max() - reach + beside_m)[:, None] * side).any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.07, 0.1]))
def test_every_ball_inside_the_region_contains_a_point(seed: int, cell_m: float) -> None:
    vertices, is_visible, ray, _ = _random_region(seed)
    region = body_region(vertices, is_visible, ray, Padding(0.4, 0.2), Padding(0.5, 0.3))
    points = region.points(cell_m)
    assert region.contains(points).mean() > 0.99  # but for rounding at the borders
    rng = np.random.default_rng(seed)
    centers = vertices[::6] + rng.uniform(-0.1, 0.1, (10, 3))
    gaps = np.linalg.norm(points[None] - centers[:, None], axis=2).min(1)
    assert gaps.max() <= cell_m / 2 + 1e-4


def test_a_column_is_filled_from_front_to_back_and_not_beyond() -> None:
    vertices = np.array([[0, 0, 2], [0, 0, 2.6]], np.float32)
    ray, is_visible = np.array([0, 0, 1.0]), np.array([True, False])
    region = body_region(vertices, is_visible, ray, Padding(0.1, 0.1), Padding(0.2, 0.1))
    inside = np.array([[0, 0, z] for z in (1.91, 2.3, 2.79)])
    outside = np.array([[0, 0, z] for z in (1.89, 2.81)])
    assert region.contains(inside).all() and not region.contains(outside).any()


def test_points_are_limited_by_larger_cells(tiny_body: BodyModel) -> None:
    vertices = (tiny_body.data.v_template * HALF_TURN + (0, 0, 3)).astype(np.float32)
    regions = [
        body_region(
            vertices + np.float32(x),
            np.ones(len(vertices), bool),
            np.array([0, 0, 1.0]),
            Padding(0.7, 0.2),
            Padding(0.7, 0.2),
        )
        for x in (-1, 1)
    ]
    alone, cells_m = obstacle_points(regions[:1], CELL_M, 10**6)
    assert cells_m == [CELL_M] and np.array_equal(alone[0], regions[0].points(CELL_M))
    few, cells_m = obstacle_points(regions, CELL_M, 2000)
    assert 1500 < sum(map(len, few)) <= 2000
    assert all(CELL_M < cell_m < 0.5 for cell_m in cells_m)
    assert obstacle_points([], CELL_M, 100) == ([], [])


def test_a_large_region_does_not_thin_out_a_small_one(tiny_body: BodyModel) -> None:
    vertices = (tiny_body.data.v_template * HALF_TURN).astype(np.float32)
    small, large = (
        body_region(
            vertices + np.float32([0, 0, distance_m]),
            np.ones(len(vertices), bool),
            np.array([0, 0, 1.0]),
            padding,
            padding,
        )
        for distance_m, padding in ((2.0, Padding(0.3, 0.1)), (80.0, Padding(100.0, 1.0)))
    )
    points, (large_m, small_m) = obstacle_points([large, small], CELL_M, 90_000)
    assert small_m == CELL_M and np.array_equal(points[1], small.points(CELL_M))
    assert large_m > 0.2
    assert 75_000 < sum(map(len, points)) <= 90_000


@pytest.mark.parametrize(('size_m', 'across_m'), [(1.0, 40.0), (2000.0, 0.3), (2000.0, 300.0)])
def test_a_region_without_reasonable_size_takes_no_more_memory(
    size_m: float, across_m: float
) -> None:
    rng = np.random.default_rng(0)
    vertices = (rng.uniform(-size_m, size_m, (300, 3)) + (0, 0, 500)).astype(np.float32)
    padding = Padding(20.0, across_m)
    region = body_region(vertices, rng.random(300) < 0.5, np.array([0, 0, 1.0]), padding, padding)
    assert region.near.size < 300**2
    assert region.contains(vertices).all()
    points, (cell_m,) = obstacle_points([region], CELL_M, 50_000)
    assert 0 < len(points[0]) <= 50_000 and cell_m > CELL_M


def test_the_number_of_points_follows_from_the_volume() -> None:
    region = BodyRegion(
        np.eye(3), np.zeros(2), np.zeros((40, 40), np.float32), np.ones((40, 40), np.float32)
    )
    assert region.volume_m3() == pytest.approx(1.0)
    step = 2 * CELL_M / math.sqrt(5)
    assert len(region.points(CELL_M)) == pytest.approx(2 / step**3, rel=0.08)


@pytest.mark.parametrize(
    ('vertices', 'visible', 'said'),
    [((0, 3), (0,), 'at least one vertex'), ((4, 2), (4,), 'vertices'), ((4, 3), (3,), 'is_vis')],
)
def test_wrong_input_is_refused(
    vertices: tuple[int, ...], visible: tuple[int, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        body_region(
            np.zeros(vertices),
            np.zeros(visible, bool),
            np.array([0, 0, 1.0]),
            Padding(0.1, 0.1),
            Padding(0.1, 0.1),
        )
    with pytest.raises(ValueError, match='most is 0'):
        obstacle_points([], CELL_M, 0)
