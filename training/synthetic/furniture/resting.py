"""Detects people who sit or lie, and measures the position of the seat or bed that they need.

The posed body is measured, so this works for generated and for recorded poses. A person sits if
both thighs are raised, the trunk is upright, the buttocks are off the ground and the centre of
mass is behind the heels: without a seat the person would fall. A person lies if the trunk is
level and near the ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decomr_core.body_models.joints import ANKLES, HEAD, HIPS, KNEES, NECK, PELVIS, SPINE

__all__ = ['Resting', 'find_resting']

ARMS = (16, 17, 18, 19)
TRUNK_JOINTS = (PELVIS, *SPINE, NECK)
SEATED_PARTS, TRUNK_PARTS, LOWER_LEG_PARTS = (0, 1, 2), (0, 3, 6, 9), (4, 5, 7, 8, 10, 11)
EVERY_VERTEX = 2
RAISED_THIGH = np.cos(np.deg2rad(45))
"""Cosine of the smallest angle from straight down of both thighs of a sitting person."""
UPRIGHT, LEVEL = 0.6, 0.4
"""Vertical share of the vector from pelvis to neck: the smallest for a sitting person, the largest
for a lying one."""
LOWEST_SEAT, LOWEST_CUSHION = 0.5, 0.2
"""Smallest height of a seat and of a cushion, in lengths of the shin."""
BALANCED = 0.12
"""With the centre of mass this far ahead of the heels, in lengths of the shin, no seat is
needed."""
ON_GROUND = 0.14
"""Points up to this height, in lengths of the shin, touch the ground."""
LOWEST_TRUNK = 0.3
"""Largest height of a lying trunk above the ground, in lengths of the shin."""
FARTHEST_M, UNDER_PELVIS_M = 0.8, 0.04
SEAT_BEHIND_M, FOOT_BEHIND_M = 0.3, 0.2
"""Largest distance behind the pelvis of the lowest point of the buttocks, and of a sitting
person's feet."""
GAP_M = 0.01
THICKEST_M = 0.08
"""Largest thickness of a seat's board."""


@dataclass(frozen=True)
class Resting:
    """A person who sits or lies, in the person's own frame: forward, left, up; metres.

    The origin is on the ground below the pelvis. A lying person's forward direction is from the
    pelvis to the neck.

    Attributes:
        points: (N, 3) of the skin.
        parts: (N,) the joint that each point follows.
        joints: (24, 3).
        is_lying: True for a lying person, False for a sitting one.
        seat_m: height of the lowest point of the buttocks, or of the lying trunk.
        front_m: largest forward position of a seat's board.
        block_m: the same for a seat that is solid down to the ground.
        origin: (3,) origin of the frame, in the root frame.
        basis: (3, 3) the three directions in the root frame, one per row.
    """

    points: np.ndarray
    parts: np.ndarray
    joints: np.ndarray
    is_lying: bool
    seat_m: float
    front_m: float
    block_m: float
    origin: np.ndarray
    basis: np.ndarray

    @property
    def shin_m(self) -> float:
        """Mean length of the shins, the unit of the heights above, so children work too."""
        return _shin(self.joints)

    @property
    def buttocks_m(self) -> float:
        """Forward position of the rearmost point of the pelvis; negative."""
        return float(self.points[self.parts == PELVIS, 0].min(initial=-0.05))

    @property
    def is_on_cushion(self) -> bool:
        """Whether the buttocks are too low for a seat, but off the ground."""
        return not self.is_lying and self.seat_m <= LOWEST_SEAT * self.shin_m


