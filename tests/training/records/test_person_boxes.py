"""Boxes around people, and crops that are black outside of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.records.person_boxes import (
    USUAL_BORDER,
    WIDE_BORDER,
    blacken_randomly,
    box_of_joints,
    box_of_mask,
)

SIDE = 40


@given(st.integers(0, 39), st.integers(0, 39), st.integers(1, 40), st.integers(1, 40))
def test_the_box_of_a_mask_has_the_edges_of_its_pixels(
    left: int, top: int, width: int, height: int
) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top : top + height, left : left + width] = 1
    box = box_of_mask(mask)
    assert box is not None
    right, bottom = min(left + width, SIDE), min(top + height, SIDE)
    np.testing.assert_allclose((box + 1) / 2 * SIDE, [left, top, right, bottom], atol=1e-9)


def test_nobody_has_no_box() -> None:
    assert box_of_mask(np.zeros((SIDE, SIDE))) is None
    unknown = np.array([[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]])
    assert box_of_joints(unknown) is None
    unknown[0, 2] = 1
    assert box_of_joints(unknown) is None  # of one joint


def test_the_box_of_joints_contains_the_known_ones_with_a_border() -> None:
    joints = np.array([[1.0, 1.0, 1.0], [2.0, 11.0, 0.5], [50.0, 50.0, 0.0]])
    np.testing.assert_allclose(box_of_joints(joints), [0, 0, 3, 12])


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 1.0]))
def test_random_boxes_stay_within_the_borders(seed: int, share: float) -> None:
    box = np.array([-0.5, -0.7, 0.3, 0.5])  # the longer side is 1.2
    pixels = np.full((200, 200, 3), 255, np.uint8)
    rng = np.random.default_rng(seed)
    blacken_randomly(pixels, box, rng, share)
    seen = box_of_mask(pixels[..., 0])
    assert seen is not None
    outwards = (seen - box) * (-1, -1, 1, 1) / 1.2
    is_whole = bool(pixels.all())
    assert is_whole or share > 0
    assert not is_whole or share < 1
    if not is_whole:
        pixel = 2 / 200 / 1.2
        assert (outwards > USUAL_BORDER[0] - pixel).all()
        assert (outwards < WIDE_BORDER[1] + pixel).all()
    other = np.random.default_rng(seed)
    blacken_randomly(pixels, None, other, share)
    assert rng.random() == other.random()  # the same amount of random numbers
