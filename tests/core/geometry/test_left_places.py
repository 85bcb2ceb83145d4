"""Rays through places that people have left: never through a person."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.geometry import left_places
from decomr_core.geometry.left_places import CLEARED_S, REMEMBERED_S, LeftPlaces
from decomr_core.geometry.obstacles import BodyRegion, Padding, body_region, obstacle_points
from decomr_core.geometry.seen_rays import SeenRays, cell_shape, cell_side

WIDTH, HEIGHT = 640, 480
K = np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])
CELL_M = 0.05
STILL = np.eye(4)
NO_MASK = np.zeros(cell_shape(WIDTH, HEIGHT), bool)
Place = tuple[float, float, float]


def _region(place: Place) -> BodyRegion:
    """A body like a pillar, 0.4 m wide and 1.2 m high."""
    rng = np.random.default_rng(1)
    vertices = np.asarray(place) + rng.uniform((-0.2, -0.6, -0.1), (0.2, 0.6, 0.1), (300, 3))
    ray = np.asarray(place) / np.linalg.norm(place)
    padding = Padding(0.15, 0.1)
    return body_region(vertices, np.ones(300, bool), ray, padding, padding)


class _Scene:
    """A camera whose images follow each other by 0.1 s."""

    def __init__(self) -> None:
        self.left, self.time_s = LeftPlaces(), 0.0

    def see(
        self,
        *places: Place,
        camera: np.ndarray = STILL,
        mask: np.ndarray = NO_MASK,
        measured_m: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """The rays of an image with people at these places."""
        self.regions = [_region(place) for place in places]
        self.points, spacings_m = obstacle_points(self.regions, CELL_M, 50_000)
        rays = SeenRays.of_people(
            K, WIDTH, HEIGHT, self.points, spacings_m, [mask] * len(self.regions)
        )
        self.time_s += 0.1
        everything = np.concatenate([np.zeros((0, 3), np.float32), *self.points])
        return self.left.update(self.regions, everything, rays, camera, self.time_s, measured_m)


def _goes_through(ends: np.ndarray, regions: list[BodyRegion]) -> bool:
    """Whether a ray from the camera to one of its ends meets a region."""
    on_rays = _on_rays(ends[::4])
    return any(region.contains(on_rays).any() for region in regions)


def _floor_cells(points: np.ndarray) -> np.ndarray:
    """The cells of 5 cm of a map on the floor that contain points (N, 3), as sorted numbers."""
    columns, rows = np.floor(points[:, ::2] / CELL_M).astype(np.int64).T
    return np.unique(columns * 100_000 + rows)


def _on_rays(ends: np.ndarray) -> np.ndarray:
    """Points on the rays from the camera to these ends, (N, 3)."""
    return (np.linspace(0, 1, 200)[:, None, None] * ends).reshape(-1, 3)


def _share_cleared(ends: np.ndarray, points: np.ndarray) -> float:
    """Share of the cells with points through which rays from the camera pass."""
    return float(np.isin(_floor_cells(points), _floor_cells(_on_rays(ends))).mean())


@pytest.fixture
def scene() -> _Scene:
    return _Scene()


def test_the_place_of_a_person_who_leaves_is_cleared_and_then_forgotten(scene: _Scene) -> None:
    assert len(scene.see((0, 0, 3))) == 0
    (before,) = scene.points
    ends = scene.see()
    assert _share_cleared(ends, before) == 1
    count = 0
    while len(scene.see()):
        count += 1
    assert count == pytest.approx(CLEARED_S / 0.1, abs=1)
    assert len(scene.left) == 0


def test_a_person_who_stays_is_not_cleared(scene: _Scene) -> None:
    for _ in range(5):
        assert len(scene.see((0.3, 0.1, 3))) == 0


def test_a_person_in_front_of_the_place_hides_it(scene: _Scene) -> None:
    scene.see((0, 0, 4))
    ends = scene.see((0, 0, 2))
    assert not _goes_through(ends, scene.regions)
    # The nearer person covers twice the width: nothing behind can be seen.
    assert len(ends) == 0
    assert len(scene.left) > 0, 'remembered for when the person steps aside'
    (hidden,) = obstacle_points([_region((0, 0, 4))], CELL_M, 50_000)[0]
    scene.see((1.2, 0, 2))
    assert _share_cleared(scene.see((1.2, 0, 2)), hidden) > 0.95


def test_a_person_who_walks_away_from_the_camera_leaves_no_trail(scene: _Scene) -> None:
    scene.see((0, 0, 2))
    (before,) = scene.points
    ends = scene.see((0, 0, 3))
    assert not _goes_through(ends, scene.regions)
    assert _share_cleared(ends, before) > 0.95


@pytest.mark.parametrize(('seed', 'step_m'), [(0, 0.3), (1, 0.03), (6, 0.01)])
def test_a_map_that_clears_and_marks_is_empty_when_everybody_has_left(
    scene: _Scene, seed: int, step_m: float
) -> None:
    rng, marked = np.random.default_rng(seed), np.zeros(0, np.int64)
    place = np.array([0, 0, 3.0])
    for step in range(40):
        people = [tuple(place)] if step < 28 else []
        free = _floor_cells(_on_rays(scene.see(*people)))
        marked = np.setdiff1d(marked, free)  # as nav2: first all rays, then all obstacles
        present = _floor_cells(np.concatenate([np.zeros((0, 3)), *scene.points]))
        marked = np.union1d(marked, present)
        turn = rng.uniform(0, 2 * np.pi)
        place += step_m * np.array([np.cos(turn), 0, np.sin(turn)])
        place = np.clip(place, (-0.8, 0, 2), (0.8, 0, 4))
    assert marked.size == 0


def test_no_ray_goes_through_the_cells_that_show_a_person(scene: _Scene) -> None:
    scene.see((0, 0, 4))
    mask = np.ones_like(NO_MASK)
    assert len(scene.see((1.5, 0, 2), mask=mask)) == 0, 'the person may fill the whole image'


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_ray_goes_through_a_present_person(seed: int) -> None:
    scene, rng = _Scene(), np.random.default_rng(seed)
    places = rng.uniform((-1.5, -0.4, 1), (1.5, 0.4, 5), (3, 3))
    for _ in range(4):
        ends = scene.see(*map(tuple, places))
        assert np.isfinite(ends).all()
        assert not _goes_through(ends, scene.regions)
        places += rng.normal(0, (0.4, 0, 0.4), (3, 3))
        places[:, 2] = np.maximum(places[:, 2], 0.7)


def test_a_place_outside_the_image_waits_until_the_camera_sees_it(scene: _Scene) -> None:
    scene.see((0, 0, 3))
    turned = np.eye(4)
    turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # to the right
    for _ in range(20):
        assert len(scene.see(camera=turned)) == 0
    assert len(scene.see()) > 0
    scene.see((0, 0, 3))
    scene.see(camera=turned)
    scene.time_s += REMEMBERED_S
    scene.see(camera=turned)
    assert len(scene.left) == 0


def test_the_rays_of_a_moving_camera_end_behind_the_places_in_the_fixed_frame(
    scene: _Scene,
) -> None:
    scene.see((0, 0, 3))
    moved = np.eye(4)
    moved[2, 3] = 1.0
    ends = scene.see(camera=moved)
    assert 2.0 < ends[:, 2].max() < 2.7
    assert _share_cleared(ends + np.float32([0, 0, 1]), _points_at((0, 0, 3))) > 0.9


def test_a_ray_ends_before_the_surface_that_the_depth_camera_measures(scene: _Scene) -> None:
    def wall(at_m: float) -> Callable[[np.ndarray], np.ndarray]:
        """A depth image with a wall at this distance."""
        return lambda image_xy: np.full(len(image_xy), at_m)

    scene.see((0, 0, 3))
    assert len(scene.see(measured_m=wall(2.0))) == 0, 'hidden by something at 2 m'
    assert scene.see(measured_m=wall(3.0))[:, 2].max() < 3.0, 'something is at the place'
    assert scene.see(measured_m=wall(9.0))[:, 2].max() > 3.3
    assert scene.see(measured_m=wall(np.nan))[:, 2].max() > 3.3, 'seen by the colour camera'


def test_the_number_of_places_and_rays_is_limited(
    scene: _Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_places, 'MOST_PLACES', 3000)
    for x in np.linspace(-3, 3, 30):
        ends = scene.see((float(x), 0, 5), (0.0, 0.0, 1.5))
        assert len(ends) <= NO_MASK.size
        assert len(scene.left) <= 3000


def test_many_hidden_places_are_thinned_before_the_oldest_are_forgotten(
    scene: _Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_places, 'MOST_PLACES', 3500)
    rng = np.random.default_rng(0)
    scene.see((-0.35, 0, 5), (0, 0, 1.5))
    oldest = scene.points[0]
    for _ in range(40):  # somebody sways behind the person in front
        sway = rng.normal(0, 0.05, 2)
        scene.see((0.5 + sway[0], 0, 5 + sway[1]), (0, 0, 1.5))
    assert 1500 < len(scene.left) <= 3500
    assert _share_cleared(scene.see(), oldest) == 1


def test_a_person_at_the_camera_hides_everything(scene: _Scene) -> None:
    scene.see((0, 0, 3))
    assert len(scene.see((0.5, 0, 0.1))) == 0


def test_cells_cover_the_image_and_nothing_else() -> None:
    rays = SeenRays(K, WIDTH, HEIGHT, np.full(cell_shape(WIDTH, HEIGHT), np.inf, np.float32))
    pixels = np.array([(0, 0), (639, 479), (-1, 0), (640, 0), (0, 480), (320, 240)], float)
    points = np.append((pixels - K[:2, 2]) / 500, np.ones((6, 1)), axis=1) * 2
    side = cell_side(WIDTH)
    columns = WIDTH // side
    assert rays.cells_of(points)[0].tolist() == [
        0,
        HEIGHT // side * columns - 1,
        -1,
        -1,
        -1,
        240 // side * columns + 320 // side,
    ]
    assert rays.cells_of(-points)[0].max() == -1, 'behind the camera'


def _points_at(place: Place) -> np.ndarray:
    return obstacle_points([_region(place)], CELL_M, 50_000)[0][0]