def find_resting(
    vertices: np.ndarray, joints: np.ndarray, parts: np.ndarray, up: np.ndarray
) -> Resting | None:
    """Measures a person who sits or lies; None for other people.

    Args:
        vertices: (V, 3) root frame, m.
        joints: (24, 3) root frame, m.
        parts: (V,) the joint that each vertex follows.
        up: (3,) unit, root frame.
    """
    trunk = joints[NECK] - joints[PELVIS]
    rise = float(trunk @ up) / max(float(np.linalg.norm(trunk)), 1e-6)
    is_lying = abs(rise) < LEVEL
    if not is_lying and (rise < UPRIGHT or not _are_thighs_raised(joints, up)):
        return None
    basis = _basis(trunk if is_lying else None, joints, up)
    points = (vertices[::EVERY_VERTEX] - joints[PELVIS]) @ basis.T
    ground = points[:, 2].min()
    points[:, 2] -= ground
    own = (joints - joints[PELVIS]) @ basis.T - [0, 0, ground]
    origin = joints[PELVIS] + ground * basis[2]
    parts = parts[::EVERY_VERTEX]
    found = (_lying if is_lying else _seated)(points, parts, own)
    return found and Resting(points, parts, own, is_lying, *found, origin, basis)


def _shin(joints: np.ndarray) -> float:
    return float(np.linalg.norm(joints[list(KNEES)] - joints[list(ANKLES)], axis=1).mean())


def _are_thighs_raised(joints: np.ndarray, up: np.ndarray) -> bool:
    """Whether both thighs are at least 45 degrees off straight down."""
    thighs = joints[list(KNEES)] - joints[list(HIPS)]
    return bool((-(thighs @ up) < RAISED_THIGH * np.linalg.norm(thighs, axis=1)).all())


def _basis(ahead: np.ndarray | None, joints: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Forward, left and up, one per row; by default the pelvis faces forward."""
    if ahead is None:
        ahead = np.cross(joints[HIPS[0]] - joints[HIPS[1]], up)
    ahead = ahead - (ahead @ up) * up
    ahead = ahead / max(np.linalg.norm(ahead), 1e-6)
    return np.stack([ahead, np.cross(up, ahead), up])


def _lying(
    points: np.ndarray, parts: np.ndarray, joints: np.ndarray
) -> tuple[float, float, float] | None:
    """Height of the lying trunk and two zeros in place of the seat's limits; or None."""
    height = points[np.isin(parts, TRUNK_PARTS), 2]
    low = float(height.min(initial=np.inf))
    return (low, 0.0, 0.0) if low <= LOWEST_TRUNK * _shin(joints) else None


def _seated(
    points: np.ndarray, parts: np.ndarray, joints: np.ndarray
) -> tuple[float, float, float] | None:
    """Height of the seat, largest forward positions of its board and of a block; or None."""
    ahead, height = points[:, 0], points[:, 2]
    is_seated, is_lower = np.isin(parts, SEATED_PARTS), np.isin(parts, LOWER_LEG_PARTS)
    under = is_seated & (ahead > -SEAT_BEHIND_M) & (ahead < UNDER_PELVIS_M)
    seat = float(height[under].min(initial=np.inf))
    shin = _shin(joints)
    if not LOWEST_CUSHION * shin < seat < 3 * shin:
        return None
    heels = ahead[height < ON_GROUND * shin].min()
    is_behind = ahead[is_lower].min(initial=0) < -FOOT_BEHIND_M
    if is_behind or _weight_ahead(joints) - heels > BALANCED * shin:
        return None
    lower = (is_seated & (height < seat - 0.004)) | (is_lower & (height > seat - THICKEST_M))
    lower &= ahead > UNDER_PELVIS_M
    front = float(ahead[lower].min(initial=FARTHEST_M))
    block = float(ahead[is_lower & (height < seat + 0.01)].min(initial=FARTHEST_M))
    return seat, front - GAP_M, min(front, block) - GAP_M


def _weight_ahead(joints: np.ndarray) -> float:
    """Forward position of the centre of mass, m, from rough masses of trunk, head and limbs."""
    ahead = joints[:, 0]
    legs = ahead[[*HIPS, *KNEES]].mean()
    return float(
        0.5 * ahead[list(TRUNK_JOINTS)].mean()
        + 0.1 * ahead[HEAD]
        + 0.2 * legs
        + 0.1 * ahead[[*KNEES, *ANKLES]].mean()
        + 0.1 * ahead[list(ARMS)].mean()
    )
