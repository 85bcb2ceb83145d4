"""Who sits or lies on something, and where on it: measured on posed bodies of any origin.

Somebody sits on a thing where both thighs are raised, the trunk is upright, the buttocks are off
the ground and the weight is behind the heels, so that without the thing he would fall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ['Resting', 'find_resting']

PELVIS, HIPS, KNEES, ANKLES, NECK, HEAD = 0, (1, 2), (4, 5), (7, 8), 12, 15
ARMS = (16, 17, 18, 19)
SPINE = (0, 3, 6, 9, 12)
SEATED_PARTS, TRUNK_PARTS, LOWER_LEG_PARTS = (0, 1, 2), (0, 3, 6, 9), (4, 5, 7, 8, 10, 11)
EVERY_VERTEX = 2
RAISED_THIGH = np.cos(np.deg2rad(45))
UPRIGHT, LEVEL = 0.6, 0.4
"""Share of the way from pelvis to neck that goes up: of sitters at least, of lying people at
most."""
LOWEST_SEAT, LOWEST_CUSHION = 0.5, 0.2
"""Height of a seat and of a cushion, in shins."""
BALANCED = 0.12
"""A weight so far ahead of the heels, in shins, needs no seat."""
ON_GROUND = 0.14
"""What is not higher, in shins, rests on the ground."""
LOWEST_TRUNK = 0.3
"""A trunk that is not higher, in shins, lies."""
FARTHEST_M, UNDER_PELVIS_M = 0.8, 0.04
SEAT_BEHIND_M, FOOT_BEHIND_M = 0.3, 0.2
"""A seat is looked for so far behind the pelvis; no foot of somebody who sits is farther back."""
GAP_M = 0.01
THICKEST_M = 0.08
"""Of a seat's board."""


@dataclass(frozen=True)
class Resting:
    """Somebody who sits or lies, in a frame of his own: forward, to the left, up; metres.

    Its origin is on the ground below the pelvis. Forward of a lying person is from the pelvis to
    the neck.

    Attributes:
        points: (N, 3) of the skin.
        parts: (N,) the joint that each point follows.
        joints: (24, 3).
        is_lying: whether he lies; else he sits.
        seat_m: height of what he is on.
        front_m: how far forward a board of a seat may reach.
        block_m: how far forward a seat without room for the feet may reach.
        origin: (3,) of the frame in the root frame.
        basis: (3, 3) its directions in the root frame, one a row.
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
        """Length of the shins, the measure of a body's size."""
        return _shin(self.joints)

    @property
    def buttocks_m(self) -> float:
        """How far forward the rear of the pelvis is; negative."""
        return float(self.points[self.parts == PELVIS, 0].min(initial=-.05))

    @property
    def is_on_cushion(self) -> bool:
        """Whether he sits nearly on the ground."""
        return not self.is_lying and self.seat_m <= LOWEST_SEAT * self.shin_m


def find_resting(vertices: np.ndarray, joints: np.ndarray, parts: np.ndarray,
                 up: np.ndarray) -> Resting | None:
    """Measures somebody who sits or lies; None for everybody else.

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
    """Whether both thighs are at least halfway up to level."""
    thighs = joints[list(KNEES)] - joints[list(HIPS)]
    return bool((-(thighs @ up) < RAISED_THIGH * np.linalg.norm(thighs, axis=1)).all())


def _basis(ahead: np.ndarray | None, joints: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Forward, left and up, one a row; forward is where the pelvis faces if it is not given."""
    if ahead is None:
        ahead = np.cross(joints[HIPS[0]] - joints[HIPS[1]], up)
    ahead = ahead - (ahead @ up) * up
    ahead = ahead / max(np.linalg.norm(ahead), 1e-6)
    return np.stack([ahead, np.cross(up, ahead), up])


def _lying(points: np.ndarray, parts: np.ndarray,
           joints: np.ndarray) -> tuple[float, float, float] | None:
    """The height of what a trunk lies on, and two numbers without a meaning."""
    height = points[np.isin(parts, TRUNK_PARTS), 2]
    low = float(height.min(initial=np.inf))
    return (low, 0.0, 0.0) if low <= LOWEST_TRUNK * _shin(joints) else None


def _seated(points: np.ndarray, parts: np.ndarray,
            joints: np.ndarray) -> tuple[float, float, float] | None:
    """Height of the seat, how far forward its board may reach, and a block; or None."""
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
    lower = (is_seated & (height < seat - .004)) | (is_lower & (height > seat - THICKEST_M))
    lower &= ahead > UNDER_PELVIS_M
    front = float(ahead[lower].min(initial=FARTHEST_M))
    block = float(ahead[is_lower & (height < seat + .01)].min(initial=FARTHEST_M))
    return seat, front - GAP_M, min(front, block) - GAP_M


def _weight_ahead(joints: np.ndarray) -> float:
    """How far forward the centre of mass is, m; shares of limbs as in tables of anatomy."""
    ahead = joints[:, 0]
    legs = ahead[[*HIPS, *KNEES]].mean()
    return float(.5 * ahead[list(SPINE)].mean() + .1 * ahead[HEAD] + .2 * legs
                 + .1 * ahead[[*KNEES, *ANKLES]].mean() + .1 * ahead[list(ARMS)].mean())
