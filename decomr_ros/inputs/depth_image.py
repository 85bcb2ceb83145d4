"""Depth images (REP-118) aligned with the camera image, and distances of meshes from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from std_msgs.msg import Header

from decomr_core.geometry.camera import project_weak_perspective
from decomr_core.geometry.depth import MOST_PAIRS, nearest_pixels, translation_from_depth
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.images import numbers_from_image_message

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

    from decomr_core.base.structures import HumanMesh
    from decomr_ros.calibration.calibration import Calibration

__all__ = ['DepthImage', 'depth_from_message', 'place_by_depth']

MILLIMETRE_M = 0.001
# Largest relative difference of the aspect ratios: sizes are rounded to whole pixels.
ASPECT_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class DepthImage:
    """A depth image that is aligned with a camera image.

    Attributes:
        numbers: (H, W) uint16 or float32.
        unit_m: unit of the numbers, metres.
        scale: (2,) width and height divided by those of the image.
        calibration: calibration of the image, with its lens distortion.
        header: stamp and frame of the message.
        encoding: of the message.
    """

    numbers: np.ndarray
    unit_m: float
    scale: np.ndarray
    calibration: Calibration
    header: Header = dataclasses.field(default_factory=Header)
    encoding: str = ''

    def depth_xy(self, image_xy: np.ndarray) -> np.ndarray:
        """Maps points (N, 2) of the image to the depth image, px."""
        return (self.calibration.distort_points(image_xy) + 0.5) * self.scale - 0.5

    def depths_at(self, image_xy: np.ndarray) -> np.ndarray:
        """The measured depths (N,) at points (N, 2) of the image, metres; NaN where unknown."""
        pixels, is_inside = nearest_pixels(self.numbers.shape, self.depth_xy(image_xy))
        depths = self.numbers.reshape(-1)[pixels].astype(np.float64) * self.unit_m
        return np.where(is_inside & (depths > 0), depths, np.nan)


def depth_from_message(message: Image, calibration: Calibration) -> DepthImage:
    """Decodes a depth message.

    Args:
        message: 16UC1 or mono16 in millimetres, or 32FC1 in metres.
        calibration: calibration of the image that it is aligned with.

    Raises:
        BadInput: unsupported encoding, contradictory sizes, or an aspect ratio that differs from
            that of the image.
    """
    try:
        numbers = numbers_from_image_message(message)
    except BadInput as error:
        raise BadInput('depth', f'depth: {error}') from error
    size = np.array([message.width, message.height], float)
    image_size = np.array([calibration.width, calibration.height], float)
    aspects = size[0] / size[1], image_size[0] / image_size[1]
    if abs(aspects[0] / aspects[1] - 1) > ASPECT_TOLERANCE:
        raise BadInput(
            'depth',
            f'depth image of {message.width}x{message.height} px, but the '
            f'image has {calibration.width}x{calibration.height}: it is not '
            'aligned; use the depth that is registered to the colour camera',
        )
    unit_m = 1.0 if numbers.dtype == np.float32 else MILLIMETRE_M
    return DepthImage(
        numbers, unit_m, size / image_size, calibration, message.header, message.encoding
    )


def place_by_depth(meshes: Sequence[HumanMesh], depth: DepthImage) -> tuple[list[HumanMesh], int]:
    """Moves meshes to the distance that the depth camera measured.

    Args:
        meshes: meshes of the image that the depth image is aligned with.
        depth: the depth image.

    Returns:
        The meshes, moved along their viewing rays where depth was measured, and how many were
        moved.
    """
    placed = [_placed(mesh, depth) for mesh in meshes]
    return placed, sum(after is not before for after, before in zip(placed, meshes, strict=True))


def _placed(mesh: HumanMesh, depth: DepthImage) -> HumanMesh:
    if not mesh.is_metric:
        return mesh
    seen = np.flatnonzero(mesh.visibility)
    points = mesh.vertices[seen[:: len(seen) // MOST_PAIRS + 1]] - mesh.translation
    image_xy = project_weak_perspective(points, mesh.weak_camera, mesh.crop_center, mesh.crop_side)
    translation = translation_from_depth(
        points, depth.depth_xy(image_xy), mesh.translation, depth.numbers, depth.unit_m
    )
    if translation is None:
        return mesh
    shift = (translation - mesh.translation).astype(np.float32)
    return dataclasses.replace(
        mesh,
        vertices=mesh.vertices + shift,
        joints=mesh.joints + shift,
        translation=translation.astype(np.asarray(mesh.translation).dtype),
        has_measured_depth=True,
        depth_change=math.log(translation[2] / mesh.translation[2]),
    )
