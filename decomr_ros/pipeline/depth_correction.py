"""Pipeline stage that corrects the distance of meshes with a depth image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from decomr_ros.inputs.depth_image import DepthImage, place_by_depth

if TYPE_CHECKING:
    from decomr_core.base.structures import HumanMesh
    from decomr_ros.node.standing_warnings import StandingWarnings

__all__ = ['MOST_UNCORRECTED', 'DepthCorrection']

# Number of consecutive metric meshes without a correction from which on it is a warning.
MOST_UNCORRECTED = 30


class DepthCorrection:
    """Moves meshes to their measured distance; the worker's thread.

    Attributes:
        num_corrected: meshes corrected so far.
    """

    def __init__(
        self, topic: str, warnings: StandingWarnings, log: Callable[[str], object]
    ) -> None:
        """Starts without a corrected mesh.

        Args:
            topic: full name of the depth topic.
            warnings: states depth that never agrees with the meshes.
            log: logs the first correction.
        """
        self._topic, self._warnings, self._log = topic, warnings, log
        self._uncorrected = 0
        self.num_corrected = 0

    def correct(self, meshes: Sequence[HumanMesh], depth: DepthImage | None) -> list[HumanMesh]:
        """The meshes of an image, moved along their viewing rays where depth was measured.

        Args:
            meshes: meshes of the image.
            depth: its depth image; None: the meshes stay where they are.
        """
        if depth is None:
            return list(meshes)
        corrected, count = place_by_depth(meshes, depth)
        if count and not self.num_corrected:
            self._log(f'distances are corrected by {self._topic}')
        self.num_corrected += count
        self._warn_if_unused(sum(mesh.is_metric for mesh in meshes), count)
        return corrected

    def _warn_if_unused(self, num_metric: int, num_corrected: int) -> None:
        """Warns after `MOST_UNCORRECTED` consecutive metric meshes without a correction."""
        if num_corrected:
            self._uncorrected = 0
            self._warnings.end_soon('depth_fit')
            return
        self._uncorrected += num_metric
        if num_metric and self._uncorrected >= MOST_UNCORRECTED:
            self._warnings.set(
                'depth_fit',
                f'{self._topic} corrected none of the last '
                f'{self._uncorrected} meshes: too few pixels are measured there, or they do '
                'not agree with the mesh. Is it registered to the colour camera '
                '(aligned_depth_to_color, depth_registered), in mm (16UC1) or m (32FC1)?',
                num_metric,
            )
