"""Poses from motion capture for the renderer, from one npz file.

The file contains `poses` (N, 24, 3), axis-angle in radians, SMPL's joints on a T-pose body. Joint
0 tilts the body without its heading, so that all people face +z. `action` (N,) is the index of the
action. Actions are sampled with equal probability, whatever the number of their frames, except
rare ones, which are sampled less often. Impossible poses (faulty recordings, self-intersections)
are excluded.
"""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import numpy as np

from decomr_core.body_models.joints import HANDS, MIRRORED_JOINTS, NUM_JOINTS
from training.records.rotations import MIRROR
from training.synthetic.bodies.plausible_poses import PoseCheck

__all__ = ['RecordedPoses']

logger = logging.getLogger(__name__)
HAND_SPREAD = 0.07
"""Standard deviation of the hands' angles, radians; recordings have no hands."""
RARE_POSES = 100
"""Actions with fewer poses are sampled proportionally less often."""


class RecordedPoses:
    """Samples recorded poses.

    Args:
        path: the npz file.
        check: detects impossible poses; None uses all poses.

    Attributes:
        is_possible: (N,) bool, which poses are used.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has unexpected content, or no possible pose.
    """

    def __init__(self, path: str | Path, check: PoseCheck | None = None) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f'there is no file of poses {path}; set data.poses_file to '
                f'an npz with poses (N, {NUM_JOINTS}, 3), or leave it empty'
            )
        try:
            with np.load(path) as archive:
                self.poses = np.asarray(archive['poses'], np.float32)
                action = np.asarray(archive['action'], np.int64)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f'{path} has no poses and actions: {error}; make the file again: '
                'python -m training.preprocess motion'
            ) from error
        if (
            self.poses.ndim != 3
            or self.poses.shape[1:] != (NUM_JOINTS, 3)
            or not len(self.poses)
            or action.shape != (len(self.poses),)
            or action.min() < 0
        ):
            raise ValueError(
                f'{path}: poses are {self.poses.shape} and actions {action.shape}; '
                f'expected (N, {NUM_JOINTS}, 3) and (N,) numbers from 0'
            )
        if not np.isfinite(self.poses).all():
            raise ValueError(f'{path}: some poses are not finite')
        self.is_possible = np.ones(len(self.poses), bool)
        if check is not None:
            self._exclude_impossible(path, check)
        counts = np.bincount(action[self.is_possible], minlength=action.max() + 1)
        shares = np.minimum(counts, RARE_POSES) / np.maximum(counts, 1)
        self.probabilities = shares[action] * self.is_possible
        self.probabilities /= self.probabilities.sum()

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Samples poses (count, 24, 3) in radians, each mirrored with probability 1/2."""
        rows = rng.choice(len(self.poses), count, p=self.probabilities)
        poses = self.poses[rows].astype(float)
        is_mirrored = rng.random(count) < 0.5
        poses[is_mirrored] = poses[is_mirrored][:, list(MIRRORED_JOINTS)] * MIRROR
        poses[:, HANDS] += rng.normal(0, HAND_SPREAD, (count, len(HANDS), 3))
        return poses

    def _exclude_impossible(self, path: str | Path, check: PoseCheck) -> None:
        beyond, through = check.beyond_limits(self.poses), check.through_itself(self.poses)
        self.is_possible = ~(beyond | through)
        logger.info(
            '%s: excluded %d of %d poses: %d exceed a joint limit, %d intersect themselves',
            path,
            (~self.is_possible).sum(),
            len(self.poses),
            beyond.sum(),
            through.sum(),
        )
        if not self.is_possible.any():
            raise ValueError(
                f'{path}: all {len(self.poses)} poses are impossible; are they '
                "SMPL's joints on a T-pose body, in radians? If so, set "
                'data.possible_only to false'
            )
