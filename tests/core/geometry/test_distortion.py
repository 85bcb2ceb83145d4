from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.geometry.distortion import LensDistortion, lens_distortion

K = np.array([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]])
SIZE = 640, 480
LENSES = {
    'plumb_bob': LensDistortion('plumb_bob', (-0.2, 0.05, 1e-3, -5e-4, 0.0)),
    'rational_polynomial': LensDistortion(
        'rational_polynomial', (0.4, -0.1, 1e-4, 2e-4, 0.01, 0.7, -0.08, 0.02)
    ),
    'equidistant': LensDistortion('equidistant', (0.02, -0.01, 0.003, -0.001)),
}


@settings(max_examples=30, deadline=None)
@given(model=st.sampled_from(sorted(LENSES)), x=st.floats(0, 639), y=st.floats(0, 479))
def test_points_come_back_from_the_lens(model: str, x: float, y: float) -> None:
    points = np.array([[x, y], [320.0, 240.0]])
    lens = LENSES[model]
    there = lens.distort(points, K)
    np.testing.assert_allclose(lens.undistort(there, K), points, atol=0.2)
    np.testing.assert_allclose(there[1], points[1], atol=1e-9)  # the axis stays


def test_plumb_bob_and_equidistant_are_the_published_formulas() -> None:
    x, y = 0.3, -0.2
    image_xy = K[:2, 2] + (x * 600, y * 610)
    k1, k2, p1, p2, k3 = LENSES['plumb_bob'].coefficients
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    expected = (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )
    seen = LENSES['plumb_bob'].distort(image_xy[None], K)[0]
    np.testing.assert_allclose((seen - K[:2, 2]) / (600, 610), expected, atol=1e-9)
    r = np.hypot(x, y)
    angle = np.arctan(r)
    k = LENSES['equidistant'].coefficients
    bent = angle * (1 + sum(k[n] * angle ** (2 * n + 2) for n in range(4)))
    seen = LENSES['equidistant'].distort(image_xy[None], K)[0]
    np.testing.assert_allclose(
        (seen - K[:2, 2]) / (600, 610), np.array([x, y]) * bent / r, atol=1e-9
    )


@pytest.mark.parametrize('model', sorted(LENSES))
def test_an_undistorted_image_has_each_point_where_an_ideal_camera_sees_it(model: str) -> None:
    lens = LENSES[model]
    ideal = np.array([[200.0, 150.0], [420.0, 330.0], [320.0, 100.0]])
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    image = np.zeros(SIZE[::-1], np.uint8)
    assert (np.linalg.norm(lens.distort(ideal, K) - ideal, axis=1) > 1).all()
    for column, row in lens.distort(ideal, K):
        image = np.maximum(image, 255 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 18)).astype(
            np.uint8
        )
    seen = cv2.remap(image, *lens.undistortion_maps(K, *SIZE), cv2.INTER_LINEAR).astype(float)
    for column, row in ideal.astype(int):
        window = np.s_[row - 12 : row + 13, column - 12 : column + 13]
        weights = seen[window] / seen[window].sum()
        assert abs((weights * x[window]).sum() - column) < 0.3
        assert abs((weights * y[window]).sum() - row) < 0.3


def test_boxes_of_a_barrel_lens_grow_and_keep_their_content() -> None:
    lens = LENSES['plumb_bob']
    boxes = np.array([[20.0, 30, 120, 400], [300, 200, 340, 280]])
    seen = lens.undistort_boxes(boxes, K)
    inside = lens.undistort(
        np.random.default_rng(0).uniform(boxes[0, :2], boxes[0, 2:], (200, 2)), K
    )
    assert (inside >= seen[0, :2] - 1).all()
    assert (inside <= seen[0, 2:] + 1).all()
    assert seen[0, 0] < 20 - 5  # barrel: the edge moves outwards
    np.testing.assert_allclose(seen[1], boxes[1], atol=1)
    assert lens.undistort_boxes(np.zeros((0, 4)), K).shape == (0, 4)


def test_the_largest_shift_is_the_one_at_the_corners() -> None:
    corners = np.array([[0, 0], [639, 0], [0, 479], [639, 479.0]])
    lens = LENSES['plumb_bob']
    shift = np.linalg.norm(lens.distort(corners, K) - corners, axis=1).max()
    assert lens.largest_shift_px(K, *SIZE) == pytest.approx(shift)
    assert shift > 10


def test_no_coefficients_and_zeros_are_no_distortion() -> None:
    assert lens_distortion('', []) is None
    assert lens_distortion('plumb_bob', [0.0] * 5) is None


@pytest.mark.parametrize(
    ('model', 'values', 'named'),
    [
        ('brown', [0.1] * 5, "'brown', expected one of: plumb_bob"),
        ('plumb_bob', [0.1] * 3, '4 or 5 finite numbers'),
        ('equidistant', [0.1, np.nan, 0, 0], '4 finite numbers'),
    ],
)
def test_an_unknown_lens_model_is_rejected(model: str, values: list[float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        lens_distortion(model, values)
