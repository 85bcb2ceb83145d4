"""Checks of depth images that can be decoded: units, empty images, another resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

    from decomr_ros.inputs.depth_image import DepthImage
    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['DepthChecks']

# Step between the rows and columns that are checked.
STRIDE = 32
# Range of plausible median depths, m.
NEAREST_M, FARTHEST_M = 0.05, 300.0


class DepthChecks:
    """States what is guessed about depth images; the worker's thread."""

    def __init__(self, warnings: StandingWarnings, topic: str) -> None:
        """Makes the checks of a topic, given by its full name."""
        self._warnings, self._topic = warnings, topic

    def check(self, message: Image, depth: DepthImage) -> None:
        """Checks a depth image and the message that it was decoded from."""
        found = {}
        if message.encoding == 'mono16':
            found['depth_encoding'] = (
                f'{self._topic} has the encoding mono16, which is read as 16UC1, millimetres; '
                'let the driver say 16UC1 (REP-118)'
            )
        if odd := self._odd_values(depth, message.encoding):
            found['depth_values'] = odd
        self._warnings.update(('depth_encoding', 'depth_values'), found)
        self._warnings.end_soon('bad_depth')
        if not np.array_equal(depth.scale, (1.0, 1.0)):
            self._warnings.note(
                'depth_size',
                f'{self._topic} has {message.width}x{message.height} px, the image '
                f'{depth.calibration.width}x{depth.calibration.height}: taken for the same '
                'image, scaled',
            )

    def _odd_values(self, depth: DepthImage, encoding: str) -> str:
        """A description of implausible values; empty if there are none."""
        numbers = depth.numbers[::STRIDE, ::STRIDE]
        known = numbers[np.isfinite(numbers) & (numbers > 0)]
        if known.size == 0:
            return (
                f'{self._topic}: no pixel is measured, all are 0, negative or not finite; '
                'check the depth camera'
            )
        middle_m = float(np.median(known)) * depth.unit_m
        if NEAREST_M <= middle_m <= FARTHEST_M:
            return ''
        unit = 'mm' if encoding != '32FC1' else 'm'
        return (
            f'{self._topic}: the median depth is {middle_m:g} m if the '
            f'numbers are {unit}, which {encoding} stands for (REP-118); they seem to be of '
            'another unit. Let the driver publish 16UC1 in mm or 32FC1 in m'
        )
