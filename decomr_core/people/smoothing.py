"""Temporal smoothing of meshes: the 1 Euro filter of Casiez, Roussel and Vogel (CHI 2012).

The filter is a low-pass whose cutoff grows with speed: it removes the jitter of a person who
stands still and does not delay one who moves. The root translation is filtered along each axis of
the camera, because its depth is far noisier than the rest. Each root-relative vertex and joint is
filtered by its own speed, which does not depend on the axes.

On a moving robot, a person who stands still moves in the camera frame. If the pose of the camera
in a fixed frame is given for each image, the filter state is kept in that frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from decomr_core.base.structures import HumanMesh, check_shape
from decomr_core.people.velocity import PersonMotion, VelocityState, low_pass_weight

__all__ = ['MeshSmoother', 'SmoothingConfig']


@dataclass(frozen=True)
class SmoothingConfig:
    """Cutoff frequencies of the filter.

    Attributes:
        min_cutoff_hz: cutoff at rest; a lower value gives less jitter.
        beta: growth of the root's cutoff with its speed, Hz per m/s; a higher value gives less
            delay.
        body_beta: the same for root-relative points, whose noise is larger.
        speed_cutoff_hz: cutoff of the speed estimate.
        max_gap_s: time without a mesh of a person after which the person's filter restarts.
    """

    min_cutoff_hz: float = 0.2
    beta: float = 5.0
    body_beta: float = 1.5
    speed_cutoff_hz: float = 1.0
    max_gap_s: float = 0.5

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: a value is out of its range.
        """
        if not (
            min(self.min_cutoff_hz, self.speed_cutoff_hz, self.max_gap_s) > 0
            and min(self.beta, self.body_beta) >= 0
            and max(self.beta, self.body_beta) < math.inf
        ):
            raise ValueError(
                f'{self}: expected min_cutoff_hz, speed_cutoff_hz and max_gap_s '
                'above 0, beta and body_beta at least 0'
            )


@dataclass
class _FilterState:
    """Filter state of one person, in the fixed frame.

    NumPy is four times as fast on three long rows as on many short ones, hence the layout of
    `body`.

    Attributes:
        time_s: time of the last image.
        is_metric: whether the mesh had a position.
        root: (3,) smoothed root, m.
        root_speed: (3,) m/s.
        body: (3, V + J) smoothed root-relative points, m.
        body_speed: (3, V + J) m/s.
        velocity: filter of the raw meshes' velocities, which the smoothing does not use; None:
            they are not measured.
    """

    time_s: float
    is_metric: bool
    root: np.ndarray
    root_speed: np.ndarray
    body: np.ndarray
    body_speed: np.ndarray
    velocity: VelocityState | None


