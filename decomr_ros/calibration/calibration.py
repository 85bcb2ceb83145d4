"""The camera's calibration for each image size, from camera_info.

camera_info and images arrive on two topics in any order, and a camera may change its resolution.
Therefore the newest calibration of each size is kept, and an image uses the one of its size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo

from decomr_core.geometry.crop import as_stored
from decomr_core.geometry.distortion import LensDistortion, lens_distortion
from decomr_ros.calibration.calibration_checks import calibration_remarks
from decomr_ros.calibration.lens_names import lens_model
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.meshes import intrinsics_from_camera_info

__all__ = ['Calibration', 'CalibrationStore']

MAX_SIZES = 4
"""Number of image sizes that are kept; cameras switch between fewer."""

SHIFT_TO_WARN = 0.01
"""Largest shift by the lens distortion, as a share of the image width, from which the node warns:
people at the edge are misplaced by a few centimetres per metre of distance."""


@dataclass(frozen=True)
class Calibration:
    """The calibration of images of one size.

    Attributes:
        width: of the images, px.
        height: of the images, px.
        intrinsics: (3, 3) px; None if there is no calibration for this size.
        problem: why there is none, and what to do; empty if there is one.
        lens: the distortion to be removed; None if images are not undistorted.
        warning: a warning about the lens of a calibration in use; empty if there is none.
        remarks: other warnings by name, see `calibration_checks`.
    """

    width: int
    height: int
    intrinsics: np.ndarray | None = None
    problem: str = ''
    lens: LensDistortion | None = None
    warning: str = ''
    remarks: Mapping[str, str] = field(default_factory=dict)

    def undistort_image(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, 3) uint8 of a pinhole camera with the same intrinsics."""
        if self.lens is None:
            return image
        stored, is_bgr = as_stored(image)
        undone = cv2.remap(stored, *self._maps, cv2.INTER_LINEAR)
        return undone[..., ::-1] if is_bgr else undone

    def undistort_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Converts boxes (B, 4) from the camera image to the undistorted image, px."""
        if self.lens is None or self.intrinsics is None:
            return boxes
        return self.lens.undistort_boxes(boxes, self.intrinsics)

    def distort_points(self, image_xy: np.ndarray) -> np.ndarray:
        """Converts points (N, 2) from the undistorted image to the camera image, px."""
        if self.lens is None or self.intrinsics is None:
            return image_xy
        return self.lens.distort(image_xy, self.intrinsics)

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.lens is not None and self.intrinsics is not None  # a lens has intrinsics
        return self.lens.undistortion_maps(self.intrinsics, self.width, self.height)


class CalibrationStore:
    """The newest camera_info of each image size; written by the executor, read by the worker.

    Attributes:
        refused: why the newest camera_info was rejected; empty if it was not.
    """

    def __init__(self, log_change: Callable[[str], None]) -> None:
        """Starts without a calibration.

        Args:
            log_change: called with a sentence when the calibration in use changes, on the thread
                that calls `for_image`.
        """
        self._log_change = log_change
        self._lock = threading.Lock()
        self._infos: tuple[CameraInfo, ...] = ()  # the newest first
        self.refused = ''
        self._made: dict[tuple, tuple[tuple[CameraInfo, ...], Calibration]] = {}

    def add(self, message: CameraInfo) -> None:
        """Stores the camera_info of the next images.

        Raises:
            BadInput: it is not a valid calibration; the previous one remains in use.
        """
        infos = self._infos
        if infos and _is_same(message, infos[0]):
            return
        width, height = _image_size(message)
        try:
            intrinsics_from_camera_info(message, width, height)
        except ValueError as error:
            self.refused = f'camera_info: {error}'
            raise BadInput('camera_info', self.refused) from error
        others = tuple(info for info in infos if _image_size(info) != (width, height))
        with self._lock:
            self._infos, self.refused = (message, *others)[:MAX_SIZES], ''

    def for_image(
        self, width: int, height: int, is_rectified: bool = False, undistort: bool = False
    ) -> Calibration:
        """The calibration of images of this size.

        Args:
            width: of the image, px.
            height: of the image, px.
            is_rectified: the images are rectified: P is used, without distortion.
            undistort: the lens distortion is to be removed.
        """
        with self._lock:
            infos, refused = self._infos, self.refused
        if not infos:
            return Calibration(width, height, problem=refused)
        key = width, height, is_rectified, undistort
        known = self._made.get(key)
        if known is not None and known[0] is infos:
            return known[1]
        made = _calibration(infos, *key)
        if known is not None and _differs(known[1], made):
            self._log_change(
                f'the calibration of {width}x{height} px images changed from '
                f'{_in_words(known[1])} to {_in_words(made)}'
            )
        if len(self._made) >= MAX_SIZES:
            self._made.clear()
        self._made[key] = infos, made
        return made


def _calibration(
    infos: tuple[CameraInfo, ...], width: int, height: int, is_rectified: bool, undistort: bool
) -> Calibration:
    """The calibration from the newest camera_info that fits the size."""
    problem = ''
    for info in infos:
        try:
            intrinsics = intrinsics_from_camera_info(info, width, height, is_rectified)
        except ValueError as error:
            problem = problem or str(error)
            continue
        if intrinsics is None:
            name = 'p' if is_rectified else 'k'
            return Calibration(
                width,
                height,
                problem=(
                    f'the camera is not calibrated (camera_info {name}[0] is 0); calibrate it, '
                    'e.g. with the package camera_calibration'
                ),
            )
        lens, warning = (
            (None, '') if is_rectified else _lens(info, intrinsics, width, height, undistort)
        )
        remarks = calibration_remarks(info, intrinsics, width, height, is_rectified)
        return Calibration(width, height, intrinsics, '', lens, warning, remarks)
    return Calibration(width, height, problem=problem)


def _lens(
    info: CameraInfo, intrinsics: np.ndarray, width: int, height: int, undistort: bool
) -> tuple[LensDistortion | None, str]:
    """The distortion to be removed, and a warning about the lens."""
    model, coefficients, renamed = lens_model(info.distortion_model, info.d)
    try:
        lens = lens_distortion(model, coefficients)
    except ValueError as error:
        return None, (
            f'camera_info: {error}; the distortion is ignored. Rectify the image '
            '(image_proc) and set image_is_rectified:=true'
        )
    if lens is None or undistort:
        return lens, renamed
    shift_px = lens.largest_shift_px(intrinsics, width, height)
    if not shift_px > SHIFT_TO_WARN * width:
        return None, renamed
    return None, (
        f'{renamed}{"; " if renamed else ""}the lens shifts points at the edge of the '
        f'image by up to {shift_px:.0f} px, which is ignored: people there are '
        'misplaced. Set undistort:=true, or rectify the image (image_proc) and set '
        'image_is_rectified:=true'
    )


def _image_size(info: CameraInfo) -> tuple[int, int]:
    """Width and height of the image to which a camera_info applies, px."""
    region = info.roi
    width, height = (
        (region.width, region.height)
        if region.width and region.height
        else (info.width, info.height)
    )
    return width // max(1, info.binning_x), height // max(1, info.binning_y)


def _is_same(first: CameraInfo, second: CameraInfo) -> bool:
    """Whether two messages differ only in the header."""
    return all(
        _content(getattr(first, name)) == _content(getattr(second, name))
        for name in (
            'width',
            'height',
            'distortion_model',
            'd',
            'k',
            'p',
            'binning_x',
            'binning_y',
            'roi',
        )
    )


def _content(value: object) -> object:
    return value.tobytes() if hasattr(value, 'tobytes') else value


def _differs(before: Calibration, now: Calibration) -> bool:
    if before.intrinsics is None or now.intrinsics is None:
        return before.intrinsics is not now.intrinsics
    return before.lens != now.lens or not np.array_equal(before.intrinsics, now.intrinsics)


def _in_words(calibration: Calibration) -> str:
    if calibration.intrinsics is None:
        return 'no calibration'
    matrix = calibration.intrinsics
    return (
        f'focal length {matrix[0, 0]:.1f} px, centre ({matrix[0, 2]:.1f}, {matrix[1, 2]:.1f}) px'
    )
