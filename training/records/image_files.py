"""Reads image files: sizes without decoding, and pixels without EXIF rotation.

Annotations refer to the pixels as they are stored, so the EXIF orientation is ignored.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from decomr_core.base.files import replacing

__all__ = ['image_size', 'read_labels', 'read_rgb', 'write_image']

PNG_START = b'\x89PNG\r\n\x1a\n'
JPEG_START = b'\xff\xd8'
JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the JPEG segments that contain the size (start of frame)."""
JPEG_QUALITY = 95
"""Quality of extracted video frames; the loss is below that of the video's own compression."""


def read_rgb(path: Path) -> np.ndarray | None:
    """Reads an image (H, W, 3) uint8 RGB as stored; None if it is missing or unreadable."""
    image = _decoded(path, cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_labels(path: Path) -> np.ndarray | None:
    """Reads an image of class labels (H, W) uint8; None if it is missing or unreadable."""
    return _decoded(path, cv2.IMREAD_GRAYSCALE)


def image_size(path: Path) -> tuple[int, int] | None:
    """Reads the width and height of an image, px; None if it is missing or unreadable.

    JPEG and PNG files are not decoded; only their headers are read.
    """
    try:
        with path.open('rb') as handle:
            start = handle.read(24)
            if start.startswith(PNG_START):
                width, height = struct.unpack('>II', start[16:24]) if len(start) == 24 else (0, 0)
                return (width, height) if min(width, height) > 0 else None
            if start.startswith(JPEG_START):
                return _jpeg_size(handle)
    except OSError:
        return None
    image = read_rgb(path)
    return None if image is None else (image.shape[1], image.shape[0])


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an image (H, W, 3) uint8 BGR atomically; creates its folder.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not synced: there are many thousands of images, and they can be extracted again.
    with replacing(path, is_synced=False) as part:
        if not cv2.imwrite(str(part), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f'cannot write {path}; check the free disk space and the permissions')


def _decoded(path: Path, mode: int) -> np.ndarray | None:
    """Decodes an image, without EXIF rotation; None if it is missing or unreadable."""
    try:
        content = np.fromfile(path, np.uint8)
        if not len(content):
            return None
        return cv2.imdecode(content, mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except (OSError, cv2.error):  # OpenCV raises an error if a header claims too many pixels
        return None


def _jpeg_size(handle: BinaryIO) -> tuple[int, int] | None:
    """The size in the first start-of-frame segment."""
    handle.seek(len(JPEG_START))
    while True:
        marker = handle.read(1)
        while marker == b'\xff':  # any number of these may precede a marker
            marker = handle.read(1)
        length = handle.read(2)
        if len(length) < 2:
            return None
        if marker[0] in JPEG_SIZES:
            frame = handle.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack('>HH', frame[1:])
            return (width, height) if min(width, height) > 0 else None
        handle.seek(struct.unpack('>H', length)[0] - 2, 1)
