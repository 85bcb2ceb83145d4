"""What is guessed, ignored or unlikely in a camera_info that is used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

__all__ = ['CALIBRATION_WARNINGS', 'calibration_remarks']

CALIBRATION_WARNINGS = ('camera_info_size', 'camera_info_matrix', 'camera_info_baseline',
                        'camera_info_roi')
"""The names of the warnings."""

# Principal points of whole images lie between these shares of width and height.
_MIDDLE = 0.2, 0.8
# Horizontal fields of view of pinhole calibrations, degrees.
_FIELDS_DEG = 2.0, 170.0
# Pixels are not more oblong than this.
_MOST_OBLONG = 1.25


def calibration_remarks(info: CameraInfo, intrinsics: np.ndarray, width: int, height: int,
                        is_rectified: bool) -> dict[str, str]:
    """Texts of warnings by name, some of `CALIBRATION_WARNINGS`.

    Args:
        info: the calibration.
        intrinsics: (3, 3) px, what was made of it for the image.
        width: of the image, px.
        height: of the image, px.
        is_rectified: P was taken, not K.
    """
    found, region = {}, info.roi
    has_region = bool(region.width and region.height)
    if not has_region and not (info.width and info.height):
        found['camera_info_size'] = (
            f'camera_info has no size ({info.width}x{info.height}): taken for that of the image, '
            f'{width}x{height} px; let the driver fill in width and height')
    name = 'p' if is_rectified else 'k'
    odd = _odd_matrix(_matrix(info, is_rectified), name) or _unlikely(
        intrinsics, width, height, name, has_region)
    if odd:
        found['camera_info_matrix'] = odd
    if is_rectified and (info.p[3] or info.p[7]):
        baseline_m = math.hypot(info.p[3] / info.p[0], info.p[7] / info.p[5])
        found['camera_info_baseline'] = (
            f'camera_info has p[3] = {info.p[3]:g} and p[7] = {info.p[7]:g}: the second camera of '
            f'a stereo pair, {baseline_m:.3f} m beside the first. That is ignored: positions are '
            'relative to this camera, whatever frame_id its image has; give the node the first '
            'one for positions in its frame')
    if odd_region := _odd_region(info, is_rectified):
        found['camera_info_roi'] = odd_region
    return found


def _matrix(info: CameraInfo, is_rectified: bool) -> np.ndarray:
    if is_rectified:
        return np.asarray(info.p, float).reshape(3, 4)[:, :3]
    return np.asarray(info.k, float).reshape(3, 3)


def _odd_matrix(matrix: np.ndarray, name: str) -> str:
    """What else than focal lengths and the principal point is in a camera matrix."""
    if matrix[2, 0] or matrix[2, 1]:
        return (f'camera_info {name} has {matrix[2].tolist()} in its last row, expected 0, 0, 1: '
                'is it transposed? Only focal lengths and the principal point of the first two '
                'rows are used; matrices are row by row')
    if matrix[0, 1] or matrix[1, 0]:
        return (f'camera_info {name} has a skew ({matrix[0, 1]:g}, {matrix[1, 0]:g}), which is '
                'ignored; calibrate the camera without one (camera_calibration)')
    if matrix[2, 2] != 1:
        return (f'camera_info {name} has {matrix[2, 2]:g} in its last place, expected 1, which is '
                'ignored; let the driver scale the matrix')
    return ''


def _unlikely(intrinsics: np.ndarray, width: int, height: int, name: str, has_region: bool
              ) -> str:
    """Why a calibration can hardly be that of the image; empty where it can."""
    (focal_x, focal_y), (x, y) = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    remedy = ('is it of another resolution? It is used as it is; calibrate the camera at this '
              'resolution (camera_calibration)')
    field_deg = math.degrees(2 * math.atan(width / 2 / focal_x))
    if not has_region and not (_FIELDS_DEG[0] <= field_deg <= _FIELDS_DEG[1]):
        return (f'camera_info {name} gives a field of view of {field_deg:.1f} degrees for images '
                f'of {width}x{height} px: {remedy}')
    low, high = _MIDDLE
    if not has_region and not (low <= x / width <= high and low <= y / height <= high):
        return (f'camera_info {name} puts the principal point at ({x:.0f}, {y:.0f}) of images of '
                f'{width}x{height} px: {remedy}')
    if not 1 / _MOST_OBLONG <= focal_x / focal_y <= _MOST_OBLONG:
        return (f'camera_info {name} has the focal lengths {focal_x:.0f} and {focal_y:.0f} px, '
                f'so that pixels would be oblong: {remedy}')
    return ''


def _odd_region(info: CameraInfo, is_rectified: bool) -> str:
    """What contradicts itself in a region of interest."""
    region = info.roi
    if not (region.width and region.height):
        if region.x_offset or region.y_offset:
            return (f'camera_info has a region of interest without a size, offset '
                    f'{region.x_offset}, {region.y_offset}: the offset is applied; let the driver '
                    'fill in its width and height')
        return ''
    if info.width and info.height and (region.x_offset + region.width > info.width
                                       or region.y_offset + region.height > info.height):
        return (f'camera_info has a region of {region.width}x{region.height} px at '
                f'{region.x_offset}, {region.y_offset}, which does not lie in its '
                f'{info.width}x{info.height} px: it is applied as it is; offsets and sizes are '
                'of the full resolution, before binning')
    if region.do_rectify and is_rectified:
        return ('camera_info has roi.do_rectify, which is ignored: the region is taken for that '
                'of the rectified image')
    return ''
