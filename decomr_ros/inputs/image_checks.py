"""Warnings about properties of decoded images that are assumed or ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sensor_msgs.msg import CompressedImage

from decomr_ros.messages.compressed import ORIENTATION_AS_STORED, exif_orientation, file_kind
from decomr_ros.messages.images import ENCODINGS

if TYPE_CHECKING:
    import numpy as np
    from sensor_msgs.msg import Image

    from decomr_ros.messages.serialized_image import SerializedImage

__all__ = ['IMAGE_WARNINGS', 'image_remarks']

IMAGE_WARNINGS = ('image_encoding', 'image_bits', 'image_format', 'image_mosaic', 'image_exif')
"""The names of the warnings."""

# OpenCV's encodings without a colour order, and the encodings as which they are read.
_UNTYPED = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8'}
# If no upper byte reaches this value, the image uses at most 12 of its 16 bits.
_TWELVE_OF_16_BITS = 1 << (12 - 8)
# Step between the rows and columns whose brightness is checked.
_STRIDE = 16
_FORMAT_WORDS = {'jpeg': 'jpeg', 'jpg': 'jpeg', 'png': 'png'}


def image_remarks(
    message: Image | SerializedImage | CompressedImage, image: np.ndarray
) -> dict[str, str]:
    """The warnings about an image: texts by name, out of `IMAGE_WARNINGS`.

    Args:
        message: the image.
        image: (H, W, 3) uint8, the decoded image.
    """
    if isinstance(message, CompressedImage):
        return _of_compressed(message, image)
    encoding, found = message.encoding, {}
    if encoding in _UNTYPED:
        found['image_encoding'] = (
            f'image encoding {encoding} does not specify the colour order: read as '
            f'{_UNTYPED[encoding]}, like cv_bridge; configure the camera driver to publish rgb8, '
            'bgr8, mono8 or a bayer encoding'
        )
    elif encoding not in ENCODINGS:
        found['image_encoding'] = (
            f'image encoding {encoding} is converted by cv_bridge; '
            'configure the camera driver to publish rgb8 or bgr8'
        )
    if encoding.endswith('16'):
        found.update(_of_bits(encoding, image))
    return found


def _of_compressed(message: CompressedImage, image: np.ndarray) -> dict[str, str]:
    text, kind, found = message.format, file_kind(message.data), {}
    named = {kind_ for word, kind_ in _FORMAT_WORDS.items() if word in text.lower()}
    if kind not in named:
        found['image_format'] = (
            f'the compressed image has the format {text!r}, but its data are {kind}: read as '
            f'{kind}; configure the driver to set the field format to {kind}'
        )
    encoding = text.partition(';')[0].strip()
    if encoding.startswith('bayer_') and kind == 'jpeg':
        found['image_mosaic'] = (
            f'the compressed image is a Bayer mosaic ({encoding}) in a JPEG, whose compression '
            'blurs the mosaic: colours are wrong. Compress the debayered image (image_proc), or '
            'use PNG'
        )
    orientation = exif_orientation(message.data)
    if orientation != ORIENTATION_AS_STORED:
        found['image_exif'] = (
            f'the JPEG has the EXIF orientation {orientation}, which is ignored: the image is '
            'used as it is stored. Rotate the image in the driver, together with its camera_info'
        )
    if encoding.endswith('16') and kind == 'png':
        found.update(_of_bits(encoding, image))
    return found


def _of_bits(encoding: str, image: np.ndarray) -> dict[str, str]:
    """A warning about a 16-bit image that is nearly black."""
    if image[::_STRIDE, ::_STRIDE].max() >= _TWELVE_OF_16_BITS:
        return {}
    return {
        'image_bits': (
            f'the image with encoding {encoding} is nearly black, because the upper 8 of its 16 '
            'bits are used; the camera may fill only 10 or 12 bits. Configure the driver to '
            'publish 8 bits, or to shift the bits up'
        )
    }
