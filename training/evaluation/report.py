"""From scores per person to what is reported: means, their intervals, bone lengths, a table."""

from __future__ import annotations

from collections.abc import Callable
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

__all__ = ['DIGITS', 'bones_of_people', 'bones_of_tracks', 'known_rows', 'report_table',
           'scale_rows', 'summarize']

DIGITS = 4
MIN_TRACK = 5
"""Images of a track from which a variation of bone lengths is taken."""
COUNT_SCORES = {
    'foreground_counts': {'foreground_accuracy': segmentation_accuracy,
                          'foreground_f1': segmentation_f1},
    'segment_counts': {'segments_accuracy': segmentation_accuracy,
                       'segments_f1': segmentation_f1},
}
"""Scores of all images together, from counts of pixels per image."""
MAY_BE_UNKNOWN = ('uv_error',)
"""Scores that are NaN for people of whom nothing could be compared."""
UNKNOWN = 'unknown'
"""What a report shows for a score that is known of nobody."""
LEFT_OUT = ('segment_error',)
"""Scores that only order the people."""


def summarize(values: dict[str, np.ndarray], with_intervals: bool = True,
              ) -> tuple[dict[str, float | None], dict[str, list[float] | None]]:
    """Scores over a set.

    Args:
        values: (K, ...) by name: scores per person, or counts of pixels (`COUNT_SCORES`).
        with_intervals: whether to resample, which takes a second.

    Returns:
        The scores by name, and for each the ends of its 95 % interval. People of whom a score is
        not known (`MAY_BE_UNKNOWN`) are left out; None where it is known of nobody.
    """
    scores, intervals = {}, {}
    for name, column in values.items():
        if name in LEFT_OUT:
            continue
        column = known_rows(name, column)
        for score, statistic in COUNT_SCORES.get(name, {name: None}).items():
            if not len(column):
                scores[score] = intervals[score] = None
                continue
            mean = column.mean(axis=0)
            scores[score] = round(float(mean if statistic is None else statistic(mean)), DIGITS)
            if with_intervals:
                intervals[score] = [round(end, DIGITS) for end in
                                    bootstrap_interval(column, statistic=statistic)]
    return scores, intervals


def known_rows(name: str, column: np.ndarray) -> np.ndarray:
    """The rows of a score (K, ...), float64, less those of people of whom it is not known.

    NaN means so in scores of `MAY_BE_UNKNOWN` alone; elsewhere it is a fault, and stays.
    """
    column = np.asarray(column, np.float64)
    return column[~np.isnan(column)] if name in MAY_BE_UNKNOWN else column


def bones_of_tracks(joints: np.ndarray, tracks: list[str]) -> dict[str, Any] | None:
    """How much predicted bones change their length within a track, which true bones do not.

    Args:
        joints: (K, 24, 3) predicted joints, m.
        tracks: K names; empty for a still.

    Returns:
        Mean over the tracks: `mean` over the bones and each bone by the joint at its end; None
        where no track is long enough.
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
    """How much predicted bones change their length from person to person, over the true length.

    Args:
        joints: (K, 24, 3) predicted joints, m.
        true_joints: (K, 24, 3) m.

    Returns:
        As `bones_of_tracks`; None for fewer than two people.
    """
    if len(joints) < 2:
        return None
    pred, gt = (bone_lengths_m(torch.as_tensor(points), PARENTS)
                for points in (joints, true_joints))
    return _bones(bone_length_variation(pred / gt).numpy(), people=len(joints))


def report_table(report: dict[str, Any]) -> str:
    """A report for a terminal: scores with their intervals, then the other measurements."""
    lines = [f'{report["images"]} images of {report["dataset"]}, weights {report["weights"]}, '
             f'{report["runtime"]}']
    beside = report.get('best_constant', {})
    for name, score in report['network'].items():
        if score is None:
            lines.append(f'{name:28s}{UNKNOWN:>10s}')
            continue
        low, high = report['intervals'][name]
        constant = f'   best constant {beside[name]:9.2f}' if name in beside else ''
        lines.append(f'{name:28s}{score:10.3f}   95 % {low:.3f} to {high:.3f}{constant}')
    if report.get('left_out'):
        lines.append('left out: ' + ', '.join(f'{number} {kind.replace("_", " ")}' for kind, number
                                              in report['left_out'].items()))
    if report.get('counts'):
        lines.append(', '.join(f'{number} {name.replace("_", " ")}'
                               for name, number in report['counts'].items()))
    bones = report.get('bone_length_variation')
    if bones:
        lines.append(f'{"bone length variation":28s}{bones["mean"]:10.3f}   over the mean length')
    lines += [f'{name}: {text}' for name, text in report.get('notes', {}).items()]
    if report.get('box_scales'):
        names = [name for name in report['box_scales'][0] if name != 'box_scale']
        lines.append('side of the crop over the box' + ''.join(f'{name:>28s}' for name in names))
        lines += [f'{row["box_scale"]:29.1f}' + ''.join(
            f'{UNKNOWN if row[name] is None else format(row[name], ".3f"):>28s}' for name in names)
            for row in report['box_scales']]
    return '\n'.join(lines)


def scale_rows(scales: tuple[float, ...],
               measure: Callable[[float], dict[str, float]]) -> list[dict[str, float]]:
    """A row for each box scale: the scale and the scores that `measure` gives for it."""
    return [{'box_scale': scale, **measure(scale)} for scale in scales]


def _bones(variation: np.ndarray, **counts: int) -> dict[str, Any]:
    names = [name for name, parent in zip(JOINT_NAMES, PARENTS, strict=True) if parent >= 0]
    return {'mean': round(float(variation.mean()), DIGITS), **counts,
            'bones': {name: round(float(value), DIGITS)
                      for name, value in zip(names, variation, strict=True)}}
