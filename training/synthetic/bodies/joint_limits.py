"""Joint limits: the anatomical ranges of motion, with generous margins.

Each joint's rotation is split into a swing of its bone and a twist about it. The swing is a
rotation vector perpendicular to the bone. Its two angles have a limit in each direction; together
they must be inside an ellipse. The limits start from the ranges of motion of the American Academy
of Orthopaedic Surgeons (Greene and Heckman, The Clinical Measurement of Joint Motion, 1994), which
are in the comment of each row. They are wider, because dancers have larger ranges, and because a
rig distributes rotations over its joints differently from a body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decomr_core.body_models.joints import MIRRORED_JOINTS
from training.records.rotations import MIRROR, matrix_from_axis_angle

__all__ = ['LIMITS', 'JointLimit', 'joint_excess']

X, Y, Z = range(3)


@dataclass(frozen=True)
class JointLimit:
    """The range of a joint, or of a chain of joints as one; for the left side, degrees.

    Attributes:
        chain: the joints, from the trunk outwards; their rotations are multiplied.
        bone: the axis (0, 1, 2 for x, y, z) of the bone in the T-pose.
        first: range of the swing's angle about the next axis in cyclic order (y of x, z of y).
        second: range about the axis after that.
        twist: range about the bone's axis.
    """

    chain: tuple[int, ...]
    bone: int
    first: tuple[float, float]
    second: tuple[float, float]
    twist: tuple[float, float]


LIMITS = {
    # Flexion 120 and extension 30 are about x (the second), abduction 45 and adduction 30 about z.
    'hip': JointLimit((1,), Y, (-75, 125), (-165, 80), (-110, 130)),
    # Flexion 135; the rest is the part of the shin's twist that a rig's hinges have.
    'knee': JointLimit((4,), Y, (-30, 30), (-20, 165), (-60, 60)),
    # Dorsiflexion 20, plantarflexion 50; inversion 35, eversion 15.
    'ankle': JointLimit((7,), Y, (-60, 60), (-60, 90), (-65, 65)),
    'toes': JointLimit((10,), Z, (-85, 85), (-60, 60), (-70, 70)),
    # Flexion 80, extension 25, to the side 35, rotation 45, all of the spine together.
    'spine': JointLimit((3, 6, 9), Y, (-75, 75), (-75, 120), (-90, 90)),
    # Flexion and extension 45, to the side 45, rotation 60 (others: 60, 45, 80).
    'neck': JointLimit((12, 15), Y, (-70, 70), (-95, 85), (-105, 105)),
    # Extension 60, abduction 180 and flexion 180 with the shoulder blade.
    'shoulder': JointLimit((13, 16), X, (-165, 95), (-130, 130), (-150, 150)),
    # Flexion 150, pronation and supination 80: half in the elbow, half in the wrist. In
    # recordings, hinges are rotated about the upper arm, against its twist, by up to 70 degrees.
    'elbow': JointLimit((18,), X, (-170, 25), (-150, 150), (-110, 110)),
    # Flexion 80, extension 70; to the side 20 and 30.
    'wrist': JointLimit((20,), X, (-100, 100), (-115, 115), (-125, 125)),
}
BEHIND, BEHIND_CONE = np.array([-0.6, 0.1, -0.8]), 38.0
"""A direction behind the back to the other side (left arm, chest frame), and the half angle of the
forbidden cone of the upper arm about it, degrees."""


def joint_excess(pose: np.ndarray) -> np.ndarray:
    """The excess of joints over their limits.

    Args:
        pose: (B, 24, 3) axis-angle, radians.

    Returns:
        (B, 2, L) for each side (left, right) and row of `LIMITS`: the larger excess of swing and
        twist, as a share of the limit; 0 within the limits.
    """
    pose = np.asarray(pose, float)
    mirrored = pose[:, list(MIRRORED_JOINTS)] * MIRROR
    matrices = matrix_from_axis_angle(np.stack([pose, mirrored], axis=1))  # (B, 2, 24, 3, 3)
    columns = []
    for name, limit in LIMITS.items():
        rotation = matrices[:, :, limit.chain[0]]
        for joint in limit.chain[1:]:
            rotation = rotation @ matrices[:, :, joint]
        excess = _excess(rotation, limit)
        if name == 'shoulder':
            excess = np.maximum(excess, _behind_the_back(rotation))
        columns.append(excess)
    return np.stack(columns, axis=-1)


def _excess(rotation: np.ndarray, limit: JointLimit) -> np.ndarray:
    """The excess (...) of rotations (..., 3, 3) over a limit, as a share of it."""
    first, second, twist = swing_twist(rotation, limit.bone)
    swing = np.hypot(_share(first, limit.first), _share(second, limit.second))
    return np.maximum(np.maximum(swing, _share(twist, limit.twist)) - 1, 0)


def swing_twist(rotation: np.ndarray, bone: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits rotations into a twist followed by a swing.

    Args:
        rotation: (..., 3, 3).
        bone: axis of the twist.

    Returns:
        Degrees (...): the swing's angles about the two next axes in cyclic order, and the twist.
    """
    first, second = (bone + 1) % 3, (bone + 2) % 3
    along = rotation[..., :, bone]
    # The smallest rotation from the axis to `along` is about their cross product.
    sine = np.hypot(along[..., first], along[..., second])
    angle = np.arctan2(sine, along[..., bone])
    scale = np.where(sine > 1e-6, angle / np.maximum(sine, 1e-6), 0)
    swing = np.zeros(along.shape)
    swing[..., first], swing[..., second] = -along[..., second] * scale, along[..., first] * scale
    rest = np.swapaxes(matrix_from_axis_angle(swing), -1, -2) @ rotation
    twist = np.arctan2(rest[..., second, first], rest[..., first, first])
    return np.rad2deg(swing[..., first]), np.rad2deg(swing[..., second]), np.rad2deg(twist)


def _share(angle: np.ndarray, allowed: tuple[float, float]) -> np.ndarray:
    """Angles (...) as a share of the limit on their side, 0 or more."""
    low, high = allowed
    return np.where(angle < 0, angle / low, angle / high)


def _behind_the_back(rotation: np.ndarray) -> np.ndarray:
    """The depth (...) of upper arms in the forbidden cone, as a share of its half angle."""
    cosine = rotation[..., :, X] @ (BEHIND / np.linalg.norm(BEHIND))
    angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    return np.maximum(1 - angle / BEHIND_CONE, 0)
