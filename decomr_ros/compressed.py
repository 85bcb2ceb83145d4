"""sensor_msgs/CompressedImage to RGB arrays and back: JPEG and PNG, as image_transport does.

`format` is `jpeg` or `png` (drivers that compress themselves), or
`<encoding>; <jpeg or png> compressed <what was stored>`, e.g. `rgb8; jpeg compressed bgr8`.
"""

from __future__ import annotations

import array
import zlib

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from decomr_ros.bad_input import BadInput

__all__ = ['compressed_message', 'rgb_from_compressed_message']

# The picture as it was stored: a camera that is mounted upside down says so by TF, not by EXIF.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_START = {'jpeg': b'\xff\xd8', 'png': b'\x89PNG\r\n\x1a\n'}
_END = {'jpeg': b'\xff\xd9', 'png': b'IEND'}
_SCAN = {'jpeg': b'\xff\xda', 'png': b'IDAT'}
# A PNG begins with its size and its kind of colours; a checksum follows.
_PNG_HEADER, _PNG_CHECKSUM = slice(12, 29), slice(29, 33)


def rgb_from_compressed_message(message: CompressedImage) -> np.ndarray:
    """The picture of a CompressedImage message; 16 bits per channel keep their upper 8.

    Returns:
        (H, W, 3) uint8 RGB; it may be a view on BGR.

    Raises:
        BadInput: neither JPEG nor PNG, or damaged.
    """
    data = bytes(message.data)
    what = f'compressed image of {len(data)} bytes, format {message.format!r}'
    if 'compresseddepth' in message.format.lower():
        raise BadInput('compressed', f'{what}: it is a depth image; remap image to the colour '
                                     'topic of the camera')
    kind = next((kind for kind, start in _START.items() if data.startswith(start)), None)
    if kind is None:
        raise BadInput('compressed', f'{what}: neither JPEG nor PNG; let the camera or '
                                     'image_transport republish send one of them')
    # OpenCV fills up a truncated picture with gray; cameras may pad behind the end.
    # A JPEG's end comes after the start of its last scan; before it is that of a thumbnail.
    if data.rfind(_END[kind]) <= data.rfind(_SCAN[kind]):
        raise BadInput('compressed', f'{what}: its end is missing; is the connection losing data?')
    try:
        # OpenCV refuses damaged sizes as well, but after seconds and gigabytes spent on them.
        picture = None if kind == 'png' and _has_damaged_sizes(data) else cv2.imdecode(
            np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error as error:
        raise BadInput('compressed', f'{what}: {error.err}; check the camera driver') from error
    if picture is None:
        raise BadInput('compressed', f'{what}: damaged; is the connection losing data?')
    return picture if _is_stored_as_rgb(message.format) else picture[..., ::-1]


def compressed_message(header: Header, rgb: np.ndarray, kind: str,
                       jpeg_quality: int = 95) -> CompressedImage:
    """A CompressedImage message as compressed_image_transport makes it of an rgb8 image.

    Args:
        header: stamp and frame, copied by reference.
        rgb: (H, W, 3) uint8.
        kind: `jpeg` (lossy) or `png` (lossless).
        jpeg_quality: 1 to 100; more is larger and closer to the picture.

    Raises:
        ValueError: another kind, or a picture that the format cannot hold.
    """
    if kind not in _START:
        raise ValueError(f'compressed form is {kind!r}, expected jpeg or png')
    # No level for PNG: OpenCV's own setting is 4 times as fast as any level at similar sizes.
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if kind == 'jpeg' else []
    is_done, data = cv2.imencode(f'.{kind}', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not is_done:
        raise ValueError(f'a picture of {rgb.shape[1]}x{rgb.shape[0]} px does not become {kind}')
    return CompressedImage(header=header, format=f'rgb8; {kind} compressed bgr8',
                           data=array.array('B', data.tobytes()))


def _has_damaged_sizes(data: bytes) -> bool:
    """Whether the size of a PNG is not what its checksum says, or that of a part of it too large.

    A JPEG has no checksums.
    """
    place = len(_START['png'])
    while data[place + 4:place + 8] != _END['png']:
        place += 12 + int.from_bytes(data[place:place + 4], 'big')
        if place >= len(data):
            return True
    return zlib.crc32(data[_PNG_HEADER]) != int.from_bytes(data[_PNG_CHECKSUM], 'big')


def _is_stored_as_rgb(text: str) -> bool:
    """Whether the file has red where others have blue.

    compressed_image_transport says `compressed bgr8` of colours; its subscriber takes colours
    without that word as stored in the order R, G, B.
    """
    encoding, has_details, stored = text.partition(';')
    is_colour = encoding.strip().startswith(('rgb', 'bgr'))
    return bool(has_details) and is_colour and 'compressed bgr' not in stored
