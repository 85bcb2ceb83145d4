"""Depth images that can be read and still say nothing: units, empty ones, ones that never fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

    from decomr_core.base.structures import HumanMesh
    from decomr_ros.inputs.depth_image import DepthImage
    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['DepthChecks']

# Every so many-th row and column tells what the numbers are like.
STRIDE = 32
# The median of what a depth camera sees lies between these, m.
NEAREST_M, FARTHEST_M = 0.05, 300.0
# So many meshes in a row that depth does not correct are no accident.
MOST_UNCORRECTED = 30


class DepthChecks:
    """Tells of depth that is not used, or of which the meaning is guessed; the worker's thread."""

    def __init__(self, warnings: StandingWarnings, topic: str) -> None:
        """Takes what it warns with and the full name of the topic."""
        self._warnings, self._topic = warnings, topic
        self._uncorrected = 0

    def look(self, message: Image, depth: DepthImage) -> None:
        """Looks at a depth image that could be read."""
        found = {}
        if message.encoding == 'mono16':
            found['depth_encoding'] = (
                f'{self._topic} has the encoding mono16, which is read as 16UC1, millimetres; '
                'let the driver say 16UC1 (REP-118)')
        if odd := self._odd_values(depth, message.encoding):
            found['depth_values'] = odd
        self._warnings.update(('depth_encoding', 'depth_values'), found)
        self._warnings.end_soon('bad_depth')
        if not np.array_equal(depth.scale, (1.0, 1.0)):
            self._warnings.note(
                'depth_size', f'{self._topic} has {message.width}x{message.height} px, the image '
                f'{depth.calibration.width}x{depth.calibration.height}: taken for the same '
                'picture, scaled')

    def count(self, meshes: Sequence[HumanMesh], corrected: int) -> None:
        """Counts the meshes that depth could have corrected.

        Args:
            meshes: of an image with a depth image.
            corrected: how many of them it has corrected.
        """
        metric = sum(mesh.is_metric for mesh in meshes)
        if corrected:
            self._uncorrected = 0
            self._warnings.end_soon('depth_fit')
        elif metric:
            self._uncorrected += metric
            if self._uncorrected >= MOST_UNCORRECTED:
                self._warnings.hold(
                    'depth_fit', f'{self._topic} corrected none of the last '
                    f'{self._uncorrected} meshes: too few pixels are measured there, or they do '
                    'not agree with the mesh. Is it registered to the colour camera '
                    '(aligned_depth_to_color, depth_registered), in mm (16UC1) or m (32FC1)?',
                    metric)

    def _odd_values(self, depth: DepthImage, encoding: str) -> str:
        """What is odd about the numbers of a depth image; empty: nothing."""
        numbers = depth.numbers[::STRIDE, ::STRIDE]
        known = numbers[np.isfinite(numbers) & (numbers > 0)]
        if known.size == 0:
            return (f'{self._topic}: no pixel is measured, all are 0, negative or not finite; '
                    'check the depth camera')
        middle_m = float(np.median(known)) * depth.unit_m
        if NEAREST_M <= middle_m <= FARTHEST_M:
            return ''
        unit = 'mm' if encoding != '32FC1' else 'm'
        return (f'{self._topic}: the median depth is {middle_m:g} m if the '
                f'numbers are {unit}, which {encoding} stands for (REP-118); they seem to be of '
                'another unit. Let the driver publish 16UC1 in mm or 32FC1 in m')
