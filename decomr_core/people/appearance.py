"""Appearance descriptors: colour histograms of the upper and the lower body.

Where two people cross, their boxes and meshes are nearly the same; their clothes differ.
"""

from __future__ import annotations

import cv2
import numpy as np

from decomr_core.geometry.crop import as_stored

__all__ = ['box_descriptors', 'descriptor_distances']

PATCH_PX = (8, 24)
"""Width and height to which the middle of a person box is resized before colours are counted."""

MIDDLE = 0.5
"""Share of the box's width that is counted: the rest is mostly background."""

PARTS = ((2, 11), (11, 20))
"""Rows of the patch that show the upper body and the legs. Heads differ too little in colour."""

BINS = 4
"""Bins per colour channel. A value between two bin centres is shared between the two bins."""

SHARES = np.maximum(
    1
    - np.abs(
        np.arange(256, dtype=np.float32)[:, None] * ((BINS - 1) / 255)
        - np.arange(BINS, dtype=np.float32)
    ),
    0,
)
"""(256, BINS) contribution of each value of a channel to each bin."""


def box_descriptors(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Colour descriptors of the people in boxes.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x_min, y_min, x_max, y_max, image px.

    Returns:
        (N, K) float32, square roots of histogram shares that sum to 1; zeros where a box contains
        no pixel.
    """
    return np.array([_descriptor(image, box) for box in boxes], np.float32).reshape(
        len(boxes), len(PARTS) * 3 * BINS
    )


def descriptor_distances(descriptors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Hellinger distances between descriptors, (N, M) in [0, 1].

    Args:
        descriptors: (N, K) from `box_descriptors`.
        others: (M, K) from `box_descriptors`. The distance to an all-zero descriptor, which means
            unknown, is 0.5.
    """
    shared = descriptors @ others.T
    known = np.any(descriptors, axis=1)[:, None] & np.any(others, axis=1)[None]
    return np.where(known, np.sqrt(np.clip(1 - shared, 0, 1)), 0.5)


def _descriptor(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The descriptor (K,) of one box (4,)."""
    height, width = image.shape[:2]
    middle, half = (box[0] + box[2]) / 2, (box[2] - box[0]) / 2 * MIDDLE
    left, right = max(round(float(middle - half)), 0), min(round(float(middle + half)) + 1, width)
    top, bottom = max(round(float(box[1])), 0), min(round(float(box[3])) + 1, height)
    if right - left < 2 or bottom - top < 4:
        return np.zeros(len(PARTS) * 3 * BINS, np.float32)
    stored, is_bgr = as_stored(image)
    patch = cv2.resize(stored[top:bottom, left:right], PATCH_PX, interpolation=cv2.INTER_AREA)
    rows = SHARES.take(patch[..., ::-1] if is_bgr else patch, 0).sum(1)  # (rows, 3, BINS)
    counts = np.array([rows[first:last].sum(0) for first, last in PARTS]).ravel()
    return np.sqrt(counts / counts.sum())
