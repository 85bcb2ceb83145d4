from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from decomr_ros.messages import images
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.images import ENCODINGS, image_message, rgb_from_image_message

PATTERNS = ('rggb', 'bggr', 'gbrg', 'grbg')


def _mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """The pixels of a sensor behind a Bayer filter: one colour each."""
    raw = np.empty(rgb.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        raw[row::2, column::2] = rgb[row::2, column::2, 'rgb'.index(colour)]
    return raw


def _semi_planar(rgb: np.ndarray, order: tuple[int, int]) -> np.ndarray:
    """Gray, then the two colours at half the size in turn: nv12 for (1, 2), nv21 for (2, 1)."""
    height, width = rgb.shape[:2]
    planar = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    colours = planar[height * width :].reshape(2, -1)
    turns = np.stack([colours[channel - 1] for channel in order], axis=1).reshape(-1, width)
    return np.concatenate([planar[: height * width].reshape(height, width), turns])


def _packed(rgb: np.ndarray, places: tuple[int, int]) -> np.ndarray:
    """(H, W, 2) gray at the first place, u and v in turn at the second."""
    gray, u, v = np.moveaxis(_video_range_yuv(rgb), -1, 0)
    packed = np.empty((*gray.shape, 2), np.uint8)
    packed[..., places[0]] = gray
    packed[:, ::2, places[1]], packed[:, 1::2, places[1]] = u[:, ::2], v[:, ::2]
    return packed


def _video_range_yuv(rgb: np.ndarray) -> np.ndarray:
    """BT.601 in the range of video: gray from 16 to 235, colours from 16 to 240."""
    matrix = np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    )
    return np.round(rgb / 255 @ matrix.T + (16, 128, 128)).astype(np.uint8)


TO_BYTES = {
    'rgb8': lambda rgb: rgb,
    'bgr8': lambda rgb: rgb[..., ::-1],
    '8UC3': lambda rgb: rgb[..., ::-1],
    'rgba8': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA),
    'bgra8': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
    '8UC4': lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
}
# These keep fewer numbers than three per pixel: an image of one colour comes back nearly exact.
ONE_COLOUR = {
    **{
        f'bayer_{pattern}8': lambda rgb, pattern=pattern: _mosaic(rgb, pattern)
        for pattern in PATTERNS
    },
    **{
        f'bayer_{pattern}16': lambda rgb, pattern=pattern: _mosaic(rgb, pattern).astype('<u2') << 8
        for pattern in PATTERNS
    },
    'nv12': lambda rgb: _semi_planar(rgb, (1, 2)),
    'nv21': lambda rgb: _semi_planar(rgb, (2, 1)),
    **{name: lambda rgb: _packed(rgb, (1, 0)) for name in ('yuv422', 'uyvy')},
    **{name: lambda rgb: _packed(rgb, (0, 1)) for name in ('yuv422_yuy2', 'yuyv')},
}
GRAY = {'mono8', '8UC1', 'mono16'}


def _message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    message = Image(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1]
    )
    message.data = array.array('B', rows.tobytes())
    return message


@settings(max_examples=60, deadline=None)
@given(
    encoding=st.sampled_from(sorted(TO_BYTES)),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 7),
    seed=st.integers(0, 99),
)
def test_colours_survive_every_encoding_size_and_row_padding(
    encoding: str, height: int, width: int, padding: int, seed: int
) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    seen = rgb_from_image_message(_message(TO_BYTES[encoding](rgb), encoding, padding))
    np.testing.assert_array_equal(seen, rgb)


@settings(max_examples=80, deadline=None)
@given(
    encoding=st.sampled_from(sorted(ONE_COLOUR)),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    padding=st.integers(0, 3),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
)
def test_one_colour_survives_every_encoding_that_shares_colours_between_pixels(
    encoding: str, height: int, width: int, padding: int, colour: tuple[int, ...]
) -> None:
    rgb = np.full((2 * height, 2 * width, 3), colour, np.uint8)
    message = _message(ONE_COLOUR[encoding](rgb), encoding, 2 * padding)
    message.height, message.width = rgb.shape[:2]
    seen = rgb_from_image_message(message)
    assert seen.shape == rgb.shape
    if 'bayer' in encoding and min(height, width) < 2:
        return  # too small for the colours in between
    # The rounding of gray and two colours to whole numbers.
    assert np.abs(seen.astype(int) - rgb).max() <= (0 if 'bayer' in encoding else 4)


