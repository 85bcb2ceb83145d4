"""The nearest points of bodies and robot parts, compared with a search through all vertices."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from decomr_core.geometry.nearest_points import RoundedBoxes, SurfaceSearch

NUM_VERTICES = 900
RADIUS_M = 0.3
ERROR_M = 0.02
"""Largest error of the search on two spheres whose vertices are 4 cm apart."""


def _sphere(num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and outward faces of a sphere with evenly spread vertices."""
    height = 1 - (2 * np.arange(num_vertices) + 1) / num_vertices
    angle = np.pi * (3 - 5**0.5) * np.arange(num_vertices)
    flat = np.sqrt(1 - height**2)
    points = RADIUS_M * np.stack([flat * np.cos(angle), height, flat * np.sin(angle)], axis=1)
    faces = ConvexHull(points).simplices
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    is_inward = np.einsum('fi,fi->f', normals, corners.mean(1)) < 0
    faces[is_inward] = faces[is_inward][:, ::-1]
    return points, faces


@pytest.fixture(scope='module')
def template() -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a body of two spheres above each other."""
    points, faces = _sphere(NUM_VERTICES // 2)
    return np.concatenate([points, points + [0, 0.8, 0]]), np.concatenate(
        [faces, faces + len(points)]
    )


@pytest.fixture(scope='module')
def search(template: tuple[np.ndarray, np.ndarray]) -> SurfaceSearch:
    return SurfaceSearch(*template)


def _scene(
    template: tuple[np.ndarray, np.ndarray], seed: int, num_people: int, num_boxes: int
) -> tuple[np.ndarray, RoundedBoxes]:
    """People whose spheres move by themselves, and random spheres, capsules and boxes."""
    rng = np.random.default_rng(seed)
    vertices = np.repeat(template[0][None], num_people, axis=0)
    vertices = vertices + rng.normal(0, 1, (num_people, 1, 3))
    vertices[:, NUM_VERTICES // 2 :] += rng.normal(0, 0.3, (num_people, 1, 3))
    rotations = np.array([cv2.Rodrigues(rng.normal(size=3))[0] for _ in range(num_boxes)])
    return vertices.astype(np.float32), RoundedBoxes(
        rng.normal(0, 1.5, (num_boxes, 3)),
        rotations.reshape(-1, 3, 3),
        rng.choice([0.0, 0.05, 0.4], (num_boxes, 3)),
        rng.choice([0.0, 0.1, 0.6], num_boxes),
    )


def _exact(vertices: np.ndarray, boxes: RoundedBoxes) -> np.ndarray:
    """(P, N) distances from the cores of the boxes, by all vertices."""
    points = np.repeat(vertices[:, :, None].astype(np.float64), len(boxes), axis=2)
    return np.linalg.norm(points - boxes.core_points(points), axis=-1).min(axis=1)


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 5))
def test_the_distances_are_nearly_those_of_all_vertices(
    template: tuple[np.ndarray, np.ndarray],
    search: SurfaceSearch,
    seed: int,
    num_people: int,
    num_boxes: int,
) -> None:
    vertices, boxes = _scene(template, seed, num_people, num_boxes)
    found = search.nearest(vertices, boxes)
    assert found.distances.shape == found.vertices.shape == (num_people, num_boxes)
    if not (num_people and num_boxes):
        return
    from_cores = np.linalg.norm(found.on_bodies - boxes.core_points(found.on_bodies), axis=2)
    errors = from_cores - _exact(vertices, boxes)
    assert (errors > -1e-5).all() and (errors < ERROR_M).all()
    is_apart = found.distances > 0
    np.testing.assert_allclose(
        found.distances[is_apart], (from_cores - boxes.radii)[is_apart], atol=1e-6
    )


@given(st.integers(0, 10**6))
def test_the_points_lie_on_body_and_box_at_this_distance(
    template: tuple[np.ndarray, np.ndarray], search: SurfaceSearch, seed: int
) -> None:
    vertices, boxes = _scene(template, seed, 3, 4)
    found = search.nearest(vertices, boxes)
    for person in range(3):
        on_body = vertices[person, found.vertices[person]]
        np.testing.assert_array_equal(found.on_bodies[person], on_body)
    between = np.linalg.norm(found.on_bodies - found.on_robot, axis=2)
    np.testing.assert_allclose(between, found.distances, atol=1e-6)
    from_cores = np.linalg.norm(found.on_robot - boxes.core_points(found.on_robot), axis=2)
    is_apart = found.distances > 0
    np.testing.assert_allclose(
        from_cores[is_apart], np.broadcast_to(boxes.radii, (3, 4))[is_apart], atol=1e-6
    )


def test_a_part_inside_a_body_has_the_distance_0(
    template: tuple[np.ndarray, np.ndarray], search: SurfaceSearch
) -> None:
    """The nearest vertex is 15 cm from the centre of the small sphere, but around it."""
    small = RoundedBoxes.capsules(
        np.array([[0.15, 0, 0]]), np.array([[0.15, 0, 0]]), np.array([0.03])
    )
    found = search.nearest(template[0][None], small)
    assert found.distances[0, 0] == 0
    np.testing.assert_array_equal(found.on_robot, found.on_bodies)


@given(st.floats(0.31, 3), st.integers(0, 10**6))
def test_a_part_outside_a_body_is_never_taken_for_one_inside(
    template: tuple[np.ndarray, np.ndarray], search: SurfaceSearch, distance_m: float, seed: int
) -> None:
    direction = np.random.default_rng(seed).normal(size=3)
    direction[1] = -abs(direction[1])  # away from the other sphere
    center = direction / np.linalg.norm(direction) * (distance_m + 0.01)
    found = search.nearest(
        template[0][None], RoundedBoxes.capsules(center[None], center[None], np.array([0.005]))
    )
    assert found.distances[0, 0] == pytest.approx(distance_m + 0.005 - RADIUS_M, abs=ERROR_M)
    assert found.distances[0, 0] > 0


@given(st.integers(0, 10**6))
def test_moved_boxes_have_the_distances_of_bodies_that_move_the_other_way(
    template: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    _, boxes = _scene(template, seed, 1, 3)
    transform = np.eye(4)
    transform[:3, :3] = cv2.Rodrigues(rng.normal(size=3))[0]
    transform[:3, 3] = rng.normal(size=3)
    points = rng.normal(size=(3, 3))
    moved_points = points @ transform[:3, :3].T + transform[:3, 3]
    np.testing.assert_allclose(
        np.linalg.norm(moved_points - boxes.moved(transform).core_points(moved_points), axis=1),
        np.linalg.norm(points - boxes.core_points(points), axis=1),
        atol=1e-9,
    )


def test_a_capsule_is_the_set_of_points_near_its_segment() -> None:
    starts, ends = np.array([[0, 0, 0], [1.0, 2, 3]]), np.array([[0, 2.0, 0], [1, 2, 3]])
    capsules = RoundedBoxes.capsules(starts, ends, np.array([0.1, 0.2]))
    points = np.array([[0.5, 1, 0], [1, 2, 4.0]])
    np.testing.assert_allclose(capsules.core_points(points), [[0, 1, 0], [1, 2, 3]], atol=1e-12)
    assert len(RoundedBoxes.joined([capsules, capsules])) == 4
    assert len(RoundedBoxes.joined([])) == 0


def test_a_body_of_one_vertex_has_it_as_the_nearest_point() -> None:
    found = SurfaceSearch(np.zeros((1, 3)), np.zeros((0, 3), int)).nearest(
        np.ones((1, 1, 3)),
        RoundedBoxes.capsules(np.zeros((1, 3)), np.zeros((1, 3)), np.array([1.0])),
    )
    assert found.vertices == [[0]]
    assert found.distances == pytest.approx(np.sqrt(3) - 1)


@pytest.mark.parametrize(
    ('starts', 'radii', 'problem'),
    [
        (np.zeros((2, 3)), np.zeros(1), 'centers'),
        (np.zeros((1, 2)), np.zeros(1), 'starts'),
        (np.full((1, 3), np.nan), np.zeros(1), 'centers'),
        (np.zeros((1, 3)), np.array([np.inf]), 'radii'),
        (np.zeros((1, 3)), np.array([-0.1]), 'negative'),
    ],
)
def test_invalid_capsules_are_rejected(
    starts: np.ndarray, radii: np.ndarray, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        RoundedBoxes.capsules(starts, np.zeros((len(starts), 3)), radii)


def test_bodies_of_another_topology_are_rejected(search: SurfaceSearch) -> None:
    nothing = RoundedBoxes.joined([])
    with pytest.raises(ValueError, match='vertices'):
        search.nearest(np.zeros((1, 5, 3)), nothing)
    with pytest.raises(ValueError, match='no nearest point'):
        SurfaceSearch(np.zeros((0, 3)), np.zeros((0, 3), int))
