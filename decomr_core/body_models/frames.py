"""The transform from the body frame to the root frame.

Body frame: SMPL's, x to the person's left, y up, z to the front. Root frame: axes parallel to the
camera optical frame, x right, y down, z forward. Both have the same origin. They differ by half a
turn about x for an upright person who faces the camera.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

__all__ = ['ROOT_FROM_BODY', 'in_root_frame']

ROOT_FROM_BODY = np.diag([1.0, -1.0, -1.0])
"""(3, 3) rotation: half a turn about x."""


def in_root_frame(points: Tensor) -> Tensor:
    """Transforms points (..., 3) from the body frame to the root frame; keeps the unit."""
    return points * points.new_tensor(ROOT_FROM_BODY.diagonal().tolist())
