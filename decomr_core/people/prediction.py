"""Prediction of joints: damped constant velocity.

A limb does not keep its velocity for long: it swings back within half a second. The velocity
therefore decays exponentially, and the predicted path has at most the length velocity * damping_s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['DAMPING_S', 'predict_joints']

DAMPING_S = 1.0
"""Time in which a velocity decays to 1 / e, s.

On motion capture (`benchmarks/prediction.py`) the best value is 0.75 s for exact velocities and
2 s for those of `MeshSmoother`. The minimum is flat: 1 s is worse than either by less than 1 mm.
"""


def predict_joints(
    joints: np.ndarray,
    velocities: np.ndarray,
    horizons_s: Sequence[float] | np.ndarray,
    damping_s: float = DAMPING_S,
) -> np.ndarray:
    """Predicts joints: x + v * damping_s * (1 - exp(-h / damping_s)).

    Args:
        joints: (J, 3) m, any frame.
        velocities: (J, 3) m/s, same axes, relative to the same frame.
        horizons_s: (H,) times from now, s; at least 0.
        damping_s: time in which the velocity decays to 1 / e, s; infinity: it stays constant.

    Returns:
        (H, J, 3) m, the frame of `joints`, float64. NaN where joints or velocities are NaN.

    Raises:
        ValueError: a shape is wrong, a horizon is negative or not finite, or `damping_s` is not
            above 0.
    """
    joints, velocities, horizons = (
        np.asarray(values, np.float64) for values in (joints, velocities, horizons_s)
    )
    check_shape('joints', joints, (None, 3))
    check_shape('velocities', velocities, joints.shape)
    check_shape('horizons_s', horizons, (None,))
    if not (np.isfinite(horizons) & (horizons >= 0)).all():
        raise ValueError(f'horizons_s is {horizons}; expected finite times of at least 0')
    if not damping_s > 0:
        raise ValueError(f'damping_s is {damping_s}; expected a time above 0')
    # 0 * infinity would be NaN.
    effective_s = (
        horizons if math.isinf(damping_s) else -damping_s * np.expm1(-horizons / damping_s)
    )
    return joints + effective_s[:, None, None] * velocities
