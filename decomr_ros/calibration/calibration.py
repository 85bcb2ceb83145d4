"""The camera's calibration for the size of each image, as camera_info gives and changes it.

camera_info and images come on two topics, in any order, and a camera may change its resolution:
of each size the newest calibration is kept, and an image takes the one that fits it.
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

MOST_SIZES = 4
"""So many image sizes are remembered; cameras switch between fewer."""

SHIFT_WORTH_TELLING = 0.01
"""A lens that moves points on the edge by more than this share of the image's width is worth a
warning: people there are off by a few centimetres per metre of distance."""


@dataclass(frozen=True)
class Calibration:
    """What is known of the camera that took images of one size.

    Attributes:
        width: px.
        height: px.
        intrinsics: (3, 3) px; None where there is no calibration for this size.
        problem: why there is none, and what to do; empty if there is one.
        lens: what must be undone; None where the picture stays as it is.
        warning: what is worth telling of the lens of a calibration that is used; may be empty.
        remarks: what else is, text by name of the warning, see `calibration_checks`.
    """

    width: int
    height: int
    intrinsics: np.ndarray | None = None
    problem: str = ''
    lens: LensDistortion | None = None
    warning: str = ''
    remarks: Mapping[str, str] = field(default_factory=dict)

    def undistort_picture(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 as an ideal camera with the same intrinsics would see it."""
        if self.lens is None:
            return picture
        stored, is_bgr = as_stored(picture)
        undone = cv2.remap(stored, *self._maps, cv2.INTER_LINEAR)
        return undone[..., ::-1] if is_bgr else undone

    def undistort_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (B, 4) of the camera's picture in the undistorted one, px."""
        return boxes if self.lens is None else self.lens.undistort_boxes(boxes, self.intrinsics)

    def distort_points(self, image_xy: np.ndarray) -> np.ndarray:
        """Points (N, 2) of the undistorted picture in the camera's own one, px."""
        return image_xy if self.lens is None else self.lens.distort(image_xy, self.intrinsics)

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        return self.lens.undistortion_maps(self.intrinsics, self.width, self.height)


class CalibrationStore:
    """The newest camera_info of each image size; filled by the executor, asked by the worker.

    Attributes:
        refused: why the newest camera_info was refused; empty if it was not.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        """Starts without any.

        Args:
            told: called with a sentence when the calibration in use changes, on the thread that
                asks for it.
        """
        self._told = told
        self._lock = threading.Lock()
        self._infos: tuple[CameraInfo, ...] = ()  # the newest first
        self.refused = ''
        self._made: dict[tuple, tuple[tuple[CameraInfo, ...], Calibration]] = {}

    def add(self, message: CameraInfo) -> None:
        """Takes the camera_info of the next images.

        Raises:
            BadInput: it is no calibration; the one before remains in force.
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
            self._infos, self.refused = (message, *others)[:MOST_SIZES], ''

    def for_image(self, width: int, height: int, is_rectified: bool = False,
                  undistort: bool = False) -> Calibration:
        """What holds for images of this size.

        Args:
            width: px.
            height: px.
            is_rectified: the images are rectified already: P holds, and no distortion.
            undistort: the lens is to be undone where it distorts.
        """
        with self._lock:
            infos, refused = self._infos, self.refused
        if not infos:
            return Calibration(width, height, problem=refused)
        key = width, height, is_rectified, undistort
        known_infos, known = self._made.get(key, (None, None))
        if known_infos is infos:
            return known
        made = _calibration(infos, *key)
        if known is not None and _differs(known, made):
            self._told(f'the calibration of {width}x{height} px images changed: '
                       f'{_in_words(known)} before, now {_in_words(made)}')
        if len(self._made) >= MOST_SIZES:
            self._made.clear()
        self._made[key] = infos, made
        return made


def _calibration(infos: tuple[CameraInfo, ...], width: int, height: int, is_rectified: bool,
                 undistort: bool) -> Calibration:
    """From the newest camera_info that fits the size."""
    problem = ''
    for info in infos:
        try:
            intrinsics = intrinsics_from_camera_info(info, width, height, is_rectified)
        except ValueError as error:
            problem = problem or str(error)
            continue
        if intrinsics is None:
            name = 'p' if is_rectified else 'k'
            return Calibration(width, height, problem=(
                f'the camera is not calibrated (camera_info {name}[0] is 0); calibrate it, e.g. '
                'with camera_calibration'))
        lens, warning = (None, '') if is_rectified else _lens(info, intrinsics, width, height,
                                                             undistort)
        remarks = calibration_remarks(info, intrinsics, width, height, is_rectified)
        return Calibration(width, height, intrinsics, '', lens, warning, remarks)
    return Calibration(width, height, problem=problem)


def _lens(info: CameraInfo, intrinsics: np.ndarray, width: int, height: int,
          undistort: bool) -> tuple[LensDistortion | None, str]:
    """The distortion to undo, and what is worth a warning."""
    model, coefficients, renamed = lens_model(info.distortion_model, info.d)
    try:
        lens = lens_distortion(model, coefficients)
    except ValueError as error:
        return None, (f'camera_info: {error}; the distortion is left out. Give the node a '
                      'rectified image (image_proc) and image_is_rectified:=true')
    if lens is None or undistort:
        return lens, renamed
    shift_px = lens.largest_shift_px(intrinsics, width, height)
    if not shift_px > SHIFT_WORTH_TELLING * width:
        return None, renamed
    return None, (f'{renamed}{"; " if renamed else ""}the lens moves points at the edge of the '
                  f'image by up to {shift_px:.0f} px, which is left out: people there are '
                  'misplaced. Set undistort:=true, or give the node a rectified image '
                  '(image_proc) and image_is_rectified:=true')


def _image_size(info: CameraInfo) -> tuple[int, int]:
    """Width and height of the image that a camera_info is for, px."""
    region = info.roi
    width, height = (region.width, region.height) if region.width and region.height else (
        info.width, info.height)
    return width // max(1, info.binning_x), height // max(1, info.binning_y)


def _is_same(first: CameraInfo, second: CameraInfo) -> bool:
    """Whether two messages differ in the header alone."""
    return all(_content(getattr(first, name)) == _content(getattr(second, name))
               for name in ('width', 'height', 'distortion_model', 'd', 'k', 'p', 'binning_x',
                            'binning_y', 'roi'))


def _content(value: object) -> object:
    return value.tobytes() if hasattr(value, 'tobytes') else value


def _differs(before: Calibration, now: Calibration) -> bool:
    if before.intrinsics is None or now.intrinsics is None:
        return before.intrinsics is not now.intrinsics
    return before.lens != now.lens or not np.array_equal(before.intrinsics, now.intrinsics)


def _in_words(calibration: Calibration) -> str:
    if calibration.intrinsics is None:
        return 'none'
    matrix = calibration.intrinsics
    return (f'focal length {matrix[0, 0]:.1f} px, centre ({matrix[0, 2]:.1f}, '
            f'{matrix[1, 2]:.1f}) px')
