"""sensor_msgs/CompressedImage to RGB arrays and back: JPEG and PNG, as image_transport does.

`format` is `jpeg` or `png` (drivers that compress themselves), or
`<encoding>; <jpeg or png> compressed <what was stored>`, e.g. `rgb8; jpeg compressed bgr8`. Images
of a Bayer encoding are stored as their mosaic: a gray picture.
"""

from __future__ import annotations

import array
import struct
import zlib

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.images import ENCODINGS

__all__ = ['ORIENTATION_AS_STORED', 'compressed_message', 'exif_orientation', 'file_kind',
           'rgb_from_compressed_message']

# The picture as it was stored: a camera that is mounted upside down says so by TF, not by EXIF.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_START = {'jpeg': b'\xff\xd8', 'png': b'\x89PNG\r\n\x1a\n'}
_END = {'jpeg': b'\xff\xd9', 'png': b'IEND'}
_SCAN = {'jpeg': b'\xff\xda', 'png': b'IDAT'}
# A PNG begins with its size and its kind of colours; a checksum follows.
_PNG_HEADER, _PNG_CHECKSUM = slice(12, 29), slice(29, 33)
# Encodings of numbers that are no colours: compressed_image_transport packs them into PNG as well.
_NO_COLOURS = ('16UC1', '32FC1')

ORIENTATION_AS_STORED = 1
"""What EXIF says of a picture that is not to be turned."""
# The tag of the orientation, and how far into a JPEG its EXIF part begins at most, bytes.
_ORIENTATION_TAG, _EXIF_WITHIN = 0x0112, 4096


def rgb_from_compressed_message(message: CompressedImage) -> np.ndarray:
    """The picture of a CompressedImage message; 16 bits per channel keep their upper 8.

    Returns:
        (H, W, 3) uint8 RGB; it may be a view on BGR.

    Raises:
        BadInput: neither JPEG nor PNG, or damaged.
    """
    data = bytes(message.data)
    what = f'compressed image of {len(data)} bytes, format {message.format!r}'
    encoding = message.format.partition(';')[0].strip()
    is_mosaic = encoding.startswith('bayer_')
    _check_format(message.format, encoding, what)
    kind = file_kind(data)
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
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED if is_mosaic else _FLAGS)
    except cv2.error as error:
        raise BadInput('compressed', f'{what}: {error.err}; check the camera driver') from error
    if picture is None:
        raise BadInput('compressed', f'{what}: damaged; is the connection losing data?')
    if is_mosaic:
        return _rgb_from_mosaic(picture, encoding, what)
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


def file_kind(data: bytes | array.array) -> str | None:
    """`jpeg` or `png`, by how a file begins; None: neither."""
    start = bytes(data[:len(_START['png'])])
    return next((kind for kind, first in _START.items() if start.startswith(first)), None)


def exif_orientation(data: bytes | array.array) -> int:
    """The orientation that a JPEG's EXIF part gives, 1 to 8 (Exif 2.3, tag 0x0112).

    Returns:
        1, as stored, also where there is none or it cannot be read.
    """
    start = bytes(data[:_EXIF_WITHIN])
    place = start.find(b'Exif\0\0')
    if place < 0:
        return ORIENTATION_AS_STORED
    part = start[place + 6:]
    order = '<' if part.startswith(b'II') else '>'
    try:
        first, = struct.unpack_from(f'{order}I', part, 4)
        count, = struct.unpack_from(f'{order}H', part, first)
        for index in range(count):
            tag, _, _, value = struct.unpack_from(f'{order}HHIH', part, first + 2 + 12 * index)
            if tag == _ORIENTATION_TAG:
                return value or ORIENTATION_AS_STORED
    except struct.error:
        pass
    return ORIENTATION_AS_STORED


def _check_format(text: str, encoding: str, what: str) -> None:
    """Refuses what is no picture, or a mosaic that nobody here can read."""
    if 'compresseddepth' in text.lower():
        raise BadInput('compressed', f'{what}: it is a depth image; remap image to the colour '
                                     'topic of the camera')
    if encoding in _NO_COLOURS:
        raise BadInput('compressed', f'{what}: {encoding} is no picture but numbers, as depth; '
                                     'remap image to the colour topic of the camera')
    if encoding.startswith('bayer_') and encoding not in ENCODINGS:
        raise BadInput('compressed', f'{what}: {encoding} is not supported; supported: '
                                     f'{", ".join(ENCODINGS)}')


def _rgb_from_mosaic(picture: np.ndarray, encoding: str, what: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of what a file with a Bayer encoding holds."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim == 3:  # the driver has debayered it before
        return picture[..., 2::-1]
    if picture.shape[0] % 2 or picture.shape[1] % 2:
        raise BadInput('compressed', f'{what}: {encoding} needs an even width and height, it has '
                                     f'{picture.shape[1]}x{picture.shape[0]} px; check the camera '
                                     'driver')
    return cv2.cvtColor(picture, ENCODINGS[encoding].to_rgb)


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
