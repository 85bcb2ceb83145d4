"""sensor_msgs/Image to RGB arrays and back: every size and encoding checked, nothing guessed.

Frames: image rows run down, columns right; the centre of the top left pixel is (0, 0).
"""

from __future__ import annotations

import array
from typing import NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

__all__ = ['ENCODINGS', 'image_message', 'rgb_from_image_message']


class _Encoding(NamedTuple):
    channels: int
    """Bytes or 16-bit numbers per pixel."""
    dtype: str
    """numpy's name of the little-endian number."""
    to_rgb: int | None
    """OpenCV's conversion code; None where the numbers are RGB already."""


# The untyped OpenCV names (8UC1, 8UC3, 8UC4) are read as cv_bridge reads them: gray, BGR, BGRA.
# yuv422 is UYVY; the newer names of the two YUV layouts are uyvy and yuyv.
ENCODINGS = {
    'rgb8': _Encoding(3, '<u1', None),
    'bgr8': _Encoding(3, '<u1', cv2.COLOR_BGR2RGB),
    '8UC3': _Encoding(3, '<u1', cv2.COLOR_BGR2RGB),
    'rgba8': _Encoding(4, '<u1', cv2.COLOR_RGBA2RGB),
    'bgra8': _Encoding(4, '<u1', cv2.COLOR_BGRA2RGB),
    '8UC4': _Encoding(4, '<u1', cv2.COLOR_BGRA2RGB),
    'mono8': _Encoding(1, '<u1', cv2.COLOR_GRAY2RGB),
    '8UC1': _Encoding(1, '<u1', cv2.COLOR_GRAY2RGB),
    'mono16': _Encoding(1, '<u2', cv2.COLOR_GRAY2RGB),
    'yuv422': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_YUY2),
}


def rgb_from_image_message(message: Image) -> np.ndarray:
    """The picture of an Image message, whatever its encoding, row padding and byte order.

    16-bit gray keeps its upper 8 bits.

    Returns:
        (H, W, 3) uint8 RGB; it may share the memory of the message.

    Raises:
        ValueError: unknown encoding, or sizes that contradict each other.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ValueError(
            f'image encoding {message.encoding!r} is not supported; supported: '
            f'{", ".join(ENCODINGS)}; convert it before (image_proc debayers raw cameras, '
            'image_transport republish decompresses)')
    pixels = _pixels(message, encoding)
    if encoding.dtype == '<u2':
        pixels = (pixels >> 8).astype(np.uint8)
    if encoding.to_rgb is None:
        return pixels
    return cv2.cvtColor(np.ascontiguousarray(pixels), encoding.to_rgb)


def image_message(header: Header, pixels: np.ndarray, encoding: str) -> Image:
    """An Image message without row padding.

    Args:
        header: stamp and frame, copied by reference.
        pixels: (H, W, C), in the numbers that the encoding asks for, little-endian.
        encoding: sensor_msgs name, e.g. bgr8, 32FC3.
    """
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding,
                    is_bigendian=0, step=pixels.nbytes // height)
    # Anything but array.array is checked element by element.
    data = array.array('B')
    data.frombytes(pixels.data.cast('B'))
    message.data = data
    return message


def _pixels(message: Image, encoding: _Encoding) -> np.ndarray:
    """(H, W, C) view on the data of a message, without the padding, in native byte order."""
    height, width, step = message.height, message.width, message.step
    dtype = np.dtype(encoding.dtype)
    row_bytes = width * encoding.channels * dtype.itemsize
    what = f'image of {width}x{height} px, encoding {message.encoding}'
    if height == 0 or width == 0:
        raise ValueError(f'{what}: it is empty; check the camera driver')
    if step < row_bytes:
        raise ValueError(f'{what}: step is {step} bytes, one row needs {row_bytes}; '
                         'check the camera driver')
    data = np.frombuffer(message.data, np.uint8)
    if data.size != step * height:
        raise ValueError(f'{what}: {data.size} bytes of data, step * height is '
                         f'{step * height}; check the camera driver')
    if encoding.channels == 2 and width % 2:
        raise ValueError(f'{what}: YUV 4:2:2 needs an even width; check the camera driver')
    rows = data.reshape(height, step)[:, :row_bytes]
    if dtype.itemsize > 1:
        rows = np.ascontiguousarray(rows).view(dtype.newbyteorder(
            '>' if message.is_bigendian else '<'))
    return rows.reshape(height, width, encoding.channels)
