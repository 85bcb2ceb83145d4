"""Depth images in which people are unknown: which of the pixels of a person are removed."""

from __future__ import annotations

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['points_from_depth', 'remove_from_depth']


def remove_from_depth(
    numbers: np.ndarray, unit_m: float, mask: np.ndarray, interval_m: tuple[float, float] | None
) -> None:
    """Sets the pixels of a person to unknown, in place.

    Args:
        numbers: (H, W) uint16, 0 where unknown, or float32, not finite where unknown.
        unit_m: unit of the numbers, metres.
        mask: (H, W) uint8 or bool, the pixels that may show the person.
        interval_m: smallest and largest depth that the person may have, metres. Pixels with
            another depth show something before or behind the person and are kept. None: the
            distance of the person is unknown, so all pixels are removed.

    Raises:
        ValueError: a shape is wrong.
    """
    check_shape('mask', mask, numbers.shape)
    pixels = np.flatnonzero(mask)
    if interval_m is not None:
        depths = numbers.take(pixels) * unit_m
        pixels = pixels[(depths >= interval_m[0]) & (depths <= interval_m[1])]
    numbers.put(pixels, np.nan if np.issubdtype(numbers.dtype, np.floating) else 0)


def points_from_depth(numbers: np.ndarray, unit_m: float, rays: np.ndarray) -> np.ndarray:
    """The measured points of a depth image.

    Args:
        numbers: (H, W) depths; 0, negative or not finite where unknown.
        unit_m: unit of the numbers, metres.
        rays: (2, H, W) x / z and y / z of each pixel; not finite where the lens has none.

    Returns:
        (N, 3) float32 metres, camera optical frame.

    Raises:
        ValueError: a shape is wrong.
    """
    check_shape('rays', rays, (2, *numbers.shape))
    depths = numbers.ravel() * np.float32(unit_m)
    known = np.flatnonzero((depths > 0) & np.isfinite(depths))
    depths = depths.take(known)
    x, y = (plane.ravel().take(known) * depths for plane in rays)
    points = np.empty((len(known), 3), np.float32)
    points[:, 0], points[:, 1], points[:, 2] = x, y, depths
    is_finite = np.isfinite(x + y)
    return points if is_finite.all() else points[is_finite]
