"""Converts sensor_msgs/CompressedImage to RGB arrays and back: JPEG and PNG, as image_transport.

`format` is `jpeg` or `png` (drivers that compress images themselves), or
`<encoding>; <jpeg or png> compressed <stored encoding>`, e.g. `rgb8; jpeg compressed bgr8`. Bayer
images are stored as their mosaic, a gray image.
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

__all__ = [
    'ORIENTATION_AS_STORED',
    'compressed_message',
    'exif_orientation',
    'file_kind',
    'rgb_from_compressed_message',
]

# EXIF is ignored: the orientation of a camera is given by TF.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_START = {'jpeg': b'\xff\xd8', 'png': b'\x89PNG\r\n\x1a\n'}
_END = {'jpeg': b'\xff\xd9', 'png': b'IEND'}
_SCAN = {'jpeg': b'\xff\xda', 'png': b'IDAT'}
# The IHDR chunk of a PNG (image size and colour type) and its checksum.
_PNG_HEADER, _PNG_CHECKSUM = slice(12, 29), slice(29, 33)
# Encodings without colours, which compressed_image_transport also stores as PNG.
_NO_COLOURS = ('16UC1', '32FC1')

ORIENTATION_AS_STORED = 1
"""EXIF orientation of an image that need not be rotated."""
# EXIF tag of the orientation; upper limit of the offset of the EXIF segment in a JPEG, bytes.
_ORIENTATION_TAG, _EXIF_WITHIN = 0x0112, 4096


def rgb_from_compressed_message(message: CompressedImage) -> np.ndarray:
    """Decodes a CompressedImage message; of 16 bits per channel the upper 8 are kept.

    Returns:
        (H, W, 3) uint8 RGB; may be a view of BGR data.

    Raises:
        BadInput: the image is neither JPEG nor PNG, or damaged.
    """
    data = bytes(message.data)
    what = f'compressed image of {len(data)} bytes, format {message.format!r}'
    encoding = message.format.partition(';')[0].strip()
    is_mosaic = encoding.startswith('bayer_')
    _check_format(message.format, encoding, what)
    kind = file_kind(data)
    if kind is None:
        raise BadInput(
            'compressed',
            f'{what}: neither JPEG nor PNG; configure the camera or '
            'image_transport republish to send one of them',
        )
    # OpenCV fills a truncated image with gray; cameras may pad data after the end. The end of a
    # JPEG follows the start of its last scan; an end before that belongs to a thumbnail.
    if data.rfind(_END[kind]) <= data.rfind(_SCAN[kind]):
        raise BadInput(
            'compressed', f'{what}: its end is missing; check whether the connection loses data'
        )
    try:
        # OpenCV also rejects damaged sizes, but only after it has spent seconds and gigabytes.
        image = (
            None
            if kind == 'png' and _has_damaged_sizes(data)
            else cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED if is_mosaic else _FLAGS
            )
        )
    except cv2.error as error:
        raise BadInput('compressed', f'{what}: {error.err}; check the camera driver') from error
    if image is None:
        raise BadInput('compressed', f'{what}: damaged; check whether the connection loses data')
    if is_mosaic:
        return _rgb_from_mosaic(image, encoding, what)
    return image if _is_stored_as_rgb(message.format) else image[..., ::-1]


def compressed_message(
    header: Header, rgb: np.ndarray, kind: str, jpeg_quality: int = 95
) -> CompressedImage:
    """A CompressedImage message as compressed_image_transport makes it from an rgb8 image.

    Args:
        header: stamp and frame, copied by reference.
        rgb: (H, W, 3) uint8.
        kind: `jpeg` (lossy) or `png` (lossless).
        jpeg_quality: 1 to 100; higher is larger and more accurate.

    Raises:
        ValueError: another kind, or the format cannot hold the image.
    """
    if kind not in _START:
        raise ValueError(f'compression is {kind!r}, expected jpeg or png')
    # No level for PNG: OpenCV's default is 4 times as fast as any level, at a similar size.
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if kind == 'jpeg' else []
    is_done, data = cv2.imencode(f'.{kind}', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not is_done:
        raise ValueError(f'cannot encode an image of {rgb.shape[1]}x{rgb.shape[0]} px as {kind}')
    return CompressedImage(
        header=header,
        format=f'rgb8; {kind} compressed bgr8',
        data=array.array('B', data.tobytes()),
    )


def file_kind(data: bytes | array.array) -> str | None:
    """`jpeg` or `png` by the magic bytes; None: neither."""
    start = bytes(data[: len(_START['png'])])
    return next((kind for kind, first in _START.items() if start.startswith(first)), None)


def exif_orientation(data: bytes | array.array) -> int:
    """The EXIF orientation of a JPEG, 1 to 8 (Exif 2.3, tag 0x0112).

    Returns:
        1 (as stored) also if there is none or it cannot be read.
    """
    start = bytes(data[:_EXIF_WITHIN])
    place = start.find(b'Exif\0\0')
    if place < 0:
        return ORIENTATION_AS_STORED
    part = start[place + 6 :]
    order = '<' if part.startswith(b'II') else '>'
    try:
        (first,) = struct.unpack_from(f'{order}I', part, 4)
        (count,) = struct.unpack_from(f'{order}H', part, first)
        for index in range(count):
            tag, _, _, value = struct.unpack_from(f'{order}HHIH', part, first + 2 + 12 * index)
            if tag == _ORIENTATION_TAG:
                return value or ORIENTATION_AS_STORED
    except struct.error:
        pass
    return ORIENTATION_AS_STORED


def _check_format(text: str, encoding: str, what: str) -> None:
    """Rejects depth images and unsupported Bayer encodings."""
    if 'compresseddepth' in text.lower():
        raise BadInput(
            'compressed',
            f'{what}: it is a depth image; remap image to the colour topic of the camera',
        )
    if encoding in _NO_COLOURS:
        raise BadInput(
            'compressed',
            f'{what}: {encoding} is not a colour image but numbers such '
            'as depth; remap image to the colour topic of the camera',
        )
    if encoding.startswith('bayer_') and encoding not in ENCODINGS:
        raise BadInput(
            'compressed', f'{what}: {encoding} is not supported; supported: {", ".join(ENCODINGS)}'
        )


def _rgb_from_mosaic(image: np.ndarray, encoding: str, what: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB from the decoded file of an image with a Bayer encoding."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 3:  # already debayered by the driver
        return image[..., 2::-1]
    if image.shape[0] % 2 or image.shape[1] % 2:
        raise BadInput(
            'compressed',
            f'{what}: {encoding} needs an even width and height, it has '
            f'{image.shape[1]}x{image.shape[0]} px; check the camera '
            'driver',
        )
    code = ENCODINGS[encoding].to_rgb
    assert code is not None  # only rgb8 has none
    return cv2.cvtColor(image, code)


def _has_damaged_sizes(data: bytes) -> bool:
    """Whether the checksum of a PNG's image size is wrong, or the size of a chunk is too large.

    A JPEG has no checksums.
    """
    place = len(_START['png'])
    while data[place + 4 : place + 8] != _END['png']:
        place += 12 + int.from_bytes(data[place : place + 4], 'big')
        if place >= len(data):
            return True
    return zlib.crc32(data[_PNG_HEADER]) != int.from_bytes(data[_PNG_CHECKSUM], 'big')


def _is_stored_as_rgb(text: str) -> bool:
    """Whether the channels of the file are stored in the order R, G, B.

    compressed_image_transport writes `compressed bgr8` for colour images. Its subscriber reads
    colour images without these words as stored in the order R, G, B.
    """
    encoding, has_details, stored = text.partition(';')
    is_colour = encoding.strip().startswith(('rgb', 'bgr'))
    return bool(has_details) and is_colour and 'compressed bgr' not in stored
