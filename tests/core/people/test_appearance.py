from __future__ import annotations

import cv2
import numpy as np

from decomr_core.people.appearance import (
    BINS,
    MIDDLE,
    PARTS,
    PATCH_PX,
    box_descriptors,
    descriptor_distances,
)


def descriptor_naive(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Pixel by pixel: each channel counts for its two neighbouring bins."""
    x_min, top, x_max, bottom = box
    middle, half = (x_min + x_max) / 2, (x_max - x_min) / 2 * MIDDLE
    patch = cv2.resize(
        image[top : bottom + 1, round(middle - half) : round(middle + half) + 1],
        PATCH_PX,
        interpolation=cv2.INTER_AREA,
    )
    counts = np.zeros((len(PARTS), 3, BINS))
    for part, (first, last) in enumerate(PARTS):
        for pixel in patch[first:last].reshape(-1, 3):
            for channel, value in enumerate(pixel):
                lower, share = divmod(value / 255 * (BINS - 1), 1)
                counts[part, channel, int(lower)] += 1 - share
                if share:
                    counts[part, channel, int(lower) + 1] += share
    return np.sqrt(counts / counts.sum()).ravel()


def test_a_descriptor_is_the_share_of_each_colour() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    image[40:60] = (255, 0, 30)
    boxes = np.array([[10, 5, 60, 100], [30, 20, 50, 70]])
    descriptors = box_descriptors(image, boxes)
    for descriptor, box in zip(descriptors, boxes, strict=True):
        np.testing.assert_allclose(descriptor, descriptor_naive(image, box), atol=1e-6)
    np.testing.assert_allclose((descriptors**2).sum(1), 1, atol=1e-6)


def test_a_box_without_pixels_has_the_same_distance_to_everybody() -> None:
    image = np.full((50, 50, 3), 90, np.uint8)
    descriptors = box_descriptors(image, np.array([[5, 5, 30, 45], [80, 5, 90, 40]]))
    assert not descriptors[1].any()
    np.testing.assert_allclose(
        descriptor_distances(descriptors, descriptors), [[0, 0.5], [0.5, 0.5]], atol=1e-3
    )
