"""How uncertain the position of a mesh is: standard deviations and 95 % intervals.

The error of a vertex has two parts. The position of the root is wrong mostly along the viewing
ray, because a colour image determines the distance only up to the size of the person; a depth
image determines it far better. The shape of the body around the root is wrong as well, more so
where the camera does not see it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from decomr_core.base.structures import HumanMesh

__all__ = ['PositionUncertainty', 'position_uncertainty']

RAY_SHARE = 0.12
"""Standard deviation of the distance along the ray, as a share of it, without depth."""
DEPTH_STD_M = 0.05
"""The same with measured depth, metres."""
LATERAL_SHARE = 0.02
"""Standard deviation across the ray, as a share of the distance."""
VISIBLE_STD_M, HIDDEN_STD_M = 0.06, 0.12
INTERVAL_DEVIATIONS = 1.96
"""Half width of a 95 % interval over the standard deviation."""


@dataclass(frozen=True)
class PositionUncertainty:
    """Uncertainty of one mesh with a position.

    Attributes:
        covariance: (3, 3) of the root, m^2, in the camera optical frame.
        visible_std: standard deviation of a visible vertex relative to the root, metres, along
            each axis.
        hidden_std: the same of a vertex that the camera does not see.
    """

    covariance: np.ndarray
    visible_std: float
    hidden_std: float

    def deviation(self, direction: np.ndarray, is_visible: bool) -> float:
        """Standard deviation of the position of a vertex along a direction, metres.

        Args:
            direction: (3,) unit vector, camera optical frame.
            is_visible: whether the camera sees the vertex.
        """
        own_std = self.visible_std if is_visible else self.hidden_std
        return math.sqrt(float(direction @ self.covariance @ direction) + own_std**2)

    def interval(
        self, distance_m: float, direction: np.ndarray, is_visible: bool
    ) -> tuple[float, float, float]:
        """Standard deviation and 95 % interval of the distance of a vertex from something.

        Args:
            distance_m: the estimated distance, at least 0.
            direction: (3,) unit vector along which it is measured, camera optical frame.
            is_visible: whether the camera sees the vertex.

        Returns:
            Standard deviation, lower and upper bound, metres; the bounds are at least 0.
        """
        std = self.deviation(direction, is_visible)
        half = INTERVAL_DEVIATIONS * std
        return std, max(distance_m - half, 0.0), distance_m + half


def position_uncertainty(mesh: HumanMesh, image_size: tuple[int, int]) -> PositionUncertainty:
    """The uncertainty of a mesh.

    Args:
        mesh: with a position (`is_metric`).
        image_size: width and height of the image, px.

    Raises:
        ValueError: the mesh has no position.
    """
    if not mesh.is_metric:
        raise ValueError('a mesh without a position has no uncertainty of it')
    position = np.asarray(mesh.translation, np.float64)
    distance = max(float(np.linalg.norm(position)), 1e-6)
    ray = position / distance
    along_std = DEPTH_STD_M if mesh.has_measured_depth else RAY_SHARE * distance
    across_std = LATERAL_SHARE * distance
    along = np.outer(ray, ray)
    covariance = along_std**2 * along + across_std**2 * (np.eye(3) - along)
    return PositionUncertainty(covariance, VISIBLE_STD_M, HIDDEN_STD_M)
