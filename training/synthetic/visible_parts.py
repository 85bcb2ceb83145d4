"""Frames rendered people as the estimator crops them: around the box of what is visible.

The renderer frames whole people, or their upper parts. The estimator frames what a detector sees
of a person, and for a network with a `box_margin` it blackens the rest of the crop. So a person
of whom only the head is visible behind a table fills the crop. Which part is visible is known only
after rendering, so the rendered images are cropped once more. The boxes are inexact, as those of
detectors: the side of the crop has a deviation of 8 %, its centre is shifted by up to 2 % of the
side, and the border around the box is random (`training/records/person_boxes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from decomr_core.geometry.crop import CROP_SCALE, crop_pixels
from decomr_core.geometry.rasterizer import Fragments
from training.records.person_boxes import blacken_randomly, box_of_mask
from training.synthetic.scenes.viewpoints import Framing

__all__ = ['Framed', 'frame_visible_parts']

CROPPED_SHARE = 0.6
"""Share of the boxed images that are cropped again; the others keep the renderer's framing."""
SIDE_DEVIATION, LARGEST_DEVIATION, LARGEST_SHIFT = 0.08, 0.2, 0.04
"""Deviation of the logarithm of the crop's side and its largest value; largest shift of the
centre, crop frame."""
LARGEST_ZOOM = 2.5


@dataclass(frozen=True)
class Framed:
    """B rendered people and their framing.

    Attributes:
        images: (B, S, S, 3) uint8 RGB.
        visible: (B, S, S) uint8, 1 where the person is visible.
        surface: the body's surface at each pixel.
        framing: the crops.
    """

    images: np.ndarray
    visible: np.ndarray
    surface: Fragments
    framing: Framing


def frame_visible_parts(rng: np.random.Generator, people: Framed, share: float) -> Framed:
    """Crops some people around what is visible of them, and blackens the rest of the images.

    Every call draws the same amount of random numbers.

    Args:
        rng: source of the random numbers.
        people: as rendered.
        share: share of the images that are changed.

    Returns:
        The people with new images, and the framing that belongs to them.
    """
    count, size = people.visible.shape[:2]
    is_boxed = np.less(rng.random(count), share)
    is_cropped = is_boxed & np.less(rng.random(count), CROPPED_SHARE)
    growth = SIDE_DEVIATION * rng.standard_normal(count)
    sides = np.exp(np.clip(growth, -LARGEST_DEVIATION, LARGEST_DEVIATION))
    shifts = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (count, 2))
    images, visible = people.images.copy(), people.visible.copy()
    face_index = people.surface.face_index.numpy().copy()
    barycentric = people.surface.barycentric.numpy().copy()
    depth = people.surface.depth.numpy().copy()
    framing = people.framing
    for index in range(count):
        box = box_of_mask(visible[index])
        if is_cropped[index] and box is not None:
            side = max(box[2] - box[0], box[3] - box[1]) * CROP_SCALE * sides[index] / 2
            side = max(side, 1 / LARGEST_ZOOM)  # the square of the crop frame has the side 1 here
            center = (box[:2] + box[2:]) / 2 + side * shifts[index]
            framing = _moved(framing, index, center, side)
            matrix = _pixel_from_pixel(center, side, size)
            images[index] = crop_pixels(
                images[index], ((center + 1) * size - 1) / 2, side * size, size
            )
            visible[index] = _resampled(visible[index], matrix, 0)
            face_index[index] = _resampled(
                face_index[index].astype(np.float64), matrix, -1
            ).astype(np.int64)
            barycentric[index] = _resampled(barycentric[index], matrix, 0)
            depth[index] = _resampled(depth[index], matrix, np.inf)
            box = box_of_mask(visible[index])
        blacken_randomly(images[index], box, rng, float(is_boxed[index]))
    surface = Fragments(*map(torch.from_numpy, (face_index, barycentric, depth)))
    return Framed(images, visible, surface, framing)


def _moved(framing: Framing, index: int, center: np.ndarray, side: float) -> Framing:
    """The framing with another square for one person.

    Args:
        framing: the crops.
        index: the person.
        center: (2,) of the new square in the old one's crop frame.
        side: side of the new square over that of the old one.
    """
    centers, half_sides, borders = (
        array.copy() for array in (framing.center, framing.half_side, framing.border)
    )
    centers[index] += half_sides[index] * center
    half_sides[index] *= side
    # What the renderer's crop does not contain is as unknown as what the image does not contain.
    borders[index] = (borders[index].clip(-1, 1) - np.tile(center, 2)) / side
    return replace(framing, center=centers, half_side=half_sides, border=borders)


def _pixel_from_pixel(center: np.ndarray, side: float, size: int) -> np.ndarray:
    """(2, 3) matrix from pixels of the new square to pixels of the old one; see `_moved`."""
    start = ((center + 1 - side) * size + side - 1) / 2
    return np.array([[side, 0, start[0]], [0, side, start[1]]])


def _resampled(labels: np.ndarray, matrix: np.ndarray, outside: float) -> np.ndarray:
    """Labels (S, S) or (S, S, 3) of the nearest pixels by a matrix, `outside` beyond the image."""
    return cv2.warpAffine(
        labels,
        matrix,
        labels.shape[1::-1],
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(outside,) * 3,
    )
