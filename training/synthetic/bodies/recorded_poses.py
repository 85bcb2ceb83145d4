"""Poses of motion capture for the renderer, from one npz file.

The file holds `poses` (N, 24, 3) axis-angle in radians, SMPL's joints on a T-pose body; joint 0
tilts the body and leaves its heading out, so that everybody faces +z. `action` (N,) says what is
done, by number: actions are drawn alike often, whatever the number of their frames, up to a limit.
Poses that nobody can take (broken recordings, limbs through the body) are left out.
"""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import numpy as np

from decomr_core.body_models.joints import MIRRORED_JOINTS, NUM_JOINTS
from training.records.rotations import MIRROR
from training.synthetic.bodies.plausible_poses import PoseCheck
from training.synthetic.bodies.poses import HANDS

__all__ = ['RecordedPoses']

logger = logging.getLogger(__name__)
HAND_SPREAD = 0.07
"""Standard deviation of the hands' angles, radians: recordings have none."""
RARE_POSES = 100
"""An action with fewer poses is drawn less often, in proportion."""


class RecordedPoses:
    """Recorded poses that are drawn at random.

    Args:
        path: of the npz file.
        check: says which poses are impossible; None takes all.

    Attributes:
        is_possible: (N,) bool, which poses are drawn.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or no pose that is possible.
    """

    def __init__(self, path: str | Path, check: PoseCheck | None = None) -> None:
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
        self.is_possible = np.ones(len(self.poses), bool)
        if check is not None:
            self._leave_out_impossible(path, check)
        counts = np.bincount(action[self.is_possible], minlength=action.max() + 1)
        shares = np.minimum(counts, RARE_POSES) / np.maximum(counts, 1)
        self.probabilities = shares[action] * self.is_possible
        self.probabilities /= self.probabilities.sum()

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, 24, 3) poses in radians, each mirrored with a probability of one half."""
        rows = rng.choice(len(self.poses), count, p=self.probabilities)
        poses = self.poses[rows].astype(float)
        is_mirrored = rng.random(count) < 0.5
        poses[is_mirrored] = poses[is_mirrored][:, list(MIRRORED_JOINTS)] * MIRROR
        poses[:, HANDS] += rng.normal(0, HAND_SPREAD, (count, len(HANDS), 3))
        return poses

    def _leave_out_impossible(self, path: str | Path, check: PoseCheck) -> None:
        beyond, through = check.beyond_limits(self.poses), check.through_itself(self.poses)
        self.is_possible = ~(beyond | through)
        logger.info('%s: %d of %d poses left out: in %d a joint is beyond its limit, in %d a limb '
                    'runs through the body', path, (~self.is_possible).sum(), len(self.poses),
                    beyond.sum(), through.sum())
        if not self.is_possible.any():
            raise ValueError(f'{path}: nobody can take any of its {len(self.poses)} poses; are '
                             "they SMPL's joints on a T-pose body, in radians? Or set "
                             'data.possible_only to false')