class MeshSmoother:
    """Smooths the meshes of a video, separately for each track id.

    Attributes:
        config: see `SmoothingConfig`; may be replaced between two images.
        measures_motion: whether to measure velocities for `motion`, which takes time; may be
            changed between two images.
    """

    def __init__(
        self, config: SmoothingConfig | None = None, *, measures_motion: bool = False
    ) -> None:
        """Starts without any state.

        Args:
            config: see `SmoothingConfig`; None: the default.
            measures_motion: see the attribute.
        """
        self.config = config or SmoothingConfig()
        self.measures_motion = measures_motion
        self._states: dict[int, _FilterState] = {}
        self._present: frozenset[int] = frozenset()  # track ids in the last image
        self._time_s = -math.inf
        self._is_fixed = False

    def reset(self) -> None:
        """Discards the state of all people."""
        self._states = {}
        self._time_s = -math.inf

    def smooth(
        self, meshes: list[HumanMesh], time_s: float, fixed_from_camera: np.ndarray | None = None
    ) -> list[HumanMesh]:
        """Smooths the meshes of the next image.

        Args:
            meshes: in any order. Those with a track id below 0 or with non-finite numbers are
                returned unchanged.
            time_s: time of the image. A jump back discards all state.
            fixed_from_camera: (4, 4) pose of the camera in the fixed frame; None: the filter works
                in the camera frame.
        """
        is_fixed = fixed_from_camera is not None
        if time_s < self._time_s or is_fixed != self._is_fixed:
            self.reset()
        self._time_s, self._is_fixed = time_s, is_fixed
        self._present = frozenset(mesh.track_id for mesh in meshes)
        if is_fixed:
            fixed_from_camera = np.asarray(fixed_from_camera, np.float64)
            check_shape('fixed_from_camera', fixed_from_camera, (4, 4))
        self._states = {
            track_id: state
            for track_id, state in self._states.items()
            if time_s - state.time_s <= self.config.max_gap_s
        }
        return [self._smooth_one(mesh, time_s, fixed_from_camera) for mesh in meshes]

    def motion(self, track_id: int) -> PersonMotion | None:
        """The velocities of a person whose mesh was smoothed in the last image.

        They come from the unsmoothed meshes, through a low-pass of two stages with the cutoff
        2 `speed_cutoff_hz`. At low frequency they are late by 1 / (2 pi speed_cutoff_hz) plus half
        the time between two images: 0.18 s with the default and 30 images per second (see
        `velocity_delay_s`). Oscillations at `speed_cutoff_hz` are reduced to 0.8 of their size.

        Without a position (`is_metric` is False) only velocities relative to the root are known.
        With `fixed_from_camera` velocities are relative to the fixed frame, otherwise to the
        camera: they then contain the camera's own motion.

        Returns:
            None if the velocity is unknown: the person is not in the last image, has no track id
            or a non-finite mesh, or is there for the first time since the filter started anew.

        Raises:
            RuntimeError: velocities are not measured.
        """
        if not self.measures_motion:
            raise RuntimeError(
                'no velocities are measured; use MeshSmoother(measures_motion=True)'
            )
        state = self._states.get(track_id)
        is_here = track_id in self._present
        if not is_here or state is None or state.velocity is None or state.time_s != self._time_s:
            return None
        return state.velocity.motion(state.is_metric, self._is_fixed)

    def _smooth_one(
        self, mesh: HumanMesh, time_s: float, fixed_from_camera: np.ndarray | None
    ) -> HumanMesh:
        body = np.ascontiguousarray(np.concatenate([mesh.vertices, mesh.joints]).T)
        body -= mesh.translation[:, None]
        # Apart from overflow, the sum is finite exactly if all numbers are. It needs no mask.
        if mesh.track_id < 0 or not math.isfinite(float(body.sum() + mesh.translation.sum())):
            return mesh
        state = self._states.get(mesh.track_id)
        root = np.asarray(mesh.translation, np.float64)
        count = len(mesh.vertices)
        velocity = None if state is None else state.velocity
        if state is None or state.body.shape != body.shape or state.is_metric != mesh.is_metric:
            velocity = None
            state = _FilterState(
                time_s, mesh.is_metric, root, np.zeros(3), body, np.zeros_like(body), None
            )
        else:
            state = self._filtered(state, root, body, time_s, fixed_from_camera)
        if self.measures_motion:
            # The mesh in the filter's frame, before it is smoothed.
            raw: tuple[np.ndarray, np.ndarray] = (
                (root, body)
                if fixed_from_camera is None
                else _transformed(root, body, mesh.is_metric, fixed_from_camera)
            )
            state.velocity = (
                VelocityState(time_s, time_s, *raw, count)
                if velocity is None
                else velocity.updated(*raw, time_s, self.config.speed_cutoff_hz)
            )
        else:
            state.velocity = None  # it would be outdated if velocities are measured again
        self._states[mesh.track_id] = (
            state if fixed_from_camera is None else _moved(state, fixed_from_camera)
        )
        translation = state.root.astype(np.float32)
        points = cv2.merge(list(state.body + translation[:, None])).reshape(-1, 3)
        return replace(
            mesh, vertices=points[:count], joints=points[count:], translation=translation
        )

    def _filtered(
        self,
        state: _FilterState,
        root: np.ndarray,
        body: np.ndarray,
        time_s: float,
        fixed_from_camera: np.ndarray | None,
    ) -> _FilterState:
        """The state after one more mesh, in the present camera frame."""
        if fixed_from_camera is not None:
            state = _moved(state, _inverse(fixed_from_camera))
        step_s = time_s - state.time_s
        if step_s <= 0:  # the same image again
            return state
        config = self.config
        keep = low_pass_weight(config.speed_cutoff_hz, step_s)
        root_speed = state.root_speed + keep * ((root - state.root) / step_s - state.root_speed)
        root_gain = low_pass_weight(
            config.min_cutoff_hz + config.beta * np.abs(root_speed), step_s
        )
        error = body - state.body
        body_speed = state.body_speed * np.float32(1 - keep)
        body_speed += error * np.float32(keep / step_s)
        speed = np.sqrt(np.einsum('iv,iv->v', body_speed, body_speed))
        speed *= np.float32(config.body_beta)
        speed += np.float32(config.min_cutoff_hz)
        error *= low_pass_weight(speed, np.float32(step_s))
        error += state.body
        return _FilterState(
            time_s,
            state.is_metric,
            state.root + root_gain * (root - state.root),
            root_speed,
            error,
            body_speed,
            state.velocity,
        )


def _transformed(
    root: np.ndarray, body: np.ndarray, is_metric: bool, other_from_this: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A root (3,) and root-relative points (3, V + J) in another frame, by a (4, 4) transform."""
    rotation, origin = other_from_this[:3, :3], other_from_this[:3, 3]
    root = rotation @ root + (origin if is_metric else 0)
    return root, rotation.astype(np.float32) @ body


def _moved(state: _FilterState, other_from_this: np.ndarray) -> _FilterState:
    """The state in another frame, by a (4, 4) rigid transform."""
    rotation = other_from_this[:3, :3]
    root, body = _transformed(state.root, state.body, state.is_metric, other_from_this)
    return replace(
        state,
        root=root,
        root_speed=rotation @ state.root_speed,
        body=body,
        body_speed=rotation.astype(np.float32) @ state.body_speed,
    )


def _inverse(transform: np.ndarray) -> np.ndarray:
    """The inverse of a rigid transform (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = transform[:3, :3].T
    inverse[:3, 3] = -transform[:3, :3].T @ transform[:3, 3]
    return inverse
