"""Warnings about values of camera_info that are assumed, ignored or implausible."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

__all__ = ['CALIBRATION_WARNINGS', 'calibration_remarks']

CALIBRATION_WARNINGS = (
    'camera_info_size',
    'camera_info_matrix',
    'camera_info_baseline',
    'camera_info_roi',
)
"""The names of the warnings."""

# Plausible range of the principal point of a whole image, as shares of width and height.
_MIDDLE = 0.2, 0.8
# Plausible range of the horizontal field of view, degrees.
_FIELDS_DEG = 2.0, 170.0
# Largest plausible ratio of the focal lengths.
_MAX_ASPECT = 1.25


def calibration_remarks(
    info: CameraInfo, intrinsics: np.ndarray, width: int, height: int, is_rectified: bool
) -> dict[str, str]:
    """The warnings about a calibration: texts by name, out of `CALIBRATION_WARNINGS`.

    Args:
        info: the calibration.
        intrinsics: (3, 3) px, derived from it for the image.
        width: of the image, px.
        height: of the image, px.
        is_rectified: P was used instead of K.
    """
    found, region = {}, info.roi
    has_region = bool(region.width and region.height)
    if not has_region and not (info.width and info.height):
        found['camera_info_size'] = (
            f'camera_info has no size ({info.width}x{info.height}): the size of the image, '
            f'{width}x{height} px, is assumed; configure the driver to fill in width and height'
        )
    name = 'p' if is_rectified else 'k'
    odd = _odd_matrix(_matrix(info, is_rectified), name) or _unlikely(
        intrinsics, width, height, name, has_region
    )
    if odd:
        found['camera_info_matrix'] = odd
    if is_rectified and (info.p[3] or info.p[7]):
        baseline_m = math.hypot(info.p[3] / info.p[0], info.p[7] / info.p[5])
        found['camera_info_baseline'] = (
            f'camera_info has p[3] = {info.p[3]:g} and p[7] = {info.p[7]:g}: it belongs to the '
            f'second camera of a stereo pair, {baseline_m:.3f} m from the first. The offset is '
            'ignored: positions are relative to this camera, even if its frame_id is that of the '
            'first; for positions in the frame of the first camera, use its images'
        )
    if odd_region := _odd_region(info, is_rectified):
        found['camera_info_roi'] = odd_region
    return found


def _matrix(info: CameraInfo, is_rectified: bool) -> np.ndarray:
    if is_rectified:
        return np.asarray(info.p, float).reshape(3, 4)[:, :3]
    return np.asarray(info.k, float).reshape(3, 3)


def _odd_matrix(matrix: np.ndarray, name: str) -> str:
    """A warning about unexpected values in a camera matrix; empty if there are none."""
    if matrix[2, 0] or matrix[2, 1]:
        return (
            f'camera_info {name} has {matrix[2].tolist()} in its last row, expected 0, 0, 1. '
            'Only the focal lengths and the principal point in the first two rows are used. '
            'Check whether the driver transposes the matrix; it must be in row-major order'
        )
    if matrix[0, 1] or matrix[1, 0]:
        return (
            f'camera_info {name} has a skew ({matrix[0, 1]:g}, {matrix[1, 0]:g}), which is '
            'ignored; calibrate the camera without skew (camera_calibration)'
        )
    if matrix[2, 2] != 1:
        return (
            f'camera_info {name} has {matrix[2, 2]:g} as its last element, expected 1; this '
            'is ignored; configure the driver to scale the matrix'
        )
    return ''


def _unlikely(intrinsics: np.ndarray, width: int, height: int, name: str, has_region: bool) -> str:
    """Why a calibration is implausible for the image; empty if it is plausible."""
    (focal_x, focal_y), (x, y) = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    remedy = (
        'it may be of another resolution, but is used unchanged; calibrate the camera at '
        'this resolution (camera_calibration)'
    )
    field_deg = math.degrees(2 * math.atan(width / 2 / focal_x))
    if not has_region and not (_FIELDS_DEG[0] <= field_deg <= _FIELDS_DEG[1]):
        return (
            f'camera_info {name} gives a field of view of {field_deg:.1f} degrees for images '
            f'of {width}x{height} px: {remedy}'
        )
    low, high = _MIDDLE
    if not has_region and not (low <= x / width <= high and low <= y / height <= high):
        return (
            f'camera_info {name} puts the principal point at ({x:.0f}, {y:.0f}) of images of '
            f'{width}x{height} px: {remedy}'
        )
    if not 1 / _MAX_ASPECT <= focal_x / focal_y <= _MAX_ASPECT:
        return (
            f'camera_info {name} has the focal lengths {focal_x:.0f} and {focal_y:.0f} px, '
            f'which means that pixels are not square: {remedy}'
        )
    return ''


def _odd_region(info: CameraInfo, is_rectified: bool) -> str:
    """A warning about an inconsistent region of interest; empty if it is consistent."""
    region = info.roi
    if not (region.width and region.height):
        if region.x_offset or region.y_offset:
            return (
                f'camera_info has a region of interest with the offset {region.x_offset}, '
                f'{region.y_offset} but without a size: the offset is applied; configure the '
                'driver to fill in its width and height'
            )
        return ''
    if (
        info.width
        and info.height
        and (
            region.x_offset + region.width > info.width
            or region.y_offset + region.height > info.height
        )
    ):
        return (
            f'camera_info has a region of interest of {region.width}x{region.height} px at '
            f'{region.x_offset}, {region.y_offset}, which exceeds its '
            f'{info.width}x{info.height} px: it is applied unchanged; offset and size must '
            'refer to the full resolution, before binning'
        )
    if region.do_rectify and is_rectified:
        return (
            'camera_info has roi.do_rectify, which is ignored: the region of interest is '
            'assumed to refer to the rectified image'
        )
    return ''
