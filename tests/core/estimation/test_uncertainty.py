from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomr_core.base.structures import HumanMesh
from decomr_core.estimation.uncertainty import (
    PositionUncertainty,
    doubt_and_cut,
    position_uncertainty,
)
from tests.core.estimation.test_iuv_agreement import board, person

IMAGE = 640, 480
PLACE = 0.3, -0.2, 4.0
RAY = np.array(PLACE) / np.linalg.norm(PLACE)
ACROSS = np.cross(RAY, [0.0, 1.0, 0.0]) / np.linalg.norm(np.cross(RAY, [0.0, 1.0, 0.0]))


def estimated(measured: bool = False, change: float = 0.0, right: float = 0.3) -> HumanMesh:
    """A mesh 4 m away over a person from -0.3 to 0.3; `right` is the right edge of the mesh."""
    mesh = board(person(-0.3, 0.3), -0.3, right, translation=PLACE)
    return dataclasses.replace(mesh, has_measured_depth=measured, depth_change=change)


def along_and_across(mesh: HumanMesh) -> tuple[float, float]:
    """Standard deviations of the root along the ray and across it, m."""
    covariance = position_uncertainty(mesh, IMAGE).covariance
    return tuple(math.sqrt(axis @ covariance @ axis) for axis in (RAY, ACROSS))


def width(uncertainty: PositionUncertainty, distance_m: float = 9.0, sees: bool = True) -> float:
    _, low, high = uncertainty.interval(distance_m, RAY, sees)
    return high - low


def test_depth_makes_the_distance_more_certain() -> None:
    (ray, across), (measured, measured_across) = map(
        along_and_across, (estimated(), estimated(measured=True))
    )
    assert ray == pytest.approx(0.068 * np.linalg.norm(PLACE), rel=0.05)
    assert across < measured < ray / 4
    assert measured_across == pytest.approx(across)
    assert width(position_uncertainty(estimated(True), IMAGE)) < width(
        position_uncertainty(estimated(), IMAGE)
    )


def test_far_people_are_less_certain_without_depth() -> None:
    mesh = estimated()
    shift = np.float32(mesh.translation)
    far = dataclasses.replace(
        mesh, vertices=mesh.vertices + shift, translation=mesh.translation + shift
    )
    assert along_and_across(far)[0] == pytest.approx(2 * along_and_across(mesh)[0], rel=0.01)


def test_a_large_change_by_depth_is_doubted() -> None:
    none, small, large = (
        along_and_across(estimated(True, change))[0] for change in (0.0, 0.05, -0.6)
    )
    assert none < small < large / 2


def test_a_mesh_that_misses_a_part_of_the_person_is_doubted() -> None:
    whole, half = (estimated(right=right) for right in (0.3, 0.0))
    assert doubt_and_cut(whole, IMAGE) == pytest.approx((0, 0), abs=0.02)
    assert doubt_and_cut(half, IMAGE)[0] > 0.5
    for better, worse in zip(along_and_across(whole), along_and_across(half), strict=True):
        assert worse > 3 * better
    of_whole, of_half = (position_uncertainty(mesh, IMAGE) for mesh in (whole, half))
    assert of_half.visible_std > 2 * of_whole.visible_std
    assert of_half.hidden_std > 2 * of_whole.hidden_std


def test_a_person_cut_by_the_border_is_less_certain_without_depth() -> None:
    cut = dataclasses.replace(estimated(), crop_center=np.array([131.5, 470.0]))
    assert doubt_and_cut(cut, IMAGE)[1] == pytest.approx(0.31, abs=0.05)
    assert along_and_across(cut)[0] > 1.3 * along_and_across(estimated())[0]
    outside = dataclasses.replace(estimated(), crop_center=np.array([-500.0, 470.0]))
    assert doubt_and_cut(outside, IMAGE)[1] == 1


