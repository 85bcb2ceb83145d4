"""Converts sensor_msgs/Image to RGB arrays and back; checks every size and encoding.

Image coordinates: x right, y down; the centre of the top left pixel is (0, 0).
"""

from __future__ import annotations

import array
from typing import NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.serialized_image import SerializedImage
from decomr_ros.node.installation import install_hint

try:  # only for encodings that are not in `ENCODINGS`
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None

__all__ = ['ENCODINGS', 'image_message', 'numbers_from_image_message', 'rgb_from_image_message']


class _Encoding(NamedTuple):
    channels: int
    """Numbers per pixel."""
    dtype: str
    """NumPy name of the numbers' type, little-endian."""
    to_rgb: int | None
    """OpenCV's conversion code; None if the numbers are RGB."""
    even: str = ''
    """Sizes that must be even: '', 'width' or 'width and height'."""
    rows_per_2: int = 2
    """Rows of data per two rows of the image: 3 if a subsampled chroma plane follows the luma
    plane."""


# OpenCV names a Bayer pattern by the second and third pixel of its second row, ROS by the first
# two pixels of the first row: RGGB in ROS is BG in OpenCV.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}

# The untyped OpenCV names (8UC1, 8UC3, 8UC4) are read as by cv_bridge: gray, BGR, BGRA.
# yuv422 is UYVY; uyvy and yuyv are the newer names of the two YUV layouts.
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
    'yuv422': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_UYVY, 'width'),
    'uyvy': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_UYVY, 'width'),
    'yuv422_yuy2': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_YUY2, 'width'),
    'yuyv': _Encoding(2, '<u1', cv2.COLOR_YUV2RGB_YUY2, 'width'),
    'nv12': _Encoding(1, '<u1', cv2.COLOR_YUV2RGB_NV12, 'width and height', 3),
    'nv21': _Encoding(1, '<u1', cv2.COLOR_YUV2RGB_NV21, 'width and height', 3),
    **{
        f'bayer_{pattern}{bits}': _Encoding(1, f'<u{bits // 8}', code, 'width and height')
        for pattern, code in _BAYER.items()
        for bits in (8, 16)
    },
}
# The meaning of these numbers depends on the topic, e.g. depth.
_NUMBERS = {
    '16UC1': _Encoding(1, '<u2', None),
    'mono16': _Encoding(1, '<u2', None),
    '32FC1': _Encoding(1, '<f4', None),
}


