from __future__ import annotations

import numpy as np
import pytest
from fake_people import fitted_weak_camera
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.geometry.camera import (
    body_translations,
    check_intrinsics,
    fitted_translation,
    flat_translation,
    intrinsics_from_fov,
    project_perspective,
    project_weak_perspective,
    root_translation,
    weak_perspective_box,
)
from decomr_core.geometry.crop import image_from_crop_xy, square_crops

INTRINSICS = intrinsics_from_fov(1280, 720, 70)
PLACES = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), st.floats(1.2, 12))


def person(seed: int = 0) -> np.ndarray:
    """24 joints (24, 3) with the spread of a person's, root frame."""
    return np.random.default_rng(seed).normal(size=(24, 3)) * (0.2, 0.42, 0.15)


@given(PLACES)
def test_a_flat_person_is_located_exactly(place: tuple[float, float, float]) -> None:
    translation = np.array([place[0] * place[2], place[1] * place[2], place[2]])
    flat = person() * (1, 1, 0)
    box, weak = fitted_weak_camera(flat, translation, INTRINSICS)
    centers, sides = square_crops(box[None])
    found = flat_translation(weak, centers[0], sides[0], INTRINSICS)
    assert np.allclose(found, translation, atol=1e-3 * place[2])


@given(
    st.floats(0.05, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(-500, 2000),
    st.floats(2, 3000),
)
def test_the_box_around_points_is_that_of_their_images(
    scale: float, x: float, y: float, middle: float, side: float
) -> None:
    weak, center = np.array([scale, x, y], np.float32), np.array([middle, -middle], np.float32)
    image_xy = project_weak_perspective(person(), weak, center, side)
    box = weak_perspective_box(np.ascontiguousarray(person().T), weak, center, side)
    assert np.allclose(box, [*image_xy.min(0), *image_xy.max(0)], atol=1e-3 * side)


@settings(deadline=None)
@given(PLACES, st.integers(0, 20))
def test_least_squares_finds_a_near_person_within_five_centimetres(
    place: tuple[float, float, float], seed: int
) -> None:
    translation = np.array([place[0] * place[2], place[1] * place[2], place[2]])
    joints = person(seed)
    box, weak = fitted_weak_camera(joints, translation, INTRINSICS)
    centers, sides = square_crops(box[None])
    found = root_translation(joints, weak, centers[0], float(sides[0]), INTRINSICS)
    assert np.abs(found - translation).max() < 0.05 + 0.01 * place[2]


def test_least_squares_halves_the_error_of_the_closed_form_for_near_people() -> None:
    translation = np.array([0.5, -0.2, 1.8])
    errors = []
    for seed in range(30):
        joints = person(seed)
        box, weak = fitted_weak_camera(joints, translation, INTRINSICS)
        centers, sides = square_crops(box[None])
        crop = weak, centers[0], float(sides[0]), INTRINSICS
        errors.append(
            [
                np.linalg.norm(found - translation)
                for found in (root_translation(joints, *crop), flat_translation(*crop))
            ]
        )
    fitted, flat = np.mean(errors, axis=0)
    assert fitted < 0.5 * flat


@given(
    st.tuples(st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), st.floats(1.0, 12)), st.integers(0, 20)
)
def test_a_mesh_in_perspective_is_located_exactly(
    place: tuple[float, float, float], seed: int
) -> None:
    translation = np.array([place[0] * place[2], place[1] * place[2], place[2]])
    points, weights = person(seed), np.random.default_rng(seed).uniform(0.1, 2, 24)
    image_xy = project_perspective(points + translation, INTRINSICS)
    for some in (None, weights):
        found = fitted_translation(points, image_xy, INTRINSICS, some)
        assert np.allclose(found, translation, atol=1e-6 * place[2])


def test_weights_count_points_several_times() -> None:
    joints, weak, center = person(3), np.array([0.8, 0.1, -0.2]), np.array([300.0, 250.0])
    thrice = np.concatenate([joints, joints[:5], joints[:5]])
    weights = np.where(np.arange(24) < 5, 3, 1)
    assert np.allclose(
        root_translation(joints, weak, center, 400.0, INTRINSICS, weights),
        root_translation(thrice, weak, center, 400.0, INTRINSICS),
    )


def test_bodies_are_placed_by_their_surface_as_by_their_joints() -> None:
    """Near people whose raised hand has most of the vertices."""
    bodies = np.stack([person(seed) for seed in range(3)])
    hand = bodies[:, :1] + np.random.default_rng(1).normal(size=(3, 2000, 3)) * 0.03
    vertices = np.concatenate([np.repeat(bodies, 20, axis=1), hand], axis=1)
    weak = np.array([[0.8, 0.1, -0.2], [0.6, 0.0, 0.1], [0.9, -0.3, 0.2]], np.float32)
    centers, sides = np.array([[300.0, 250], [900, 300], [640, 360]]), np.array([700.0, 300, 500])
    crop = weak, centers, sides, INTRINSICS
    found = body_translations(vertices, bodies, *crop)
    errors = []
    for index in range(3):
        one = [value[index : index + 1] for value in (vertices, bodies, *crop[:3])]
        assert np.allclose(body_translations(*one, INTRINSICS)[0], found[index])
        crop_of_one = weak[index], centers[index], sides[index]
        by_joints = root_translation(bodies[index], *crop_of_one, INTRINSICS)
        images = project_weak_perspective(vertices[index], *crop_of_one)
        errors.append(
            [
                np.linalg.norm(
                    project_perspective(vertices[index] + root, INTRINSICS) - images, axis=1
                ).mean()
                for root in (found[index], by_joints)
            ]
        )
    assert (np.array(errors) @ [1, -1] < 0).all(), 'the surface is shown nearer to its place'


