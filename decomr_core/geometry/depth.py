"""Corrects a person's position with the depth measured at the visible vertices of the mesh.

A colour image determines the distance only up to the size of the person. For a visible vertex with
coordinate Z in the root frame, a depth camera measures d = Tz + Z. Each pair thus gives
Tz = d - Z. The median is robust against pixels that miss the person (outlines, an arm before the
wall, occlusions). The root moves along its ray, so its image position stays: T' = T Tz' / Tz.
"""

from __future__ import annotations

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['MOST_PAIRS', 'nearest_pixels', 'sample_depth', 'translation_from_depth']

MOST_PAIRS = 1500
"""This many vertices determine the distance as accurately as all of them."""

MIN_PIXELS = 30
"""Smallest number of measured pixels under a mesh for a correction."""

MIN_INLIER_SHARE = 0.4
"""Smallest share of the measured pixels that must be inliers; with fewer, the median belongs to
another surface."""

PLAUSIBLE_CHANGE = 0.5, 1.5
"""Range of the measured over the initial distance. The initial one assumes an average body: a
child of half that size is at half the distance, and no one is 1.5 times as tall. Values outside
belong to another surface."""

OUTLIER_DEVIATIONS = 3.0
MIN_LIMIT_M = 0.05
MAX_LIMIT_M = 0.35
"""Pairs farther from the median than three standard deviations, estimated from the median
absolute deviation, are outliers. The limit is at least 5 cm (unevenness of a body, camera noise)
and at most 35 cm (beyond it is another surface)."""

MAD_TO_DEVIATION = 1.4826
"""Ratio of standard deviation and median absolute deviation of a normal distribution."""


def translation_from_depth(
    points: np.ndarray,
    image_xy: np.ndarray,
    translation: np.ndarray,
    depth: np.ndarray,
    unit_m: float = 1.0,
) -> np.ndarray | None:
    """The position of the root at which the visible vertices match their measured depth.

    Args:
        points: (N, 3) visible vertices, metres, root frame.
        image_xy: (N, 2) their projections into the depth image, px.
        translation: (3,) initial position of the root, metres, camera optical frame, z > 0.
        depth: (H, W) depth along the optical axis (REP-118); 0, negative, NaN and infinite values
            mean unknown.
        unit_m: unit of the depth image, metres.

    Returns:
        (3,) metres, camera optical frame. None if too few pixels are measured, or if they do not
        agree on one surface at a plausible distance.
    """
    check_shape('points', points, (None, 3))
    check_shape('image_xy', image_xy, (len(points), 2))
    if not translation[2] > 0:
        return None
    sampled = slice(None, None, len(points) // MOST_PAIRS + 1)
    measured, pixels = sample_depth(depth, image_xy[sampled])
    measured *= unit_m
    is_known = np.isfinite(measured)
    if len(np.unique(pixels[is_known])) < MIN_PIXELS:
        return None
    distances = (measured - points[sampled, 2])[is_known]
    min_inliers = MIN_INLIER_SHARE * len(distances)
    change = distances / translation[2]
    distances = distances[(change > PLAUSIBLE_CHANGE[0]) & (change < PLAUSIBLE_CHANGE[1])]
    if len(distances) < min_inliers:
        return None
    deviations = np.abs(distances - np.median(distances))
    limit = np.clip(
        OUTLIER_DEVIATIONS * MAD_TO_DEVIATION * np.median(deviations), MIN_LIMIT_M, MAX_LIMIT_M
    )
    inliers = distances[deviations <= limit]
    if len(inliers) < min_inliers:
        return None
    distance = float(np.median(inliers))
    return np.asarray(translation, np.float64) * (distance / float(translation[2]))


def sample_depth(depth: np.ndarray, image_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measured depth at the nearest pixel of each point.

    Args:
        depth: (H, W) depth image.
        image_xy: (N, 2) px of the depth image.

    Returns:
        Depth (N,) in the image's unit, NaN if unknown or outside, and flat pixel index (N,).
    """
    pixels, is_inside = nearest_pixels(depth.shape, image_xy)
    values = depth.reshape(-1)[pixels].astype(np.float64)
    return np.where(is_inside & np.isfinite(values) & (values > 0), values, np.nan), pixels


def nearest_pixels(shape: tuple[int, ...], image_xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest pixel of each point.

    Args:
        shape: height and width of the image, px.
        image_xy: (N, 2) px.

    Returns:
        Flat pixel index (N,), 0 for points outside, and whether each point is inside (N,) bool.
    """
    height, width = shape
    with np.errstate(invalid='ignore'):
        column, row = np.nan_to_num(np.round(image_xy), nan=-1).astype(np.int64).T
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(is_inside, row * width + column, 0), is_inside
