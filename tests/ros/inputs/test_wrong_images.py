"""A wrong image, plain or compressed, is named in the log and by a warning."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage

from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.inputs import Inputs
from tests.ros.inputs.test_inputs import Notes, gray, header, node, start
from tests.ros.inputs.wrong_inputs import change, numbers, see, warnings_of

__all__ = ['node']  # the fixture

IMAGES = {
    'no encoding': (gray, change(encoding=''), "encoding ''"),
    'an unknown encoding': (gray, change(encoding='rgb9'), "'rgb9' is not supported"),
    'another unknown one': (gray, change(encoding='16UC3'), "'16UC3' is not supported"),
    'depth': (lambda: numbers('16UC1', '<u2', 900), change(), "'16UC1' is not supported"),
    'floats': (lambda: numbers('32FC1', '<f4', 0.5), change(), "'32FC1' is not supported"),
    'untyped colours': (gray, change(encoding='8UC3'), 'read as bgr8'),
    'untyped gray': (lambda: numbers('8UC1', 'u1', 9), change(), 'read as mono8'),
    'no height': (gray, change(height=0), 'it is empty'),
    'no width': (gray, change(width=0), 'it is empty'),
    'a step too small': (gray, change(step=10), 'step is 10 bytes'),
    'a step too large': (gray, change(step=900), 'bytes of data'),
    'too few data': (gray, change(data=array.array('B', [1, 2, 3])), '3 bytes of data'),
    'an odd mosaic': (lambda: numbers('bayer_rggb8', 'u1', 9, size=63), change(), 'even width'),
    '12 of 16 bits': (lambda: numbers('mono16', '<u2', 4000), change(), 'nearly black'),
    'the other order of bytes': (lambda: numbers('mono16', '<u2', 0x0F), change(), 'nearly black'),
}


def assert_reported(word: str, node: Notes, inputs: Inputs, frames: list[Frame]) -> None:
    """The word is in the error of the last image or in the log; without an error in a warning."""
    said = see(frames)
    assert word in said or any(word in text for text in node.log)
    if not said:
        assert any(word in text for text in warnings_of(inputs).values())


@pytest.mark.parametrize('case', IMAGES)
def test_a_wrong_image_is_reported(node: Notes, case: str) -> None:
    make, wrong, word = IMAGES[case]
    inputs, frames = start(node)
    message = make()
    wrong(message)
    node.callbacks['/image'](message)
    assert_reported(word, node, inputs, frames)


def file_of(kind: str, picture: np.ndarray) -> array.array:
    return array.array('B', cv2.imencode(kind, picture)[1].tobytes())


def compressed(
    format_: str, kind: str = '.jpg', picture: np.ndarray | None = None
) -> CompressedImage:
    if picture is None:
        picture = np.full((48, 64, 3), (10, 20, 200), np.uint8)
    return CompressedImage(header=header(1), format=format_, data=file_of(kind, picture))


def turned() -> CompressedImage:
    """A JPEG with an EXIF part that says: turn me by 90 degrees."""
    message = compressed('jpeg')
    exif = (
        b'Exif\0\0II*\0\x08\0\0\0'
        + b'\x01\0'
        + b'\x12\x01\x03\0\x01\0\0\0\x06\0\0\0'
        + b'\0\0\0\0'
    )
    data = message.data.tobytes()
    message.data = array.array(
        'B', data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    )
    return message


MOSAIC = np.tile(np.array([[200, 100], [100, 20]], np.uint8), (24, 32))
COMPRESSED = {
    'a video': (
        lambda: compressed('h264'),
        change(data=array.array('B', b'\0\0\0\1gB')),
        'neither JPEG nor PNG',
    ),
    'nothing': (lambda: compressed('jpeg'), change(data=array.array('B')), 'neither JPEG'),
    'another format': (lambda: compressed('png'), change(), 'its data are jpeg'),
    'no format': (lambda: compressed(''), change(), 'its data are jpeg'),
    'half a picture': (
        lambda: compressed(
            'jpeg', picture=np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        ),
        lambda message: change(data=message.data[:700])(message),
        'end is missing',
    ),
    'depth': (lambda: compressed('16UC1; compressedDepth png', '.png'), change(), 'depth image'),
    'depth in a plain PNG': (
        lambda: compressed(
            '16UC1; png compressed 16UC1', '.png', np.full((48, 64), 2000, np.uint16)
        ),
        change(),
        '16UC1 is not a colour image',
    ),
    'a mosaic in a JPEG': (
        lambda: compressed('bayer_rggb8; jpeg compressed ', picture=MOSAIC),
        change(),
        'Bayer mosaic',
    ),
    'an unknown mosaic': (
        lambda: compressed('bayer_rggb12; png compressed ', '.png', MOSAIC),
        change(),
        'bayer_rggb12 is not supported',
    ),
    'an odd mosaic': (
        lambda: compressed('bayer_rggb8; png compressed ', '.png', MOSAIC[:47]),
        change(),
        'even width and height',
    ),
    'an EXIF rotation': (turned, change(), 'orientation 6'),
    '12 of 16 bits': (
        lambda: compressed('mono16; png compressed ', '.png', np.full((48, 64), 900, np.uint16)),
        change(),
        'nearly black',
    ),
}


@pytest.mark.parametrize('case', COMPRESSED)
def test_a_wrong_compressed_image_is_reported(node: Notes, case: str) -> None:
    make, wrong, word = COMPRESSED[case]
    inputs, frames = start(node, image_transport='compressed')
    message = make()
    wrong(message)
    node.callbacks['/image/compressed'](message)
    assert_reported(word, node, inputs, frames)


@pytest.mark.parametrize('dtype', ['u1', 'u2'])
def test_a_mosaic_in_a_png_has_its_colours(node: Notes, dtype: str) -> None:
    inputs, frames = start(node, image_transport='compressed')
    bits = 8 if dtype == 'u1' else 16
    picture = MOSAIC.astype(dtype) << (bits - 8)
    node.callbacks['/image/compressed'](
        compressed(f'bayer_rggb{bits}; png compressed ', '.png', picture)
    )
    assert frames[0].rgb[20, 20].tolist() == [200, 100, 20]
    assert not any('image' in name for name in warnings_of(inputs))
