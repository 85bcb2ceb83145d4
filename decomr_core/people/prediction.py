"""Prediction of joints: the velocity of the root, and damped velocities relative to it.

A person keeps walking, but a limb does not keep its velocity relative to the root: it swings back
within half a second. Both velocities therefore decay exponentially, each with a time of its own,
and a predicted path has at most the length velocity * time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from decomr_core.base.structures import check_shape

__all__ = ['DAMPING_S', 'ROOT_DAMPING_S', 'predict_joints']

ROOT_DAMPING_S, DAMPING_S = 2.0, 0.2
"""Times in which the velocity of the root, and velocities relative to it, decay to 1 / e, s.

On motion capture (`benchmarks/prediction.py`) the best pair is (1, 0.2) for exact velocities, and
(infinity, 0.1) for those of `MeshSmoother`. The minimum is flat: the mean error of this pair is
larger than either by about 1 mm. 0.1 and 0.3 s ahead the error is then 64 and 158 mm, instead of
64 and 170 mm with one damping of 1 s for the velocities of all joints, and 74 and 156 mm with the
velocity of the root for all joints.
"""


def predict_joints(
    joints: np.ndarray,
    velocities: np.ndarray,
    horizons_s: Sequence[float] | np.ndarray,
    root_velocity: np.ndarray | None = None,
    root_damping_s: float = ROOT_DAMPING_S,
    damping_s: float = DAMPING_S,
) -> np.ndarray:
    """Predicts joints: x + u * path(root_damping_s) + (v - u) * path(damping_s).

    u is the velocity of the root, v that of the joint, and path(d) = d * (1 - exp(-h / d)).

    Args:
        joints: (J, 3) m, any frame.
        velocities: (J, 3) m/s, same axes, relative to the same frame.
        horizons_s: (H,) times from now, s; at least 0.
        root_velocity: (3,) m/s, like `velocities`; None: `velocities` are relative to the root.
        root_damping_s: time in which the velocity of the root decays to 1 / e, s; infinity: it
            stays constant.
        damping_s: the same for velocities relative to the root.

    Returns:
        (H, J, 3) m, the frame of `joints`, float64. NaN where joints or velocities are NaN.

    Raises:
        ValueError: a shape is wrong, a horizon is negative or not finite, or a damping time is not
            above 0.
    """
    root_velocity = np.zeros(3) if root_velocity is None else root_velocity
    joints, velocities, horizons, root_velocity = (
        np.asarray(values, np.float64)
        for values in (joints, velocities, horizons_s, root_velocity)
    )
    check_shape('joints', joints, (None, 3))
    check_shape('velocities', velocities, joints.shape)
    check_shape('horizons_s', horizons, (None,))
    check_shape('root_velocity', root_velocity, (3,))
    if not (np.isfinite(horizons) & (horizons >= 0)).all():
        raise ValueError(f'horizons_s is {horizons}; expected finite times of at least 0')
    for name, time_s in (('root_damping_s', root_damping_s), ('damping_s', damping_s)):
        if not time_s > 0:
            raise ValueError(f'{name} is {time_s}; expected a time above 0')
    root_path = _effective_s(horizons, root_damping_s)[:, None, None] * root_velocity
    own_path = _effective_s(horizons, damping_s)[:, None, None] * (velocities - root_velocity)
    return joints + (root_path + own_path)


def _effective_s(horizons_s: np.ndarray, damping_s: float) -> np.ndarray:
    """The times (H,) in which an undamped velocity would cover the same path, s."""
    if math.isinf(damping_s):  # 0 * infinity would be NaN
        return horizons_s
    return -damping_s * np.expm1(-horizons_s / damping_s)
