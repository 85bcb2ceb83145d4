"""Poses of motion capture for the renderer, from one npz file.

The file holds `poses` (N, 24, 3) axis-angle in radians, SMPL's joints on a T-pose body; joint 0
tilts the body and leaves its heading out, so that everybody faces +z. `action` (N,) says what is
done, by number: actions are drawn alike often, whatever the number of their frames, up to a limit.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from decomr_core.body_models.joints import MIRRORED_JOINTS, NUM_JOINTS
from training.datasets.poses import HANDS, MIRROR

__all__ = ['RecordedPoses']

HAND_SPREAD = 0.07
"""Standard deviation of the hands' angles, radians: recordings have none."""
RARE_POSES = 100
"""An action with fewer poses is drawn less often, in proportion."""


class RecordedPoses:
    """Recorded poses that are drawn at random.

    Args:
        path: of the npz file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f'no poses at {path}; set data.poses_file to an npz with '
                                    f'poses (N, {NUM_JOINTS}, 3), or leave it empty')
        try:
            with np.load(path) as archive:
                self.poses = np.asarray(archive['poses'], np.float32)
                action = np.asarray(archive['action'], np.int64)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f'{path} holds no poses: {error}') from error
        if (self.poses.ndim != 3 or self.poses.shape[1:] != (NUM_JOINTS, 3) or not len(self.poses)
                or action.shape != (len(self.poses),) or action.min() < 0):
            raise ValueError(f'{path}: poses are {self.poses.shape} and actions {action.shape}; '
                             f'expected (N, {NUM_JOINTS}, 3) and (N,) numbers from 0')
        if not np.isfinite(self.poses).all():
            raise ValueError(f'{path}: some poses are not finite')
        counts = np.bincount(action)
        shares = np.minimum(counts, RARE_POSES) / np.maximum(counts, 1)
        self.probabilities = shares[action] / shares[action].sum()

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, 24, 3) poses in radians, each mirrored with a probability of one half."""
        rows = rng.choice(len(self.poses), count, p=self.probabilities)
        poses = self.poses[rows].astype(float)
        is_mirrored = rng.random(count) < 0.5
        poses[is_mirrored] = poses[is_mirrored][:, list(MIRRORED_JOINTS)] * MIRROR
        poses[:, HANDS] += rng.normal(0, HAND_SPREAD, (count, len(HANDS), 3))
        return poses
