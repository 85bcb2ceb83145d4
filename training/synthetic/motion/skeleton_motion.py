"""The content of a motion file of any format: a skeleton and the rotations of its joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.records.rotations import rotation_about

__all__ = ['SkeletonMotion', 'euler_rotation', 'world_rotations']


@dataclass(frozen=True)
class SkeletonMotion:
    """The motion of a skeleton of J joints over T frames, in the file's axes and unit of length.

    In the zero pose, which has all angles zero, the axes of all joints are the world's. Ends of
    bones are joints too, which rotate with their parent.

    Attributes:
        path: path of the file, for messages.
        names: J names.
        parents: J indices of parents, which come before their children; -1 for the root.
        offsets: (J, 3) vectors from parent to joint in the zero pose.
        rotations: (T, J, 3, 3) world rotations.
    """

    path: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    rotations: np.ndarray

    def rest_rotations(self, frame: int | None = None) -> np.ndarray:
        """World rotations (J, 3, 3) in a frame; None for the zero pose."""
        if frame is not None:
            return self.rotations[frame]
        return np.tile(np.eye(3), (len(self.names), 1, 1))

    def positions(self, rotations: np.ndarray) -> np.ndarray:
        """Positions (J, 3) of the joints, with the root at its offset.

        Args:
            rotations: (J, 3, 3) world rotations.
        """
        positions = self.offsets.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                positions[joint] = positions[parent] + rotations[parent] @ self.offsets[joint]
        return positions

    def between(self, start: int, end: int) -> np.ndarray:
        """Vectors (T, 3) from a joint to a descendant, in the file's axes and unit."""
        total = np.zeros((len(self.rotations), 3))
        while end != start:
            total += self.rotations[:, self.parents[end]] @ self.offsets[end]
            end = self.parents[end]
        return total

    def ancestors(self, joint: int) -> list[int]:
        """The joint and its ancestors up to the root."""
        chain = [joint]
        while self.parents[chain[-1]] >= 0:
            chain.append(self.parents[chain[-1]])
        return chain


def euler_rotation(axes: str, angles: np.ndarray) -> np.ndarray:
    """The product (..., 3, 3) of rotations about axes; the first one is the leftmost factor.

    Args:
        axes: n letters of x, y and z.
        angles: (..., n) radians.
    """
    product = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for index, axis in enumerate(axes):
        product = product @ rotation_about('xyz'.index(axis), angles[..., index])
    return product


def world_rotations(local: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """World rotations (T, J, 3, 3) from those relative to the parents; works in place."""
    for joint, parent in enumerate(parents):
        if parent >= 0:
            local[:, joint] = local[:, parent] @ local[:, joint]
    return local
