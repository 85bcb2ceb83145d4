from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decomr_core.geometry.crop import (
    blacken_outside_box,
    check_boxes,
    copy_image,
    crop_from_image_xy,
    crop_image,
    crop_pixels,
    image_from_crop_xy,
    network_input,
    square_crops,
)

EDGES = st.floats(-2000, 9000, width=32)


def spot(x: float, y: float, sigma: float) -> np.ndarray:
    """A 900 x 900 image, black but for a soft round spot."""
    columns, rows = (np.exp(-(((np.arange(900) - place) / sigma) ** 2) / 2) for place in (x, y))
    return np.repeat((rows[:, None] * columns * 255).round()[..., None], 3, 2).astype(np.uint8)


@given(st.tuples(EDGES, EDGES), st.floats(2, 9000), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_a_point_comes_back_from_the_crop_within_half_a_pixel(
    center: tuple[float, float], side: float, x: float, y: float
) -> None:
    image_xy = image_from_crop_xy(np.array([x, y]), np.array(center), side)
    again = crop_from_image_xy(image_xy, np.array(center), side)
    assert np.abs(again - (x, y)).max() * side / 2 < 0.5


@settings(deadline=None, max_examples=40)
@given(
    st.floats(350, 550),
    st.floats(350, 550),
    st.floats(150, 700),
    st.sampled_from([64, 128]),
    st.floats(-0.15, 0.15),
    st.floats(-0.15, 0.15),
)
def test_a_crop_there_and_back_is_within_half_a_pixel(
    x: float, y: float, side: float, size: int, right: float, down: float
) -> None:
    place = np.array([x + right * side, y + down * side])
    image = spot(*place, max(4, 2 * side / size))
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
    crops = crop_image(image, box, size, scale=1.0)
    bright = crops.images[0, ..., 0].astype(float)
    columns = (2 * np.arange(size) + 1) / size - 1
    crop_xy = np.array([(bright.sum(0) * columns).sum(), (bright.sum(1) * columns).sum()])
    image_xy = image_from_crop_xy(crop_xy / bright.sum(), crops.centers[0], crops.sides[0])
    assert np.abs(image_xy - place).max() < 0.5


@settings(deadline=None, max_examples=20)
@given(
    st.floats(-7, 7),
    st.floats(150, 800),
    st.sampled_from([64, 128]),
    st.floats(-0.2, 0.2),
    st.floats(-0.2, 0.2),
)
def test_a_turned_crop_there_and_back_is_within_half_a_pixel(
    rotation: float, side: float, size: int, right: float, down: float
) -> None:
    center = np.array([440.0, 465.0])
    place = center + (right * side, down * side)
    bright = crop_pixels(spot(*place, max(4, 2 * side / size)), center, side, size, rotation)[
        ..., 0
    ].astype(float)
    columns = (2 * np.arange(size) + 1) / size - 1
    crop_xy = np.array([(bright.sum(0) * columns).sum(), (bright.sum(1) * columns).sum()])
    crop_xy /= bright.sum()
    assert np.abs(image_from_crop_xy(crop_xy, center, side, rotation) - place).max() < 0.5
    wanted = crop_from_image_xy(place, center, side, rotation)
    assert np.abs(wanted - crop_xy).max() * side / 2 < 0.5


def test_turning_by_quarters_turns_the_crop_clockwise() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    center = np.array([100.5, 90.5])
    crop = crop_pixels(image, center, 64.0, 64)
    for quarters in range(-2, 5):
        turned = crop_pixels(image, center, 64.0, 64, quarters * np.pi / 2)
        assert np.array_equal(turned, np.rot90(crop, -quarters))


def test_a_turned_crop_of_a_large_square_is_averaged_and_whole() -> None:
    image = np.full((1500, 1500, 3), 255, np.uint8)
    image[::2] = 0
    crop = crop_pixels(image, np.array([750.0, 750.0]), 1000.0, 64, 0.7)
    assert np.abs(crop.astype(int) - 128).max() < 16


def test_a_crop_of_its_own_size_is_the_image_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    crops = crop_image(image, np.array([[-0.5, -0.5, 63.5, 63.5]]), 64, scale=1.0)
    assert np.array_equal(crops.images[0], image)


def test_the_square_is_scale_times_the_longer_side_about_the_centre() -> None:
    centers, sides = square_crops(np.array([[10, 20, 30, 80], [0, 0, 100, 50]]), 1.2)
    assert np.allclose(centers, [[20, 50], [50, 25]])
    assert np.allclose(sides, [72, 120])


def test_pixels_outside_the_image_are_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    crop = crop_image(image, np.array([[50, 50, 150, 150]]), 64, scale=1.0).images[0]
    assert (crop[:30, :30] == 200).all()
    assert (crop[34:] == 0).all() and (crop[:, 34:] == 0).all()


def test_fine_texture_turns_gray_in_a_small_crop_of_a_large_square() -> None:
    image = np.zeros((1024, 1024, 3), np.uint8)
    image[:, ::2] = 255
    crop = crop_image(image, np.array([[0, 0, 1000, 1000]]), 64, scale=1.0).images[0]
    assert np.abs(crop[4:-4, 4:-4].astype(int) - 128).max() < 16


@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 500, 3), (6000, 8000, 3)])
def test_images_of_any_size_can_be_cropped(shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 90, np.uint8)
    box = np.array([[-0.5, -0.5, shape[1] - 0.5, shape[0] - 0.5]])
    crop = crop_image(image, box, 32).images
    assert crop.shape == (1, 32, 32, 3)
    assert 1 <= crop.max() <= 90  # one row of pixels fades into the black around it