def test_a_bgr_image_is_not_copied_before_its_pixels_are_used() -> None:
    message = _message(np.zeros((4, 6, 3), np.uint8), 'bgr8', padding=5)
    seen = rgb_from_image_message(message)
    message.data[2] = 200
    assert seen[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize('pattern', PATTERNS)
def test_a_bayer_image_of_a_smooth_scene_keeps_its_colours_and_positions(pattern: str) -> None:
    y, x = np.mgrid[:32, :48]
    rgb = np.stack([4 * x + 20, 5 * y + 30, 200 - 2 * x - 2 * y], axis=-1).astype(np.uint8)
    seen = rgb_from_image_message(_message(_mosaic(rgb, pattern), f'bayer_{pattern}8'))
    inner = slice(2, -2), slice(2, -2)
    assert np.abs(seen.astype(int) - rgb)[inner].max() <= 3


def test_big_endian_bayer_is_read_as_such() -> None:
    rgb = np.full((4, 6, 3), (200, 100, 50), np.uint8)
    message = _message((_mosaic(rgb, 'gbrg').astype('>u2') << 8).astype('>u2'), 'bayer_gbrg16')
    message.is_bigendian = 1
    np.testing.assert_array_equal(rgb_from_image_message(message), rgb)


def test_gray_gives_equal_channels_and_16_bits_keep_the_upper_8_in_both_byte_orders() -> None:
    gray = np.array([[0, 128, 255]], np.uint8)
    expected = np.repeat(gray[..., None], 3, -1)
    for encoding in ('mono8', '8UC1'):
        np.testing.assert_array_equal(rgb_from_image_message(_message(gray, encoding)), expected)
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


@pytest.mark.parametrize(
    ('encoding', 'pixel'),
    [
        ('yuv422', [[128, 180, 128, 180]]),
        ('uyvy', [[128, 180, 128, 180]]),
        ('yuv422_yuy2', [[180, 128, 180, 128]]),
        ('yuyv', [[180, 128, 180, 128]]),
    ],
)
def test_yuv_without_colour_is_gray(encoding: str, pixel: list[list[int]]) -> None:
    message = _message(np.array(pixel, np.uint8).reshape(1, 2, 2), encoding)
    seen = rgb_from_image_message(message)
    assert seen.shape == (1, 2, 3)
    assert np.ptp(seen) <= 1
    assert abs(int(seen[0, 0, 0]) - (180 - 16) * 255 / 219) <= 2


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'encoding': 'rgb16'}, 'cv-bridge'),
        ({'encoding': 'bayer_rggb8', 'width': 3}, 'even width and height'),
        ({'encoding': 'nv12'}, r'step \* height \* 3 / 2 is 18'),
        ({'encoding': 'nv21', 'height': 1}, 'even width and height'),
        ({'encoding': ''}, 'supported: rgb8'),
        ({'step': 5}, 'one row needs 6'),
        ({'height': 3}, 'step \\* height is 18'),
        ({'width': 0}, 'empty'),
        ({'encoding': 'yuv422', 'width': 1, 'step': 6}, 'even width'),
    ],
)
def test_an_image_that_contradicts_itself_is_rejected_with_the_reason(
    change: dict[str, object], named: str
) -> None:
    message = _message(np.zeros((2, 2, 3), np.uint8), 'rgb8')
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ValueError, match=named):
        rgb_from_image_message(message)


def test_too_little_and_too_much_data_are_both_rejected() -> None:
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


def test_every_encoding_of_the_table_is_tested() -> None:
    assert set(ENCODINGS) == set(TO_BYTES) | set(ONE_COLOUR) | GRAY


class _Bridge:
    """Stands in for cv_bridge.CvBridge."""

    def imgmsg_to_cv2(self, message: Image, encoding: str) -> np.ndarray:
        if message.encoding == 'strange':
            raise RuntimeError('Unrecognized image encoding [strange]')
        deep = np.frombuffer(message.data, '<u2').reshape(message.height, message.width, 3)
        return (deep >> 8).astype(np.uint8) if encoding == 'rgb8' else deep


def test_cv_bridge_reads_the_other_encodings_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    message = _message(rgb.astype('<u2') << 8, 'rgb16')
    message.width = 4
    monkeypatch.setattr(images, 'CvBridge', _Bridge)
    np.testing.assert_array_equal(rgb_from_image_message(message), rgb)
    message.encoding = 'strange'
    with pytest.raises(BadInput, match='cannot convert it to rgb8: Unrecognized') as caught:
        rgb_from_image_message(message)
    assert caught.value.cause == 'encoding'
    message.height = 4
    with pytest.raises(BadInput, match='check the camera driver') as caught:
        rgb_from_image_message(message)
    assert caught.value.cause == 'size'


def test_an_image_survives_the_conversion_to_a_message_and_back() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    header = Header(frame_id='camera')
    message = image_message(header, rgb[:, ::-1], 'rgb8')
    assert message.header is header
    assert (message.height, message.width, message.step) == (5, 7, 21)
    np.testing.assert_array_equal(rgb_from_image_message(message), rgb[:, ::-1])


def test_a_float_iuv_image_message_contains_the_floats_unchanged() -> None:
    image = np.random.default_rng(0).random((4, 3, 3)).astype(np.float32)
    message = image_message(Header(), image, '32FC3')
    assert message.step == 36
    seen = np.frombuffer(message.data, np.float32).reshape(4, 3, 3)
    np.testing.assert_array_equal(seen, image)
