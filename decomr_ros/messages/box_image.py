"""Converts boxes from the input of a detector's network to the camera's image.

Some detectors publish boxes in pixels of their network's input, e.g. 640x640, instead of the
camera's image. The parameters `boxes_width` and `boxes_height` give the size of this input, and
`boxes_fit` how the camera's image was fitted into it.
"""

from __future__ import annotations

import numpy as np

__all__ = ['FITS', 'boxes_in_image']

FITS = ('stretch', 'pad_end', 'pad_center', 'crop_center')
"""How an image is fitted: stretched; scaled and padded at the right or bottom (pad_end) or on both
sides (pad_center); scaled and cropped to the centre (crop_center)."""


def boxes_in_image(
    boxes: np.ndarray, fit: str, boxes_size: tuple[int, int], image_size: tuple[int, int]
) -> np.ndarray:
    """The same boxes in px of the camera's image.

    Args:
        boxes: (B, 4) x_min, y_min, x_max, y_max, px of the detector's image.
        fit: one of `FITS`.
        boxes_size: width and height of the detector's image, px; 0: as in the camera's image.
        image_size: width and height of the camera's image, px.

    Returns:
        (B, 4) px.
    """
    image = np.array(image_size, np.float64)
    network = np.where(np.array(boxes_size) > 0, boxes_size, image)
    scale = image / network
    if fit != 'stretch':
        scale[:] = scale.min() if fit == 'crop_center' else scale.max()
    start = np.zeros(2) if fit == 'pad_end' else (image - network * scale) / 2
    return (boxes * np.tile(scale, 2) + np.tile(start, 2)).astype(np.float32)
