"""Summarises scores of people: means, their intervals, bone lengths, and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from decomr_core.body_models import JOINT_NAMES, PARENTS
from decomr_core.measures.metrics import (
    bone_length_variation,
    bone_lengths_m,
    bootstrap_interval,
    segmentation_accuracy,
    segmentation_f1,
)

__all__ = [
    'DIGITS',
    'bones_of_people',
    'bones_of_tracks',
    'known_rows',
    'report_table',
    'scale_rows',
    'summarize',
]

Statistic = Callable[[np.ndarray], Any]
DIGITS = 4
MIN_TRACK = 5
"""Number of images of a track that the variation of bone lengths needs."""
COUNT_SCORES = {
    'foreground_counts': {
        'foreground_accuracy': segmentation_accuracy,
        'foreground_f1': segmentation_f1,
    },
    'segment_counts': {'segments_accuracy': segmentation_accuracy, 'segments_f1': segmentation_f1},
}
"""Scores over all images, computed from the pixel counts of each image."""
MAY_BE_UNKNOWN = ('uv_error',)
"""Scores that are NaN for people without comparable pixels."""
UNKNOWN = 'unknown'
"""Shown for a score that is unknown for all people."""
LEFT_OUT = ('segment_error',)
"""Scores that are not reported; they only sort the people."""


def summarize(
    values: dict[str, np.ndarray], with_intervals: bool = True
) -> tuple[dict[str, float | None], dict[str, list[float] | None]]:
    """Computes the scores over a set.

    Args:
        values: (K, ...) by name: scores of each person, or counts of pixels (`COUNT_SCORES`).
        with_intervals: whether to compute the intervals by resampling, which takes a second.

    Returns:
        The scores by name, and the ends of their 95 % intervals. People with an unknown score
        (`MAY_BE_UNKNOWN`) are excluded from it; a score that is unknown for all people is None.
    """
    scores: dict[str, float | None] = {}
    intervals: dict[str, list[float] | None] = {}
    for name, column in values.items():
        if name in LEFT_OUT:
            continue
        column = known_rows(name, column)
        statistics: Mapping[str, Statistic | None] = COUNT_SCORES.get(name, {name: None})
        for score, statistic in statistics.items():
            if not len(column):
                scores[score] = intervals[score] = None
                continue
            mean = column.mean(axis=0)
            scores[score] = round(float(mean if statistic is None else statistic(mean)), DIGITS)
            if with_intervals:
                intervals[score] = [
                    round(end, DIGITS) for end in bootstrap_interval(column, statistic=statistic)
                ]
    return scores, intervals


def known_rows(name: str, column: np.ndarray) -> np.ndarray:
    """Removes the rows of people for whom a score (K, ...) is unknown; float64.

    NaN means unknown only in scores of `MAY_BE_UNKNOWN`; elsewhere it is an error and is kept.
    """
    column = np.asarray(column, np.float64)
    return column[~np.isnan(column)] if name in MAY_BE_UNKNOWN else column


def bones_of_tracks(joints: np.ndarray, tracks: list[str]) -> dict[str, Any] | None:
    """Variation of predicted bone lengths within tracks; that of true bones is 0.

    Args:
        joints: (K, 24, 3) predicted joints, m.
        tracks: K names of tracks; empty for a still image.

    Returns:
        Means over the tracks: `mean` over the bones, and each bone by the joint at its end; None
        if no track is long enough.
    """
    lengths = bone_lengths_m(torch.as_tensor(joints), PARENTS)
    rows: dict[str, list[int]] = {}
    for row, track in enumerate(tracks):
        if track:
            rows.setdefault(track, []).append(row)
    long_enough = [members for members in rows.values() if len(members) >= MIN_TRACK]
    if not long_enough:
        return None
    variation = torch.stack([bone_length_variation(lengths[members]) for members in long_enough])
    return _bones(variation.mean(dim=0).numpy(), tracks=len(long_enough))


def bones_of_people(joints: np.ndarray, true_joints: np.ndarray) -> dict[str, Any] | None:
    """Variation of the ratio of predicted to true bone lengths over people.

    Args:
        joints: (K, 24, 3) predicted joints, m.
        true_joints: (K, 24, 3) true joints, m.

    Returns:
        See `bones_of_tracks`; None for fewer than two people.
    """
    if len(joints) < 2:
        return None
    pred, gt = (
        bone_lengths_m(torch.as_tensor(points), PARENTS) for points in (joints, true_joints)
    )
    return _bones(bone_length_variation(pred / gt).numpy(), people=len(joints))


def report_table(report: dict[str, Any]) -> str:
    """Formats a report for a terminal: scores with intervals, then the other measurements."""
    lines = [
        f'{report["images"]} images of {report["dataset"]}, weights {report["weights"]}, '
        f'{report["runtime"]}'
    ]
    constants = report.get('best_constant', {})
    for name, score in report['network'].items():
        if score is None:
            lines.append(f'{name:28s}{UNKNOWN:>10s}')
            continue
        low, high = report['intervals'][name]
        constant = f'   best constant {constants[name]:9.2f}' if name in constants else ''
        lines.append(f'{name:28s}{score:10.3f}   95 % {low:.3f} to {high:.3f}{constant}')
    if report.get('left_out'):
        lines.append(
            'left out: '
            + ', '.join(
                f'{number} {kind.replace("_", " ")}' for kind, number in report['left_out'].items()
            )
        )
    if report.get('counts'):
        lines.append(
            ', '.join(
                f'{number} {name.replace("_", " ")}' for name, number in report['counts'].items()
            )
        )
    bones = report.get('bone_length_variation')
    if bones:
        lines.append(f'{"bone length variation":28s}{bones["mean"]:10.3f}   over the mean length')
    lines += [f'{name}: {text}' for name, text in report.get('notes', {}).items()]
    if report.get('box_scales'):
        names = [name for name in report['box_scales'][0] if name != 'box_scale']
        lines.append('side of the crop over the box' + ''.join(f'{name:>28s}' for name in names))
        lines += [
            f'{row["box_scale"]:29.1f}'
            + ''.join(
                f'{UNKNOWN if row[name] is None else format(row[name], ".3f"):>28s}'
                for name in names
            )
            for row in report['box_scales']
        ]
    return '\n'.join(lines)


def scale_rows(
    scales: tuple[float, ...], measure: Callable[[float], Mapping[str, float | None]]
) -> list[dict[str, float | None]]:
    """A row for each box scale: the scale and its scores from `measure`."""
    return [{'box_scale': scale, **measure(scale)} for scale in scales]


def _bones(variation: np.ndarray, **counts: int) -> dict[str, Any]:
    names = [name for name, parent in zip(JOINT_NAMES, PARENTS, strict=True) if parent >= 0]
    return {
        'mean': round(float(variation.mean()), DIGITS),
        **counts,
        'bones': {
            name: round(float(value), DIGITS) for name, value in zip(names, variation, strict=True)
        },
    }
