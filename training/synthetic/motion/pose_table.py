"""Poses with their actions and sources, and their npz file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        action: (N,) name of the action.
        clip: (N,) name of the motion.
        source: (N,) name of the motion's source.
        frame: (N,) index of the frame in the motion.
    """

    poses: np.ndarray
    action: np.ndarray
    clip: np.ndarray
    source: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.poses)


def concatenate(tables: Sequence[PoseTable]) -> PoseTable:
    """Concatenates tables.

    Raises:
        ValueError: two tables have the same clip of the same source.
    """
    seen: set[tuple[str, str]] = set()
    for table in tables:
        clips = set(zip(table.source.tolist(), table.clip.tolist(), strict=True))
        for source, clip in sorted(clips & seen):
            raise ValueError(
                f'the clip {clip!r} of {source!r} is in two inputs; remove one of '
                'them, or name one of the sources differently (--source)'
            )
        seen |= clips
    return PoseTable(
        **{
            name: np.concatenate([getattr(table, name) for table in tables])
            for name in PoseTable.__dataclass_fields__
        }
    )


def write_pose_table(table: PoseTable, path: str | Path) -> None:
    """Writes the npz for `RecordedPoses`, atomically.

    Texts are stored as indices, for example `action`, into a list of names, `action_names`.
    Float16 rounds angles by at most 0.06 degrees.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    arrays: dict[str, Any] = {
        'poses': table.poses.astype(np.float16),
        'frame': table.frame.astype(np.uint32),
        'joint_names': np.array(JOINT_NAMES),
    }
    for label in LABELS:
        names, numbers = np.unique(getattr(table, label), return_inverse=True)
        arrays |= {f'{label}_names': names, label: numbers.astype(np.uint32)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open('wb') as handle:
        np.savez_compressed(handle, **arrays)


def read_pose_table(path: str | Path) -> tuple[PoseTable, list[str]]:
    """Reads the poses of an npz for `RecordedPoses`, and the names of its unknown arrays.

    Missing names are replaced by the name of the file, with the index of the action.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has unexpected content.
    """
    path = Path(path)
    poses = RecordedPoses(path).poses
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name in ('frame', *LABELS):
        if name in arrays and arrays[name].shape != (len(poses),):
            raise ValueError(
                f'{path}: {name} has the shape {arrays[name].shape}, but there are '
                f'{len(poses)} poses'
            )
    action, clip, source = (_texts(arrays, label, path) for label in LABELS)
    frame = arrays.get('frame', np.arange(len(poses)))
    return PoseTable(poses, action, clip, source, frame), sorted(arrays.keys() - KNOWN)


def _texts(arrays: dict[str, np.ndarray], label: str, path: Path) -> np.ndarray:
    """Names (N,) of actions, clips or sources."""
    names = arrays.get(f'{label}_names')
    numbers = arrays.get(label, np.zeros(len(arrays['poses']), int)).astype(int)
    if names is None:
        names = np.array(
            [
                f'{path.stem} {number}' if label == 'action' else path.stem
                for number in range(numbers.max() + 1)
            ]
        )
    if names.ndim != 1 or numbers.min() < 0 or numbers.max() >= len(names):
        raise ValueError(
            f'{path}: {label} has indices up to {numbers.max()}, but {label}_names '
            f'has the shape {names.shape}'
        )
    return names.astype(str)[numbers]