def test_hidden_vertices_are_less_certain_than_visible_ones() -> None:
    uncertainty = position_uncertainty(estimated(True), IMAGE)
    assert uncertainty.hidden_std > uncertainty.visible_std
    assert uncertainty.deviation(RAY, False) > uncertainty.deviation(RAY, True)
    assert width(uncertainty, sees=False) > width(uncertainty)


def test_the_upper_bound_allows_for_errors_across_the_direction() -> None:
    uncertainty = position_uncertainty(estimated(), IMAGE)
    _, low, high = uncertainty.interval(0.3, ACROSS, True)
    assert low > 0, 'the distance along the ray does not bring the person nearer'
    assert high > 0.6, 'but it may move the person far away'


def test_the_direction_is_unknown_where_the_two_touch() -> None:
    uncertainty = position_uncertainty(estimated(), IMAGE)
    touching = uncertainty.interval(0.0, np.zeros(3), True)
    assert touching[1] == 0
    assert touching[2] >= uncertainty.interval(0.0, ACROSS, True)[2]
    assert touching[0] >= uncertainty.interval(0.0, RAY, True)[0]


@pytest.mark.parametrize(
    'name', ['vertices', 'translation', 'depth_change', 'iuv', 'weak_camera', 'crop_side']
)
@pytest.mark.parametrize('measured', [False, True])
def test_what_is_not_finite_is_unknown(name: str, measured: bool) -> None:
    mesh = estimated(measured)
    value = getattr(mesh, name)
    broken = dataclasses.replace(mesh, **{name: value * math.nan})
    uncertainty = position_uncertainty(broken, IMAGE)
    std, low, high = uncertainty.interval(1.0, RAY, True)
    assert low == 0 or name == 'iuv'
    assert std == high == math.inf or name == 'iuv'
    assert high - low > width(position_uncertainty(mesh, IMAGE))


@pytest.mark.parametrize('distance_m', [math.nan, math.inf])
def test_an_unknown_distance_or_direction_has_no_bounds(distance_m: float) -> None:
    uncertainty = position_uncertainty(estimated(True), IMAGE)
    assert uncertainty.interval(distance_m, RAY, True) == (math.inf, 0, math.inf)
    assert uncertainty.interval(1.0, RAY * math.nan, True) == (math.inf, 0, math.inf)


def test_a_mesh_without_a_position_is_refused() -> None:
    with pytest.raises(ValueError, match='without a position'):
        position_uncertainty(board(person(-0.3, 0.3), -0.3, 0.3), IMAGE)


@given(
    st.floats(-3, 3),
    st.floats(0.01, 3),
    st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.1, 30)),
    st.floats(-700, 1300),
    st.booleans(),
    st.floats(-0.7, 0.5),
    st.floats(0, 20),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)),
)
def test_every_mesh_gives_a_covariance_and_an_interval_around_the_distance(
    left: float,
    wide: float,
    place: tuple[float, float, float],
    middle_px: float,
    measured: bool,
    change: float,
    distance_m: float,
    direction: tuple[float, float, float],
) -> None:
    mesh = dataclasses.replace(
        board(person(-0.3, 0.3), left, left + wide, translation=place),
        crop_center=np.array([middle_px, 240.0]),
        has_measured_depth=measured,
        depth_change=change,
    )
    uncertainty = position_uncertainty(mesh, IMAGE)
    assert uncertainty.covariance.shape == (3, 3)
    np.testing.assert_allclose(uncertainty.covariance, uncertainty.covariance.T)
    assert np.linalg.eigvalsh(uncertainty.covariance).min() > 0
    length = np.linalg.norm(direction)
    unit = np.array(direction) / length if length > 1e-3 else np.zeros(3)
    for is_visible in (True, False):
        std, low, high = uncertainty.interval(distance_m, unit, is_visible)
        assert 0 <= low <= distance_m <= high < math.inf
        assert std >= 0.04 and high - distance_m >= 0.05
