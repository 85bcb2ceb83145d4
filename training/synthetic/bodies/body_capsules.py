"""A body as a few posed capsules, for fast tests of self-intersection.

All coordinates are in SMPL's body frame (x to the person's left, y up, z forward), in metres. A
capsule is a segment with a radius. A limb is a capsule along its bone; the trunk is a stack of
horizontal capsules from side to side, because it is wider than deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from decomr_core.body_models import PARENTS, BodyModel, load_body
from decomr_core.body_models.joints import HEAD, NECK
from training.records.rotations import matrix_from_axis_angle

__all__ = ['BodyCapsules', 'Skeleton', 'builtin_skeleton', 'segment_distances']

SIDES = ('left', 'right')
LIMBS = {
    'upper_arm': (16, 18, 0.4),
    'forearm': (18, 20, 0.1),
    'hand': (20, 22, 0),
    'thigh': (1, 4, 0.35),
    'shin': (4, 7, 0.1),
    'foot': (7, 10, 0),
}
"""The left joints of a limb, and the share of it next to the first joint that is omitted, because
it always touches its parent. The right joints have the next indices."""
TRUNK = {
    'hips': (0, 0, 1),
    'belly': (3, 0, 1),
    'waist': (6, 0, 1),
    'chest': (9, 0, 0.5),
    'shoulders': (9, 0.5, 0.85),
}
"""Part of the body, and the lower and upper end of a row as shares of its height."""
FINGERS = 1.6
"""Length of a hand over the distance of its joint, up to the middle of the fingers."""


class Skeleton:
    """Forward kinematics of a body's joints.

    Args:
        rest_joints: (24, 3) joints of the body in T-pose, metres.
    """

    def __init__(self, rest_joints: np.ndarray) -> None:
        self.rest_joints = np.asarray(rest_joints, float)

    @classmethod
    def from_body(cls, body: BodyModel) -> Skeleton:
        """The skeleton of a body of mean shape."""
        return cls(body.data.joint_regressor.astype(float) @ body.data.v_template)

    def pose(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Computes the frames of the joints of posed bodies.

        Args:
            pose: (B, 24, 3) axis-angle, radians.

        Returns:
            rotations (B, 24, 3, 3) of the joints' frames and positions (B, 24, 3) in metres.
        """
        rotations = matrix_from_axis_angle(np.asarray(pose, float))
        positions = np.tile(self.rest_joints, (len(pose), 1, 1))
        for joint, parent in enumerate(PARENTS):
            if parent >= 0:
                bone = self.rest_joints[joint] - self.rest_joints[parent]
                positions[:, joint] = positions[:, parent] + rotations[:, parent] @ bone
                rotations[:, joint] = rotations[:, parent] @ rotations[:, joint]
        return rotations, positions


@lru_cache(maxsize=1)
def builtin_skeleton() -> Skeleton:
    """The skeleton of the built-in body."""
    return Skeleton.from_body(load_body())


@dataclass(frozen=True)
class BodyCapsules:
    """K capsules attached to joints.

    Attributes:
        names: name of each capsule.
        skeleton: skeleton of the body.
        carrier: (K,) joint to which each capsule is attached.
        ends: (2, K, 3) both ends of its segment in T-pose, metres.
        radius: (K,) metres.
    """

    names: tuple[str, ...]
    skeleton: Skeleton
    carrier: np.ndarray
    ends: np.ndarray
    radius: np.ndarray

    @classmethod
    def from_body(cls, body: BodyModel) -> BodyCapsules:
        """Measures a body of mean shape in T-pose."""
        skeleton = Skeleton.from_body(body)
        vertices, parts = body.data.v_template, body.vertex_parts.numpy()
        rows = {
            'head': (HEAD, *_upright(vertices[parts == HEAD])),
            'neck': (
                NECK,
                *_along(
                    vertices[parts == NECK], skeleton.rest_joints[NECK], skeleton.rest_joints[HEAD]
                ),
            ),
        }
        for name, (joint, low, high) in TRUNK.items():
            rows[name] = joint, *_across(vertices[parts == joint], low, high)
        for name, (first, second, left_out) in LIMBS.items():
            for number, side in enumerate(SIDES):
                start, end = skeleton.rest_joints[[first + number, second + number]]
                _, _, radius = _along(vertices[parts == first + number], start, end)
                end = start + (end - start) * (FINGERS if name == 'hand' else 1)
                rows[f'{side}_{name}'] = (
                    first + number,
                    start + left_out * (end - start),
                    end,
                    radius,
                )
        carriers, starts, ends, radii = (
            np.array(column) for column in zip(*rows.values(), strict=True)
        )
        return cls(tuple(rows), skeleton, carriers, np.stack([starts, ends]), radii)

    def pose(self, pose: np.ndarray) -> np.ndarray:
        """Both ends (2, B, K, 3), metres, of the capsules in poses (B, 24, 3), radians."""
        rotations, positions = self.skeleton.pose(pose)
        offsets = self.ends - self.skeleton.rest_joints[self.carrier]
        turned = np.einsum('bkij,ekj->ebki', rotations[:, self.carrier], offsets)
        return turned + positions[:, self.carrier]


def segment_distances(
    starts: tuple[np.ndarray, np.ndarray], ends: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Distances between segments (Ericson, Real-Time Collision Detection, 5.1.9).

    Args:
        starts: start points of the first and of the second segments, (..., 3) each.
        ends: end points of both, (..., 3) each.

    Returns:
        (...) in the unit of the points.
    """
    first, second = ends[0] - starts[0], ends[1] - starts[1]
    between = starts[0] - starts[1]
    a, e = (np.maximum((line * line).sum(-1), 1e-12) for line in (first, second))
    b, c, f = (first * second).sum(-1), (first * between).sum(-1), (second * between).sum(-1)
    s = np.clip((b * f - c * e) / np.maximum(a * e - b * b, 1e-12), 0, 1)
    t = np.clip((b * s + f) / e, 0, 1)
    s = np.clip((b * t - c) / a, 0, 1)
    return np.linalg.norm(between + s[..., None] * first - t[..., None] * second, axis=-1)


def _along(
    points: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """The capsule of a bone: both ends (3,) and the median distance of points (N, 3) from it."""
    line = (end - start) / np.linalg.norm(end - start)
    away = points - start
    away = away - (away @ line)[:, None] * line
    return start, end, float(np.median(np.linalg.norm(away, axis=1))) if len(points) else 0.0


def _across(points: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The horizontal capsule around the points (N, 3) between two shares of their height."""
    bottom, height = points[:, 1].min(), np.ptp(points[:, 1])
    share = (points[:, 1] - bottom) / max(height, 1e-9)
    row = points[(share >= low) & (share <= high)]
    row = row if len(row) else points
    radius = float(np.ptp(row[:, 2])) / 2
    width = max(float(np.abs(row[:, 0]).max()) - radius, 0)
    middle = (row.min(0) + row.max(0)) / 2
    return middle - [width, 0, 0], middle + [width, 0, 0], radius


def _upright(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The vertical capsule of points (N, 3), with half their width from side to side as radius."""
    low, high = points.min(0), points.max(0)
    radius, middle = (high[0] - low[0]) / 2, (low + high) / 2
    half = np.array([0, max((high[1] - low[1]) / 2 - radius, 0), 0])
    return middle - half, middle + half, float(radius)