def test_only_people_without_a_solution_get_the_closed_form() -> None:
    joints = np.stack([person(3), np.zeros((24, 3)) + 0.1])
    weak, centers = np.tile([0.8, 0.1, -0.2], (2, 1)), np.tile([300.0, 250.0], (2, 1))
    found = root_translation(joints, weak, centers, np.full(2, 400.0), INTRINSICS)
    flat = flat_translation(weak, centers, np.full(2, 400.0), INTRINSICS)
    assert np.array_equal(found[1], flat[1]) and not np.allclose(found[0], flat[0])
    assert np.allclose(
        found[0], root_translation(joints[0], weak[0], centers[0], 400.0, INTRINSICS)
    )


@given(st.integers(0, 50), st.floats(0.01, 5), st.floats(0.01, 4), st.floats(1, 3000))
def test_a_root_is_always_finite_and_all_points_are_before_the_camera_or_it_is_flat(
    seed: int, scale: float, size: float, side: float
) -> None:
    points = (person(seed) * size).astype(np.float32)
    crop = np.array([scale, 0.2, -0.1], np.float32), np.array([900.0, 90.0]), side, INTRINSICS
    found = root_translation(points, *crop)
    assert np.isfinite(found).all() and found[2] > 0
    assert found[2] + points[:, 2].min() > 0 or np.array_equal(found, flat_translation(*crop))


def test_fast_least_squares_equals_the_general_solver() -> None:
    joints, weak, center = person(3), np.array([0.8, 0.1, -0.2]), np.array([300.0, 250.0])
    found = root_translation(joints, weak, center, 400.0, INTRINSICS)
    image_xy = project_weak_perspective(joints, weak, center, 400.0)
    rays = (image_xy - INTRINSICS[:2, 2]) / INTRINSICS[0, 0]
    rows = [np.concatenate([np.eye(2)[axis], [-ray[axis]]]) for ray in rays for axis in range(2)]
    wanted = [
        ray[axis] * joint[2] - joint[axis]
        for ray, joint in zip(rays, joints, strict=True)
        for axis in range(2)
    ]
    assert np.allclose(found, np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0])


def test_joints_in_one_point_fall_back_to_the_closed_form() -> None:
    weak, center = np.array([0.8, 0.1, -0.2]), np.array([300.0, 250.0])
    joints = np.zeros((24, 3))
    assert np.array_equal(
        root_translation(joints, weak, center, 400.0, INTRINSICS),
        flat_translation(weak, center, 400.0, INTRINSICS),
    )


def test_a_solution_that_puts_some_joints_behind_the_camera_is_not_taken() -> None:
    weak, center = np.array([0.8, 0.1, -0.2]), np.array([300.0, 250.0])
    for deep, is_taken in ((4.0, True), (8.0, False)):  # 8: from -0.5 to 4.4 m before the camera
        joints = person(3) * (1, 1, deep)
        found = root_translation(joints, weak, center, 1200.0, INTRINSICS)
        flat = flat_translation(weak, center, 1200.0, INTRINSICS)
        assert np.array_equal(found, flat) != is_taken


def test_the_centre_of_the_crop_is_the_centre_of_the_weak_picture() -> None:
    at_root = project_weak_perspective(
        np.zeros((1, 3)), np.array([0.7, 0.0, 0.0]), np.array([40.0, 30.0]), 90.0
    )
    assert np.allclose(at_root, [[40, 30]])
    edge = project_weak_perspective(
        np.array([[1.0, 0, 5]]), np.array([1.0, 0, 0]), np.array([40.0, 30.0]), 90.0
    )
    assert np.allclose(
        edge, image_from_crop_xy(np.array([[1.0, 0]]), np.array([40.0, 30.0]), 90.0)
    )


@pytest.mark.parametrize('scale', [0.0, -0.5, np.nan])
def test_a_scale_that_is_not_positive_is_rejected(scale: float) -> None:
    with pytest.raises(ValueError, match='above 0'):
        flat_translation(np.array([scale, 0, 0]), np.zeros(2), 100.0, INTRINSICS)


def test_a_zero_camera_matrix_gives_none() -> None:
    assert check_intrinsics(None) is None
    assert check_intrinsics(np.zeros((3, 3))) is None
    assert check_intrinsics(INTRINSICS).dtype == np.float64


@pytest.mark.parametrize(
    'matrix',
    [
        np.diag([500.0, 0, 1]),
        np.diag([-5.0, 5, 1]),
        np.diag([np.nan, 5, 1]),
        np.zeros((3, 4)),
        np.diag([5, 1e300, 1]),
        np.diag([5, 1e-300, 1]),
        np.array([[5, 0, 1e300], [0, 5, 0], [0, 0, 1]]),
    ],
)
def test_an_invalid_camera_matrix_is_rejected(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match='intrinsics'):
        check_intrinsics(matrix)


def test_the_field_of_view_spans_the_image() -> None:
    matrix = intrinsics_from_fov(640, 480, 90)
    assert matrix[0, 0] == pytest.approx(320)
    assert matrix[:2, 2].tolist() == [319.5, 239.5]
    with pytest.raises(ValueError, match='field of view'):
        intrinsics_from_fov(640, 480, 180)
