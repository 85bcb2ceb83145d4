"""Steady meshes: the 1 Euro filter of Casiez, Roussel and Vogel (CHI 2012).

A low-pass filter whose cutoff grows with speed: a person who stands does not tremble, one who
moves is not late. The root's translation is filtered along each axis of the camera, because its
depth is far noisier than the rest; the root-relative vertices and joints each by their own speed,
which does not depend on the axes.

On a robot that moves, a person who stands still moves in the camera's frame. With the camera's
pose in a fixed frame given for each image, what the filter remembers is kept in that frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from decomr_core.base.structures import HumanMesh, check_shape

__all__ = ['MeshSmoother', 'SmoothingConfig']


@dataclass(frozen=True)
class SmoothingConfig:
    """How steady, how fast.

    Attributes:
        min_cutoff_hz: cutoff for what stands still: lower is steadier.
        beta: by how much the root's cutoff grows with its speed, Hz per m/s: higher is faster.
        body_beta: likewise of what moves against the root, whose noise is larger.
        speed_cutoff_hz: cutoff of the speed itself.
        max_gap_s: after so long without a person the filter starts anew.
    """

    min_cutoff_hz: float = 0.2
    beta: float = 5.0
    body_beta: float = 1.5
    speed_cutoff_hz: float = 1.0
    max_gap_s: float = 0.5

    def __post_init__(self) -> None:
        """Refuses values that make no sense.

        Raises:
            ValueError: a value is out of its range.
        """
        if not (min(self.min_cutoff_hz, self.speed_cutoff_hz, self.max_gap_s) > 0
                and min(self.beta, self.body_beta) >= 0
                and max(self.beta, self.body_beta) < math.inf):
            raise ValueError(f'{self}: expected min_cutoff_hz, speed_cutoff_hz and max_gap_s '
                             'above 0, beta and body_beta at least 0')


@dataclass
class _Memory:
    """What is remembered of one person, in the frame that stands still.

    Attributes:
        time_s: of the last image.
        is_metric: whether the mesh had a place.
        root: (3,) m, smoothed; and its speed, m/s.
        body: (3, V + J) m, root-relative, smoothed; and its speed, m/s. NumPy is four times as
            fast on three long rows as on many short ones.
    """

    time_s: float
    is_metric: bool
    root: np.ndarray
    root_speed: np.ndarray
    body: np.ndarray
    body_speed: np.ndarray


class MeshSmoother:
    """Smooths the meshes of a video, each person by their track id.

    Attributes:
        config: see `SmoothingConfig`; may be replaced at any time.
    """

    def __init__(self, config: SmoothingConfig | None = None) -> None:
        """Starts without any memory."""
        self.config = config or SmoothingConfig()
        self._memories: dict[int, _Memory] = {}
        self._time_s = -math.inf
        self._is_fixed = False

    def reset(self) -> None:
        """Forgets everybody."""
        self._memories = {}
        self._time_s = -math.inf

    def smooth(self, meshes: list[HumanMesh], time_s: float,
               fixed_from_camera: np.ndarray | None = None) -> list[HumanMesh]:
        """The meshes of the next image, steadier.

        Args:
            meshes: in any order; those with a track id below 0 or with numbers that are not
                finite stay as they are.
            time_s: when the image was taken; a time that jumps back forgets everybody.
            fixed_from_camera: (4, 4) pose of the camera in a frame that does not move; None: the
                camera's own frame.
        """
        is_fixed = fixed_from_camera is not None
        if time_s < self._time_s or is_fixed != self._is_fixed:
            self.reset()
        self._time_s, self._is_fixed = time_s, is_fixed
        if is_fixed:
            fixed_from_camera = np.asarray(fixed_from_camera, np.float64)
            check_shape('fixed_from_camera', fixed_from_camera, (4, 4))
        self._memories = {number: memory for number, memory in self._memories.items()
                          if time_s - memory.time_s <= self.config.max_gap_s}
        return [self._smooth_one(mesh, time_s, fixed_from_camera) for mesh in meshes]

    def _smooth_one(self, mesh: HumanMesh, time_s: float,
                    fixed_from_camera: np.ndarray | None) -> HumanMesh:
        body = np.ascontiguousarray(np.concatenate([mesh.vertices, mesh.joints]).T)
        body -= mesh.translation[:, None]
        # The sum is finite exactly where everything is, short of overflow; one pass, no mask.
        if mesh.track_id < 0 or not math.isfinite(float(body.sum() + mesh.translation.sum())):
            return mesh
        memory = self._memories.get(mesh.track_id)
        root = np.asarray(mesh.translation, np.float64)
        if (memory is None or memory.body.shape != body.shape
                or memory.is_metric != mesh.is_metric):
            memory = _Memory(time_s, mesh.is_metric, root, np.zeros(3), body, np.zeros_like(body))
        else:
            memory = self._filtered(memory, root, body, time_s, fixed_from_camera)
        self._memories[mesh.track_id] = memory if fixed_from_camera is None else _moved(
            memory, fixed_from_camera)
        translation = memory.root.astype(np.float32)
        points = cv2.merge(list(memory.body + translation[:, None])).reshape(-1, 3)
        count = len(mesh.vertices)
        return replace(mesh, vertices=points[:count], joints=points[count:],
                       translation=translation)

    def _filtered(self, memory: _Memory, root: np.ndarray, body: np.ndarray, time_s: float,
                  fixed_from_camera: np.ndarray | None) -> _Memory:
        """The memory after one more sight, in the present camera's frame."""
        if fixed_from_camera is not None:
            memory = _moved(memory, _inverse(fixed_from_camera))
        step_s = time_s - memory.time_s
        if step_s <= 0:  # the same image again
            return memory
        config = self.config
        keep = _weight(config.speed_cutoff_hz, step_s)
        root_speed = memory.root_speed + keep * ((root - memory.root) / step_s
                                                 - memory.root_speed)
        root_gain = _weight(config.min_cutoff_hz + config.beta * np.abs(root_speed), step_s)
        error = body - memory.body
        body_speed = memory.body_speed * np.float32(1 - keep)
        body_speed += error * np.float32(keep / step_s)
        speed = np.sqrt(np.einsum('iv,iv->v', body_speed, body_speed))
        speed *= np.float32(config.body_beta)
        speed += np.float32(config.min_cutoff_hz)
        error *= _weight(speed, np.float32(step_s))
        error += memory.body
        return _Memory(time_s, memory.is_metric, memory.root + root_gain * (root - memory.root),
                       root_speed, error, body_speed)


def _weight(cutoff_hz: np.ndarray | float, step_s: float) -> np.ndarray | float:
    """Share of the new value in a low-pass filter of first order."""
    turns = cutoff_hz * (step_s * 2 * math.pi)
    return turns / (turns + 1)


def _moved(memory: _Memory, other_from_this: np.ndarray) -> _Memory:
    """The memory in another frame, by a (4, 4) rigid transform."""
    rotation, origin = other_from_this[:3, :3], other_from_this[:3, 3]
    turn = rotation.astype(np.float32)
    root = rotation @ memory.root + (origin if memory.is_metric else 0)
    return _Memory(memory.time_s, memory.is_metric, root, rotation @ memory.root_speed,
                   turn @ memory.body, turn @ memory.body_speed)


def _inverse(transform: np.ndarray) -> np.ndarray:
    """Of a rigid transform (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = transform[:3, :3].T
    inverse[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return inverse
