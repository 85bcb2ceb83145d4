from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_ros.messages.box_image import FITS, boxes_in_image

WHOLE_HD = (0.0, 0.0, 1920.0, 1080.0)


@pytest.mark.parametrize(
    ('fit', 'size', 'box', 'expected'),
    [
        ('stretch', (640, 640), (0, 0, 640, 640), WHOLE_HD),
        ('stretch', (640, 640), (320, 320, 640, 640), (960, 540, 1920, 1080)),
        ('pad_end', (640, 640), (0, 0, 640, 360), WHOLE_HD),
        ('pad_center', (640, 640), (0, 140, 640, 500), WHOLE_HD),
        ('crop_center', (300, 300), (0, 0, 300, 300), (420, 0, 1500, 1080)),
        ('stretch', (0, 0), (1, 2, 3, 4), (1, 2, 3, 4)),
        ('stretch', (960, 0), (1, 2, 3, 4), (2, 2, 6, 4)),
        ('pad_end', (1280, 720), (64, 36, 128, 72), (96, 54, 192, 108)),
    ],
)
def test_a_box_is_mapped_back_to_the_camera_image(
    fit: str, size: tuple[int, int], box: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    found = boxes_in_image(np.array([box], np.float32), fit, size, (1920, 1080))
    np.testing.assert_allclose(found, [expected], atol=1e-3)
    assert found.dtype == np.float32


@settings(max_examples=60, deadline=None)
@given(fit=st.sampled_from(FITS), width=st.integers(32, 2000), height=st.integers(32, 2000))
def test_the_middle_stays_the_middle_and_squares_stay_squares_unless_stretched(
    fit: str, width: int, height: int
) -> None:
    square = np.array([[0, 0, 20, 20]]) + np.tile((width / 2 - 10, height / 2 - 10), 2)
    ((x_min, y_min, x_max, y_max),) = boxes_in_image(square, fit, (width, height), (640, 480))
    if fit != 'stretch':
        assert x_max - x_min == pytest.approx(y_max - y_min, rel=1e-4)
    if fit != 'pad_end':
        assert ((x_min + x_max) / 2, (y_min + y_max) / 2) == pytest.approx((320, 240), rel=1e-4)


def test_no_boxes_stay_no_boxes() -> None:
    assert boxes_in_image(np.zeros((0, 4)), 'pad_end', (640, 640), (640, 480)).shape == (0, 4)
