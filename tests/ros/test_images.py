from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from decomr_ros.images import (
    ENCODINGS,
    image_message,
    rgb_from_image_message,
)

TO_BYTES = {
    'rgb8': lambda rgb: rgb,
    'bgr8': lambda rgb: rgb[..., ::-1],
    '8UC3': lambda rgb: rgb[..., ::-1],
    'rgba8': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA),
    'bgra8': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
    '8UC4': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
}


def _message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                    step=rows.shape[1])
    message.data = array.array('B', rows.tobytes())
    return message


@settings(max_examples=60, deadline=None)
@given(encoding=st.sampled_from(sorted(TO_BYTES)), height=st.integers(1, 9),
       width=st.integers(1, 9), padding=st.integers(0, 7), seed=st.integers(0, 99))
def test_colours_survive_every_encoding_size_and_row_padding(
        encoding: str, height: int, width: int, padding: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    seen = rgb_from_image_message(_message(TO_BYTES[encoding](rgb), encoding, padding))
    np.testing.assert_array_equal(seen, rgb)


def test_gray_gives_equal_channels_and_16_bits_keep_the_upper_8_in_both_byte_orders() -> None:
    gray = np.array([[0, 128, 255]], np.uint8)
    expected = np.repeat(gray[..., None], 3, -1)
    np.testing.assert_array_equal(rgb_from_image_message(_message(gray, 'mono8')), expected)
    deep = gray.astype(np.uint16) << 8
    little = _message(deep.astype('<u2'), 'mono16')
    little.width = 3
    np.testing.assert_array_equal(rgb_from_image_message(little), expected)
    big = _message(deep.astype('>u2'), 'mono16', padding=2)
    big.is_bigendian = 1
    np.testing.assert_array_equal(rgb_from_image_message(big), expected)


def test_the_byte_order_flag_means_nothing_for_8_bits() -> None:
    rgb = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    message = _message(rgb, 'rgb8')
    message.is_bigendian = 1
    np.testing.assert_array_equal(rgb_from_image_message(message), rgb)


@pytest.mark.parametrize(('encoding', 'pixel'), [
    ('yuv422', [[128, 180, 128, 180]]), ('uyvy', [[128, 180, 128, 180]]),
    ('yuv422_yuy2', [[180, 128, 180, 128]]), ('yuyv', [[180, 128, 180, 128]])])
def test_yuv_without_colour_is_gray(encoding: str, pixel: list[list[int]]) -> None:
    message = _message(np.array(pixel, np.uint8).reshape(1, 2, 2), encoding)
    seen = rgb_from_image_message(message)
    assert seen.shape == (1, 2, 3)
    assert np.ptp(seen) <= 1
    assert abs(int(seen[0, 0, 0]) - (180 - 16) * 255 / 219) <= 2


@pytest.mark.parametrize(('change', 'named'), [
    ({'encoding': 'bayer_rggb8'}, 'debayers'),
    ({'encoding': ''}, 'supported: rgb8'),
    ({'step': 5}, 'one row needs 6'),
    ({'height': 3}, 'step \\* height is 18'),
    ({'width': 0}, 'empty'),
    ({'encoding': 'yuv422', 'width': 1, 'step': 6}, 'even width'),
])
def test_an_image_that_contradicts_itself_is_refused_with_the_reason(
        change: dict[str, object], named: str) -> None:
    message = _message(np.zeros((2, 2, 3), np.uint8), 'rgb8')
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ValueError, match=named):
        rgb_from_image_message(message)


def test_too_little_and_too_much_data_are_both_refused() -> None:
    for change in (-1, 1):
        message = _message(np.zeros((2, 2, 3), np.uint8), 'rgb8')
        message.data = array.array('B', bytes(12 + change))
        with pytest.raises(ValueError, match='check the camera driver'):
            rgb_from_image_message(message)


@pytest.mark.parametrize('size', [(1, 1), (6000, 8000)])
def test_the_smallest_and_the_largest_image_pass(size: tuple[int, int]) -> None:
    seen = rgb_from_image_message(_message(np.full(size, 7, np.uint8), 'mono8'))
    assert seen.shape == (*size, 3)
    assert seen[-1, -1].tolist() == [7, 7, 7]


def test_every_encoding_of_the_table_is_tested_or_gray_or_yuv() -> None:
    rest = {'mono8', '8UC1', 'mono16', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'}
    assert set(ENCODINGS) == set(TO_BYTES) | rest


def test_an_image_message_there_and_back_is_the_same_picture() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    header = Header(frame_id='camera')
    message = image_message(header, rgb[:, ::-1], 'rgb8')
    assert message.header is header
    assert (message.height, message.width, message.step) == (5, 7, 21)
    np.testing.assert_array_equal(rgb_from_image_message(message), rgb[:, ::-1])


def test_a_float_iuv_image_message_holds_the_floats_as_they_are() -> None:
    picture = np.random.default_rng(0).random((4, 3, 3)).astype(np.float32)
    message = image_message(Header(), picture, '32FC3')
    assert message.step == 36
    seen = np.frombuffer(message.data, np.float32).reshape(4, 3, 3)
    np.testing.assert_array_equal(seen, picture)
