"""sensor_msgs/Image to RGB arrays and back: every size and encoding checked, nothing guessed.

Frames: image rows run down, columns right; the centre of the top left pixel is (0, 0).
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from decomr_core.structures import HumanMesh

__all__ = ['ENCODINGS', 'image_message', 'iuv_image_from_meshes', 'rgb_from_image_message']

# An IUV pixel belongs to a person from this foreground probability on.
FOREGROUND = 0.5


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


def iuv_image_from_meshes(meshes: Sequence[HumanMesh], height: int, width: int,
                          encoding: str) -> np.ndarray:
    """The IUV images of all people pasted where they stand; the nearest person wins.

    Args:
        meshes: the people; their `iuv`, `crop_center`, `crop_side` and `weak_camera` are used.
        height: of the source image, px.
        width: of the source image, px.
        encoding: rgb8 or 32FC3.

    Returns:
        (height, width, 3): foreground probability, u, v; float32 in [0, 1] for 32FC3, uint8
        (times 255, rounded) for rgb8. Zeros where nobody is.

    Raises:
        ValueError: another encoding.
    """
    if encoding not in ('rgb8', '32FC3'):
        raise ValueError(f'IUV encoding {encoding!r} is unknown; known: rgb8, 32FC3')
    canvas = np.zeros((height, width, 3), np.uint8 if encoding == 'rgb8' else np.float32)
    # Pixels per metre of body: the larger a person appears, the nearer. Drawn last = on top.
    for mesh in sorted(meshes, key=lambda mesh: mesh.weak_camera[0] * mesh.crop_side):
        _paste_iuv(canvas, mesh)
    return canvas


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


def _paste_iuv(canvas: np.ndarray, mesh: HumanMesh) -> None:
    """Writes one person's (3, h, w) IUV image over a (H, W, 3) canvas, in place."""
    side, size = float(mesh.crop_side), mesh.iuv.shape[2]
    left, top = np.asarray(mesh.crop_center, float) - 0.5 * side
    first_column, first_row = max(0, int(np.ceil(left))), max(0, int(np.ceil(top)))
    columns = min(canvas.shape[1], int(np.floor(left + side)) + 1) - first_column
    rows = min(canvas.shape[0], int(np.floor(top + side)) + 1) - first_row
    if columns <= 0 or rows <= 0:
        return
    # u and v mean nothing in the background: interpolate them weighted by the foreground.
    inside = (mesh.iuv[0] >= FOREGROUND).astype(np.float32)
    source = np.stack([mesh.iuv[0], mesh.iuv[1] * inside, mesh.iuv[2] * inside, inside], axis=-1)
    scale = size / side
    source_from_region = np.array([[scale, 0, (first_column - left) * scale - 0.5],
                                   [0, scale, (first_row - top) * scale - 0.5]])
    # The edge is repeated so that a person cut by the crop keeps its last half texel.
    region = cv2.warpAffine(source, source_from_region, (columns, rows),
                            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                            borderMode=cv2.BORDER_REPLICATE)
    is_person = (region[..., 0] >= FOREGROUND) & (region[..., 3] > 0)
    values = region[is_person]
    values[:, 1:3] /= values[:, 3:]
    target = canvas[first_row:first_row + rows, first_column:first_column + columns]
    if canvas.dtype == np.uint8:
        target[is_person] = np.clip(values[:, :3] * 255 + 0.5, 0, 255).astype(np.uint8)
    else:
        target[is_person] = np.clip(values[:, :3], 0, 1)
