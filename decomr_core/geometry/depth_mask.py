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
    rows, columns = np.nonzero(mask)
    if interval_m is not None:
        depths = numbers[rows, columns] * unit_m
        is_person = (depths >= interval_m[0]) & (depths <= interval_m[1])
        rows, columns = rows[is_person], columns[is_person]
    numbers[rows, columns] = np.nan if np.issubdtype(numbers.dtype, np.floating) else 0


def points_from_depth(numbers: np.ndarray, unit_m: float, rays: np.ndarray) -> np.ndarray:
    """The measured points of a depth image.

    Args:
        numbers: (H, W) depths; 0, negative or not finite where unknown.
        unit_m: unit of the numbers, metres.
        rays: (H, W, 2) x / z and y / z of each pixel; not finite where the lens has none.

    Returns:
        (N, 3) float32 metres, camera optical frame.

    Raises:
        ValueError: a shape is wrong.
    """
    check_shape('rays', rays, (*numbers.shape, 2))
    depths = numbers.astype(np.float32) * np.float32(unit_m)
    is_known = np.isfinite(depths) & (depths > 0) & np.isfinite(rays).all(-1)
    depths = depths[is_known][:, None]
    return np.concatenate([rays[is_known] * depths, depths], axis=1).astype(np.float32)