@pytest.mark.parametrize('side', [12, 90, 700])
def test_an_image_stored_as_bgr_gives_the_same_crops_and_copy(side: int) -> None:
    image = np.random.default_rng(side).integers(0, 256, (300, 400, 3), np.uint8)
    view = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    boxes = [[350 - side, 40, 350, 41], [5, 280, 6, 280 + side]]
    assert np.array_equal(crop_image(view, boxes, 64).images, crop_image(image, boxes, 64).images)
    for stored in (image, view):
        copy = copy_image(stored)
        assert np.array_equal(copy, image)
        assert copy.flags.c_contiguous
        assert not np.shares_memory(copy, stored)


@given(
    st.tuples(st.floats(-50, 250), st.floats(-50, 250)),
    st.tuples(st.floats(1, 300), st.floats(1, 300)),
    st.floats(0, 0.5),
    st.integers(1, 40),
)
def test_a_margin_blackens_exactly_the_pixels_outside_the_widened_box(
    corner: tuple[float, float], size: tuple[float, float], margin: float, side: int
) -> None:
    white = np.full((200, 200, 3), 255, np.uint8)
    low, high = np.array(corner), np.array(corner) + size
    box = np.concatenate([low, high])[None]
    everything = crop_image(white, box, side)
    crops = crop_image(white, box, side, box_margin=margin)
    centres = image_from_crop_xy(
        np.stack(np.meshgrid(*[(2 * np.arange(side) + 1) / side - 1] * 2), axis=-1),
        crops.centers[0],
        crops.sides[0],
    )
    outside = np.maximum(low - centres, centres - high).max(-1) / max(size)
    is_clear = np.abs(outside - margin) > 1e-4  # not on the edge within float32
    expected = np.where(outside[..., None] < margin, everything.images[0], 0)
    assert np.array_equal(crops.images[0][is_clear], expected[is_clear])


def test_a_box_outside_the_crop_blackens_all_of_it() -> None:
    mask = np.ones((8, 8), np.uint8)
    blacken_outside_box(mask, np.array([1.5, -1, 2.0, 1]), 0.1)
    assert not mask.any()


def test_no_boxes_give_no_crops() -> None:
    crops = crop_image(np.zeros((10, 10, 3), np.uint8), np.zeros((0, 4)), 32)
    assert crops.images.shape == (0, 32, 32, 3) and crops.centers.shape == (0, 2)
    assert check_boxes([]).shape == (0, 4)


@pytest.mark.parametrize(
    ('image', 'words'),
    [
        (np.zeros((5, 5, 3), np.float32), 'float32, expected uint8'),
        (np.zeros((5, 5), np.uint8), r'shape \(5, 5\)'),
        (np.zeros((0, 5, 3), np.uint8), 'at least one pixel'),
        ([[0]], 'is a list'),
    ],
)
def test_a_wrong_image_is_rejected_and_described(image: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        crop_image(image, np.zeros((1, 4)), 32)


@pytest.mark.parametrize('box', [[0, 0, np.nan, 5], [5, 0, 1, 9], [0, 0, np.inf, 5]])
def test_an_invalid_box_is_rejected_with_its_numbers(box: list[float]) -> None:
    with pytest.raises(ValueError, match='is not x_min, y_min, x_max, y_max'):
        check_boxes([[0, 0, 1, 1], box])


def test_the_networks_input_is_rgb_between_zero_and_one() -> None:
    images = torch.randint(0, 256, (2, 8, 6, 3), dtype=torch.uint8)
    made = network_input(images)
    assert made.shape == (2, 3, 8, 6) and made.dtype == torch.float32
    torch.testing.assert_close(made[1, 2], images[1, :, :, 2] / 255)
    assert network_input(torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)).unique().tolist() == [1]
