"""Poses with what is done in them and where they come from, and the npz of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decomr_core.base.files import replacing
from decomr_core.body_models.joints import JOINT_NAMES
from training.synthetic.bodies.recorded_poses import RecordedPoses

__all__ = ['PoseTable', 'concatenate', 'read_pose_table', 'write_pose_table']

LABELS = ('action', 'clip', 'source')
KNOWN = {'poses', 'frame', 'joint_names', *LABELS, *(f'{label}_names' for label in LABELS)}


@dataclass(frozen=True)
class PoseTable:
    """N poses.

    Attributes:
        poses: (N, 24, 3) axis-angle, radians.
        action: (N,) what is done.
        clip: (N,) name of the motion.
        source: (N,) where the motion comes from.
        frame: (N,) number of the frame in the motion, from 0.
    """

    poses: np.ndarray
    action: np.ndarray
    clip: np.ndarray
    source: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.poses)


def concatenate(tables: Sequence[PoseTable]) -> PoseTable:
    """One table of many.

    Raises:
        ValueError: two of them hold the same clip of the same source.
    """
    seen = set()
    for table in tables:
        clips = set(zip(table.source.tolist(), table.clip.tolist(), strict=True))
        for source, clip in sorted(clips & seen):
            raise ValueError(f'the clip {clip!r} of {source!r} is there twice; leave one of the '
                             'two out, or give one of the sources another name (--source)')
        seen |= clips
    return PoseTable(*(np.concatenate([getattr(table, name) for table in tables])
                       for name in PoseTable.__dataclass_fields__))


def write_pose_table(table: PoseTable, path: str | Path) -> None:
    """Writes the npz that `RecordedPoses` reads; whole or not at all.

    Each text is a number, `action`, into a list of names, `action_names`. Float16 rounds angles by
    0.06 degrees at most.

    Raises:
        OSError: it cannot be written there.
    """
    path = Path(path)
    arrays = {'poses': table.poses.astype(np.float16), 'frame': table.frame.astype(np.uint32),
              'joint_names': np.array(JOINT_NAMES)}
    for label in LABELS:
        names, numbers = np.unique(getattr(table, label), return_inverse=True)
        arrays |= {f'{label}_names': names, label: numbers.astype(np.uint32)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open('wb') as handle:
        np.savez_compressed(handle, **arrays)


def read_pose_table(path: str | Path) -> tuple[PoseTable, list[str]]:
    """The poses of an npz that `RecordedPoses` reads, and the arrays in it that are not used.

    Names that are missing become the file's name, with the number of the action.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    path = Path(path)
    poses = RecordedPoses(path).poses
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name in ('frame', *LABELS):
        if name in arrays and arrays[name].shape != (len(poses),):
            raise ValueError(f'{path}: {name} is {arrays[name].shape} and there are '
                             f'{len(poses)} poses')
    texts = [_texts(arrays, label, path) for label in LABELS]
    frame = arrays.get('frame', np.arange(len(poses)))
    return PoseTable(poses, *texts, frame), sorted(arrays.keys() - KNOWN)


def _texts(arrays: dict[str, np.ndarray], label: str, path: Path) -> np.ndarray:
    """(N,) names of actions, clips or sources."""
    names = arrays.get(f'{label}_names')
    numbers = arrays.get(label, np.zeros(len(arrays['poses']), int)).astype(int)
    if names is None:
        names = np.array([f'{path.stem} {number}' if label == 'action' else path.stem
                          for number in range(numbers.max() + 1)])
    if names.ndim != 1 or numbers.min() < 0 or numbers.max() >= len(names):
        raise ValueError(f'{path}: {label} has numbers up to {numbers.max()} and {label}_names is '
                         f'{names.shape}')
    return names.astype(str)[numbers]