def rgb_from_image_message(message: Image | SerializedImage) -> np.ndarray:
    """Converts an Image message of any encoding, row padding and byte order.

    Of 16 bits per channel the upper 8 are kept. cv_bridge, if installed, converts encodings that
    are not in `ENCODINGS`.

    Returns:
        (H, W, 3) uint8 RGB; may share the memory of the message and be a view of BGR data.

    Raises:
        BadInput: unknown encoding, or sizes that contradict each other.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        return _rgb_from_cv_bridge(message)
    pixels = _pixels(message, encoding)
    if encoding.dtype == '<u2':
        pixels = (pixels >> 8).astype(np.uint8)
    if encoding.to_rgb is None:
        return pixels
    if encoding.to_rgb == cv2.COLOR_BGR2RGB:
        # A view, because little more than the crops is read. See `as_stored` in
        # `decomr_core.geometry.crop`.
        return pixels[..., ::-1]
    return cv2.cvtColor(np.ascontiguousarray(pixels), encoding.to_rgb)


def numbers_from_image_message(message: Image) -> np.ndarray:
    """The unchanged numbers of an Image message of encoding 16UC1, mono16 or 32FC1.

    Returns:
        (H, W) uint16 or float32 in native byte order; may share the memory of the message.

    Raises:
        BadInput: another encoding, or sizes that contradict each other.
    """
    encoding = _NUMBERS.get(message.encoding)
    if encoding is None:
        raise BadInput(
            'encoding',
            f'image encoding {message.encoding!r}, expected one of: {", ".join(_NUMBERS)}',
        )
    return _pixels(message, encoding)[..., 0]


def image_message(header: Header, pixels: np.ndarray, encoding: str) -> Image:
    """An Image message without row padding.

    Args:
        header: stamp and frame, copied by reference.
        pixels: (H, W, C) of the encoding's type, little-endian.
        encoding: sensor_msgs name, e.g. bgr8, 32FC3.
    """
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    message = Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.nbytes // height,
    )
    # rclpy checks the elements of any other type one by one.
    data = array.array('B')
    data.frombytes(pixels.data.cast('B'))
    message.data = data
    return message


def _pixels(message: Image | SerializedImage, encoding: _Encoding) -> np.ndarray:
    """(rows, W, C) view of the data of a message, without the padding, in native byte order."""
    width = message.width
    dtype = np.dtype(encoding.dtype)
    row_bytes = width * encoding.channels * dtype.itemsize
    what = _what(message)
    if message.step < row_bytes:
        raise BadInput(
            'size',
            f'{what}: step is {message.step} bytes, one row needs {row_bytes}; '
            'check the camera driver',
        )
    if ('width' in encoding.even and width % 2) or (
        'height' in encoding.even and message.height % 2
    ):
        raise BadInput(
            'size',
            f'{what}: {message.encoding} needs an even {encoding.even}; check the camera driver',
        )
    num_rows = message.height * encoding.rows_per_2 // 2
    rows = _rows(message, num_rows)[:, :row_bytes]
    if dtype.itemsize > 1:
        rows = (
            np.ascontiguousarray(rows)
            .view(dtype.newbyteorder('>' if message.is_bigendian else '<'))
            .astype(dtype.newbyteorder('='), copy=False)
        )
    return rows.reshape(num_rows, width, encoding.channels)


def _rows(message: Image | SerializedImage, num_rows: int) -> np.ndarray:
    """The data as (num_rows, step) bytes."""
    what = _what(message)
    if message.height == 0 or message.width == 0:
        raise BadInput('size', f'{what}: it is empty; check the camera driver')
    data = np.frombuffer(message.data, np.uint8)
    if data.size != message.step * num_rows:
        times = 'step * height' if num_rows == message.height else 'step * height * 3 / 2'
        raise BadInput(
            'size',
            f'{what}: {data.size} bytes of data, {times} is '
            f'{message.step * num_rows}; check the camera driver',
        )
    return data.reshape(num_rows, message.step)


def _what(message: Image | SerializedImage) -> str:
    return f'image of {message.width}x{message.height} px, encoding {message.encoding}'


def _rgb_from_cv_bridge(message: Image | SerializedImage) -> np.ndarray:
    """Converts an encoding that is not in `ENCODINGS` with cv_bridge: (H, W, 3) uint8 RGB."""
    if CvBridge is None:
        raise BadInput(
            'encoding',
            f'image encoding {message.encoding!r} is not supported; supported: '
            f'{", ".join(ENCODINGS)}, and with cv_bridge ({install_hint("cv_bridge")}) '
            'all encodings that it converts to rgb8; or convert the image, e.g. with image_proc',
        )
    _rows(message, message.height)  # cv_bridge would read beyond the end of the data
    if isinstance(message, SerializedImage):
        message = message.as_message()
    try:
        image = np.asarray(CvBridge().imgmsg_to_cv2(message, 'rgb8'))
    except Exception as error:  # noqa: BLE001 - e.g. CvBridgeError, cv2.error, KeyError
        raise BadInput(
            'encoding',
            f'image encoding {message.encoding!r}: cv_bridge cannot convert it to rgb8: {error}',
        ) from error
    if image.dtype != np.uint8 or image.shape != (message.height, message.width, 3):
        raise BadInput(
            'encoding',
            f'{_what(message)}: cv_bridge converted it to '
            f'{image.shape} {image.dtype}, expected rgb8',
        )
    return image
