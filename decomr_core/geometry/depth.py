"""Where a person is by a depth camera: the measured depth under the visible part of the mesh.

A picture alone gives the distance up to the size of the person. The network says which vertex each
pixel shows; where a depth camera has measured that pixel, d = Tz + Z, with the depth d, the
vertex's Z in the root frame and the root's distance Tz. So each pair gives Tz = d - Z, and their
median holds although some pixels miss the person (outline, an arm before the wall, something in
front). The root moves along its ray, which keeps its place in the image: T' = T Tz' / Tz.
"""

from __future__ import annotations

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['MOST_PAIRS', 'sample_depth', 'translation_from_depth']

MOST_PAIRS = 1500
"""So many vertices tell the distance as well as all of them."""

FEWEST_PIXELS = 30
"""Below so many measured pixels under the mesh, a depth image says nothing about a person."""

FEWEST_AGREEING = 0.4
"""Share of the measured pixels that must agree: the median of fewer is some other surface."""

PLAUSIBLE_CHANGE = 0.5, 1.5
"""Measured distance over the first guess. The guess supposes an average body: a child of half that
size is half as far, nobody is half as tall again. What lies beyond is another surface."""

OUTLIER_DEVIATIONS = 3.0
NARROWEST_M = 0.05
WIDEST_M = 0.35
"""A pair farther from the median than three standard deviations, as the median absolute deviation
gives them, is left out; never one within 5 cm (unevenness of a body, noise of the camera), always
one beyond 35 cm (another surface)."""

MAD_TO_DEVIATION = 1.4826
"""Standard deviation of normal noise over its median absolute deviation."""


def translation_from_depth(points: np.ndarray, image_xy: np.ndarray, translation: np.ndarray,
                           depth: np.ndarray, unit_m: float = 1.0) -> np.ndarray | None:
    """The root's position so that the visible vertices lie at their measured depth.

    Args:
        points: (N, 3) visible vertices, metres, root frame.
        image_xy: (N, 2) where they are seen in the depth image, px.
        translation: (3,) of the root, metres, camera optical frame, z > 0: the first guess.
        depth: (H, W) along the optical axis (REP-118); 0, negative, NaN and infinite values
            stand for unknown.
        unit_m: metres that the number 1 of the depth image stands for.

    Returns:
        (3,) metres, camera optical frame; None where the depth image does not tell: too few
        pixels are measured, or they do not agree on one surface at a plausible distance.
    """
    check_shape('points', points, (None, 3))
    check_shape('image_xy', image_xy, (len(points), 2))
    if not translation[2] > 0:
        return None
    some = slice(None, None, len(points) // MOST_PAIRS + 1)
    measured, pixels = sample_depth(depth, image_xy[some])
    measured *= unit_m
    is_known = np.isfinite(measured)
    if len(np.unique(pixels[is_known])) < FEWEST_PIXELS:
        return None
    distances = (measured - points[some, 2])[is_known]
    fewest = FEWEST_AGREEING * len(distances)
    change = distances / translation[2]
    distances = distances[(change > PLAUSIBLE_CHANGE[0]) & (change < PLAUSIBLE_CHANGE[1])]
    if len(distances) < fewest:
        return None
    middle = np.median(distances)
    off = np.abs(distances - middle)
    limit = np.clip(OUTLIER_DEVIATIONS * MAD_TO_DEVIATION * np.median(off), NARROWEST_M, WIDEST_M)
    agreeing = distances[off <= limit]
    if len(agreeing) < fewest:
        return None
    distance = float(np.median(agreeing))
    return np.asarray(translation, np.float64) * (distance / float(translation[2]))


def sample_depth(depth: np.ndarray, image_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measured depth at the nearest pixel of each point.

    Args:
        depth: (H, W).
        image_xy: (N, 2) px of the depth image.

    Returns:
        depth (N,) in the image's unit, NaN where unknown or outside, and the flat index (N,) of
        each pixel.
    """
    height, width = depth.shape
    with np.errstate(invalid='ignore'):
        column, row = np.nan_to_num(np.round(image_xy), nan=-1).astype(np.int64).T
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixels = np.where(is_inside, row * width + column, 0)
    values = depth.reshape(-1)[pixels].astype(np.float64)
    return np.where(is_inside & np.isfinite(values) & (values > 0), values, np.nan), pixels
