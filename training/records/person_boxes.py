"""Crops that are black outside of the person box, as `NetworkConfig.box_margin` asks for.

The estimator blackens the crops of a network with a `box_margin`, and a detector's boxes are not
exact. So in training the visible part is random: each side of the box is moved outwards by -3 to
12 % of its longer side, in some images by 5 to 35 %. Boxes are x_min, y_min, x_max, y_max.
"""

from __future__ import annotations

import numpy as np

from decomr_core.geometry.crop import blacken_outside_box

__all__ = ['blacken_randomly', 'box_of_joints', 'box_of_mask']

USUAL_BORDER = (-0.03, 0.12)
WIDE_BORDER = (0.05, 0.35)
"""Distance by which a side of the visible part is moved outwards, over the box's longer side."""
WIDE_SHARE = 0.13
BEYOND_JOINTS = 0.1
"""Distance from the outermost joints to the sides of the person box, over the longer side of the
joints' box: head, hands, feet and clothes."""


def box_of_mask(mask: np.ndarray) -> np.ndarray | None:
    """The box around the pixels of a mask.

    Args:
        mask: (S, S), 0 where the person is not visible.

    Returns:
        (4,) box, crop frame; None for an empty mask.
    """
    columns, rows = (np.flatnonzero(mask.any(axis)) for axis in (0, 1))
    if not len(columns):
        return None
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return edges * 2 / len(mask) - 1


def box_of_joints(joints: np.ndarray) -> np.ndarray | None:
    """The box around a person of whom the joints are known.

    Args:
        joints: (K, 3) x and y, any frame; confidence, 0 for unknown joints.

    Returns:
        (4,) box in the same frame; None with fewer than two joints in different places.
    """
    known = joints[joints[:, 2] > 0, :2]
    if not len(known):
        return None
    low, high = known.min(0), known.max(0)
    border = BEYOND_JOINTS * (high - low).max()
    return np.concatenate([low - border, high + border]) if border > 0 else None


def blacken_randomly(
    pixels: np.ndarray, box: np.ndarray | None, rng: np.random.Generator, share: float
) -> None:
    """Blackens some training crops outside of a random box around the person, in place.

    Every call draws the same amount of random numbers.

    Args:
        pixels: (S, S, 3).
        box: (4,) the person box, crop frame; None leaves the crop as it is.
        rng: source of the random numbers.
        share: share of the crops that are changed.
    """
    is_changed, is_wide = rng.random(2) < (share, WIDE_SHARE)
    outwards = rng.random(4)
    if box is None or not is_changed:
        return
    low, high = WIDE_BORDER if is_wide else USUAL_BORDER
    longer = max(box[2] - box[0], box[3] - box[1])
    signs = np.array([-1, -1, 1, 1])
    blacken_outside_box(pixels, box + signs * longer * (low + outwards * (high - low)), 0.0)
