"""Whether a person can take a pose: joints within their limits, no limb through the body.

Bodies touch themselves all the time and soft ones give way; only what goes deep into something
else counts. The check takes a body of mean shape, as capsules (`body_capsules.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from decomr_core.body_models import BodyModel
from training.synthetic.bodies.body_capsules import SIDES, BodyCapsules, segment_distances
from training.synthetic.bodies.joint_limits import joint_excess

__all__ = ['MOST_TRIES', 'PoseCheck', 'PoseCounts', 'draw_plausible']

MOST_TRIES = 20
"""So often an impossible pose is drawn again; then the last one is taken as it is."""
CHUNK = 256
"""So many poses are looked at together: their arrays stay in a processor's caches."""
TORSO = ('hips', 'belly', 'waist', 'chest', 'shoulders')
LEGS = ('own_thigh', 'other_thigh', 'own_shin', 'other_shin')
DEEPEST_M = {
    'hand': {**dict.fromkeys((*TORSO, 'neck'), .06), 'head': .05, **dict.fromkeys(LEGS, .055),
             'own_foot': .05, 'other_foot': .05, 'other_upper_arm': .06, 'other_forearm': .05,
             'other_hand': .06},
    'forearm': {**dict.fromkeys(TORSO, .06), 'neck': .05, 'head': .05,
                **dict.fromkeys(LEGS, .055), 'other_upper_arm': .05, 'other_forearm': .045},
    # The armpit is at the chest's side whatever an arm does.
    'upper_arm': {'hips': .06, 'belly': .06, 'waist': .065, 'chest': .11, 'head': .05,
                  'own_thigh': .07, 'other_thigh': .07, 'other_upper_arm': .05},
    # A squatting person's belly gives way.
    'thigh': {'waist': .09, 'chest': .09, 'shoulders': .08, 'head': .05, 'other_thigh': .05,
              'other_shin': .05, 'other_foot': .045},
    'shin': {**dict.fromkeys(TORSO, .06), 'head': .05, 'other_shin': .045, 'other_foot': .045},
    'foot': {**dict.fromkeys(TORSO, .07), 'head': .05, 'own_thigh': .06, 'other_foot': .04},
}
"""How deep a limb of one side may be in what, metres; `own` is of the same side, `other` of the
other one. Radii are 3 to 5 cm for limbs, 7 for thighs, 10 to 12 for the trunk: a limb's axis may
lie 2 to 3 cm below the skin. Of 17,000 recorded poses 99 in 100 stay well below."""


class PoseCheck:
    """Says which poses a body can take.

    Args:
        body: a body model; its mean shape is measured.
    """

    def __init__(self, body: BodyModel) -> None:
        self.capsules = BodyCapsules.from_body(body)
        names = self.capsules.names
        deepest = {}
        for own, other in (SIDES, SIDES[::-1]):
            for limb, meets in DEEPEST_M.items():
                for met, depth in meets.items():
                    met = met.replace('own_', f'{own}_').replace('other_', f'{other}_')
                    pair = tuple(sorted((names.index(f'{own}_{limb}'), names.index(met))))
                    deepest[pair] = depth
        self.pairs = np.array(list(deepest))
        first, second = self.pairs.T
        radius = self.capsules.radius
        self._nearest = radius[first] + radius[second] - np.array(list(deepest.values()))

    def impossible(self, poses: np.ndarray) -> np.ndarray:
        """(N,) bool: which poses (N, 24, 3), axis-angle in radians, nobody can take."""
        return self.beyond_limits(poses) | self.through_itself(poses)

    def beyond_limits(self, poses: np.ndarray) -> np.ndarray:
        """(N,) bool: where a joint is beyond its limit."""
        return _in_chunks(lambda some: (joint_excess(some) > 0).any(axis=(1, 2)), poses)

    def through_itself(self, poses: np.ndarray) -> np.ndarray:
        """(N,) bool: where a limb runs through the body."""
        return _in_chunks(lambda some: (self.too_near(some) > 0).any(axis=1), poses)

    def too_near(self, poses: np.ndarray) -> np.ndarray:
        """(N, P) metres by which each pair of capsules is deeper than allowed; below 0: fine."""
        starts, ends = self.capsules.pose(poses)
        first, second = self.pairs.T
        return self._nearest - segment_distances((starts[:, first], starts[:, second]),
                                                 (ends[:, first], ends[:, second]))


@dataclass
class PoseCounts:
    """What became of drawn poses.

    Attributes:
        drawn: how many there were, those of the further tries included.
        rejected: how many of them nobody can take.
        kept: how many of those were taken all the same, since the tries were over.
    """

    drawn: int = 0
    rejected: int = 0
    kept: int = 0

    def __str__(self) -> str:
        return (f'{self.rejected} of {self.drawn} poses by rule drawn again '
                f'({self.rejected / max(self.drawn, 1):.1%})'
                + (f', {self.kept} impossible ones kept' if self.kept else ''))


Draw = Callable[[np.random.Generator, int, 'np.ndarray | None'], tuple[np.ndarray, np.ndarray]]
"""Poses (B, 24, 3) and kinds (B,) from a generator, a count, and the kinds if they are given."""


def draw_plausible(rng: np.random.Generator, draw: Draw, count: int, check: PoseCheck,
                   counts: PoseCounts | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draws poses, and those that nobody can take again, of the same kind.

    Args:
        rng: the source of chance; the same gives the same poses.
        draw: `sample_poses` or another one like it.
        count: how many, B.
        check: says which are impossible.
        counts: gets what is counted added, where it is given.

    Returns:
        pose (B, 24, 3) radians and kind (B,).
    """
    counts = PoseCounts() if counts is None else counts
    pose, kind = draw(rng, count, None)
    again = np.arange(count)
    for tries in range(MOST_TRIES + 1):
        counts.drawn += len(again)
        again = again[check.impossible(pose[again])]
        counts.rejected += len(again)
        if not len(again) or tries == MOST_TRIES:
            break
        pose[again] = draw(rng, len(again), kind[again])[0]
    counts.kept += len(again)
    return pose, kind


def _in_chunks(ask: Callable[[np.ndarray], np.ndarray], poses: np.ndarray) -> np.ndarray:
    """What is asked about poses (N, 24, 3), chunk by chunk: (N,) bool."""
    answers = [ask(poses[first:first + CHUNK]) for first in range(0, len(poses), CHUNK)]
    return np.concatenate(answers) if answers else np.zeros(0, bool)
