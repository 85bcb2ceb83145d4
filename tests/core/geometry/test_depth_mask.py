"""People are removed from depth images; what is before and behind them stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomr_core.geometry.depth_mask import points_from_depth, remove_from_depth


@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_only_pixels_of_the_mask_in_the_interval_become_unknown(
    seed: int, is_float: bool, has_interval: bool
) -> None:
    rng = np.random.default_rng(seed)
    metres = rng.uniform(0.5, 6, (12, 16))
    metres[rng.random((12, 16)) < 0.2] = 0
    before = metres.astype(np.float32) if is_float else (metres * 1000).astype(np.uint16)
    unit_m = 1.0 if is_float else 0.001
    mask, numbers = rng.random((12, 16)) < 0.5, before.copy()
    remove_from_depth(numbers, unit_m, mask, (2.0, 3.0) if has_interval else None)
    depths = before * unit_m
    removed = mask & (((depths >= 2) & (depths <= 3)) | (not has_interval))
    assert np.array_equal(numbers[~removed], before[~removed])
    assert np.isnan(numbers[removed]).all() if is_float else not numbers[removed].any()


def test_points_are_where_they_were_measured_and_unknown_ones_are_left_out() -> None:
    numbers = np.array([[2.0, np.nan, np.inf], [0.0, -1.0, 4.0]], np.float32)
    rays = np.zeros((2, 2, 3))
    rays[:, 1, 2] = 0.25, -0.5
    points = points_from_depth(numbers, 1.0, rays)
    np.testing.assert_allclose(points, [[0, 0, 2], [1, -2, 4]])
    rays[0, 1, 2] = np.nan
    assert len(points_from_depth(numbers, 1.0, rays)) == 1
    millimetres = np.array([[1500, 0]], np.uint16)
    np.testing.assert_allclose(
        points_from_depth(millimetres, 0.001, np.ones((2, 1, 2))), [[1.5, 1.5, 1.5]]
    )


def test_wrong_shapes_are_refused() -> None:
    numbers = np.zeros((2, 3), np.uint16)
    with pytest.raises(ValueError, match='mask'):
        remove_from_depth(numbers, 0.001, np.zeros((3, 2), bool), None)
    with pytest.raises(ValueError, match='rays'):
        points_from_depth(numbers, 0.001, np.zeros((2, 3, 3)))
