"""The nearest points of bodies and capsules equal those of a search through all vertices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomr_core.geometry.nearest_points import Capsules, VertexClusters, point_segment_distances

NUM_VERTICES = 600


@pytest.fixture(scope='module')
def template() -> np.ndarray:
    """(V, 3) points on three separate spheres, the parts."""
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(NUM_VERTICES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return (0.2 * directions + np.arange(NUM_VERTICES)[:, None] % 3 * [0, 0.5, 0]).astype(
        np.float32
    )


@pytest.fixture(scope='module')
def clusters(template: np.ndarray) -> VertexClusters:
    """The clusters of the template."""
    return VertexClusters(template, np.arange(NUM_VERTICES) % 3)


def _naive(vertices: np.ndarray, capsules: Capsules) -> np.ndarray:
    """(P, C) distances, by all vertices."""
    distances, _ = point_segment_distances(
        vertices[:, :, None].astype(np.float64), capsules.starts, capsules.ends
    )
    return np.maximum(distances.min(axis=1) - capsules.radii, 0)


def _scene(
    template: np.ndarray, seed: int, num_people: int, num_capsules: int
) -> tuple[np.ndarray, Capsules]:
    """People whose parts move by themselves, and random capsules and spheres."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 1, (num_people, 3, 3))
    vertices = template * rng.uniform(0.8, 1.3, (num_people, 1, 1))
    vertices = (vertices + moves[:, np.arange(NUM_VERTICES) % 3]).astype(np.float32)
    starts = rng.normal(0, 1.5, (num_capsules, 3))
    lengths = rng.choice([0.0, 1e-12, 0.5], (num_capsules, 1))
    return vertices, Capsules(
        starts,
        starts + lengths * rng.normal(size=(num_capsules, 3)),
        rng.choice([0.0, 0.1, 0.6], num_capsules),
    )


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 5))
def test_the_distances_are_those_of_all_vertices(
    template: np.ndarray, clusters: VertexClusters, seed: int, num_people: int, num_capsules: int
) -> None:
    vertices, capsules = _scene(template, seed, num_people, num_capsules)
    found = clusters.nearest(vertices, capsules)
    assert found.distances.shape == found.vertices.shape == (num_people, num_capsules)
    expected = _naive(vertices, capsules) if num_people else np.zeros((0, num_capsules))
    np.testing.assert_allclose(found.distances, expected, atol=1e-5)


@given(st.integers(0, 10**6))
def test_the_points_lie_on_body_and_capsule_at_this_distance(
    template: np.ndarray, clusters: VertexClusters, seed: int
) -> None:
    vertices, capsules = _scene(template, seed, 3, 4)
    found = clusters.nearest(vertices, capsules)
    for person in range(3):
        on_body = vertices[person, found.vertices[person]]
        np.testing.assert_array_equal(found.on_bodies[person], on_body)
    between = np.linalg.norm(found.on_bodies - found.on_robot, axis=2)
    np.testing.assert_allclose(between, found.distances, atol=1e-6)
    from_axis, _ = point_segment_distances(found.on_robot, capsules.starts, capsules.ends)
    assert (from_axis <= capsules.radii + 1e-6).all()


def test_a_vertex_inside_a_capsule_has_the_distance_0(
    template: np.ndarray, clusters: VertexClusters
) -> None:
    inside = Capsules(template[:1], template[:1] + [[0, 0, 0.3]], np.array([0.05]))
    found = clusters.nearest(template[None], inside)
    assert found.distances[0, 0] == 0
    np.testing.assert_array_equal(found.on_robot, found.on_bodies)


def test_a_body_of_one_vertex_has_it_as_the_nearest_point() -> None:
    found = VertexClusters(np.zeros((1, 3)), np.zeros(1, int)).nearest(
        np.ones((1, 1, 3)), Capsules(np.zeros((1, 3)), np.zeros((1, 3)), np.array([1.0]))
    )
    assert found.vertices == [[0]]
    assert found.distances == pytest.approx(np.sqrt(3) - 1)


@pytest.mark.parametrize(
    ('starts', 'radii', 'problem'),
    [
        (np.zeros((2, 3)), np.zeros(1), 'radii'),
        (np.zeros((1, 2)), np.zeros(1), 'starts'),
        (np.full((1, 3), np.nan), np.zeros(1), 'starts'),
        (np.zeros((1, 3)), np.array([np.inf]), 'radii'),
        (np.zeros((1, 3)), np.array([-0.1]), 'negative'),
    ],
)
def test_invalid_capsules_are_rejected(
    starts: np.ndarray, radii: np.ndarray, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Capsules(starts, np.zeros((len(starts), 3)), radii)


def test_bodies_of_another_topology_are_rejected(clusters: VertexClusters) -> None:
    with pytest.raises(ValueError, match='vertices'):
        clusters.nearest(np.zeros((1, 5, 3)), Capsules(*np.zeros((2, 1, 3)), np.zeros(1)))
    with pytest.raises(ValueError, match='no nearest point'):
        VertexClusters(np.zeros((0, 3)), np.zeros(0, int))
