from __future__ import annotations

import array
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage

from decomr_ros.messages import compressed
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.compressed import rgb_from_compressed_message

RGB = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)


def _message(format_: str, image: np.ndarray, suffix: str = '.png') -> CompressedImage:
    """An image that is stored with its channels as they are, the first one as blue."""
    data = cv2.imencode(suffix, image)[1].tobytes()
    return CompressedImage(format=format_, data=array.array('B', data))


@pytest.mark.parametrize(
    'format_',
    [
        'png',
        'bgr8; png compressed bgr8',
        'rgb8; png compressed bgr8',
        'rgba8; png compressed bgr8',
        'bayer_rggb8; png compressed ',
    ],
)
def test_colours_stored_as_bgr_come_out_as_rgb(format_: str) -> None:
    seen = rgb_from_compressed_message(_message(format_, RGB[..., ::-1]))
    np.testing.assert_array_equal(seen, RGB)


@pytest.mark.parametrize('format_', ['rgb8; png compressed', 'bgr8; png compressed '])
def test_colours_without_the_word_bgr_are_stored_as_rgb(format_: str) -> None:
    np.testing.assert_array_equal(rgb_from_compressed_message(_message(format_, RGB)), RGB)


def test_gray_images_of_8_and_16_bits_become_rgb() -> None:
    gray = RGB[..., 0]
    expected = np.repeat(gray[..., None], 3, -1)
    for image, format_ in (
        (gray, 'mono8; png compressed '),
        (gray.astype(np.uint16) << 8, 'mono16; png compressed '),
    ):
        seen = rgb_from_compressed_message(_message(format_, image))
        np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize('format_', ['jpeg', 'rgb8; jpeg compressed bgr8'])
def test_a_jpeg_is_near_the_image_also_with_trailing_padding(format_: str) -> None:
    smooth = cv2.GaussianBlur(RGB, (0, 0), 6)
    message = _message(format_, smooth[..., ::-1], '.jpg')
    message.data += array.array('B', bytes(64))
    seen = rgb_from_compressed_message(message)
    assert np.abs(seen.astype(int) - smooth).max() <= 12


def test_the_orientation_in_a_jpeg_does_not_turn_it() -> None:
    """A calibration and boxes are for the pixels as they are stored."""
    smooth = cv2.GaussianBlur(RGB, (0, 0), 6)
    message = _message('jpeg', smooth[..., ::-1], '.jpg')
    # EXIF with one entry: orientation (0x112), a short, 6: "turn right to look at".
    entry = struct.pack('<HHHIHHI', 1, 0x112, 3, 1, 6, 0, 0)
    exif = b'Exif\0\0II*\0' + struct.pack('<I', 8) + entry
    whole = message.data.tobytes()
    marker = b'\xff\xe1' + struct.pack('>H', len(exif) + 2)
    message.data = array.array('B', whole[:2] + marker + exif + whole[2:])
    turned = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert turned.shape == (32, 24, 3), 'the orientation is one that OpenCV knows'
    seen = rgb_from_compressed_message(message)
    assert seen.shape == RGB.shape
    assert np.abs(seen.astype(int) - smooth).max() <= 12


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_a_truncated_image_is_rejected(suffix: str) -> None:
    message = _message('jpeg', RGB, suffix)
    message.data = message.data[: len(message.data) // 2]
    with pytest.raises(BadInput, match='end is missing') as caught:
        rgb_from_compressed_message(message)
    assert caught.value.cause == 'compressed'


@pytest.mark.parametrize(
    ('data', 'format_', 'named'),
    [
        (b'', 'jpeg', 'neither JPEG nor PNG'),
        (b'GIF89a', 'gif', "format 'gif'"),
        (b'\xff\xd8\xff\xd9', 'jpeg', 'damaged'),
        (b'\x89PNG\r\n\x1a\n', '16UC1; compressedDepth png', 'depth image'),
    ],
)
def test_other_formats_are_rejected_with_the_reason(data: bytes, format_: str, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        rgb_from_compressed_message(CompressedImage(format=format_, data=array.array('B', data)))


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from(['.jpg', '.png']),
    place=st.integers(20, 400),
    noise=st.binary(min_size=1, max_size=40),
)
def test_a_damaged_image_is_rejected_or_still_an_image(
    suffix: str, place: int, noise: bytes
) -> None:
    message = _message('jpeg', RGB, suffix)
    data = bytearray(message.data.tobytes())
    data[place : place + len(noise)] = noise
    message.data = array.array('B', bytes(data))
    try:
        seen = rgb_from_compressed_message(message)
    except BadInput:
        return
    assert seen.dtype == np.uint8
    assert seen.ndim == 3
    assert seen.shape[2] == 3


@pytest.mark.parametrize(
    ('place', 'size'),
    [
        (16, (30_000).to_bytes(4, 'big') * 2),  # of the image: 2.7 GB
        (33, b'\x7f\xff\xff\xff'),
    ],
)  # of a part of it: 2 GB
def test_a_png_with_a_damaged_size_is_rejected_before_memory_is_allocated(
    monkeypatch: pytest.MonkeyPatch, place: int, size: bytes
) -> None:
    message = _message('png', RGB)
    data = bytearray(message.data.tobytes())
    data[place : place + len(size)] = size
    message.data = array.array('B', bytes(data))
    monkeypatch.setattr(compressed.cv2, 'imdecode', lambda *_: pytest.fail('it was decoded'))
    with pytest.raises(BadInput, match='damaged'):
        rgb_from_compressed_message(message)


def test_the_end_of_a_thumbnail_is_not_mistaken_for_the_end_of_the_image() -> None:
    data = _message('jpeg', RGB, '.jpg').data.tobytes()
    thumbnail = b'Exif\0\0' + data
    with_thumbnail = (
        data[:2] + b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail + data[2:]
    )
    whole = CompressedImage(format='jpeg', data=array.array('B', with_thumbnail))
    assert rgb_from_compressed_message(whole).shape == RGB.shape
    cut = CompressedImage(format='jpeg', data=array.array('B', with_thumbnail[:-200]))
    with pytest.raises(BadInput, match='its end is missing'):
        rgb_from_compressed_message(cut)
