"""People of a test set through a network, in batches; what cannot be read is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from decomr_core.crop import CROP_SCALE, crop_pixels
from decomr_core.runtimes import Runtime
from training.evaluation_sets import EvaluationRecord, read_label_image, read_picture
from training.protocols import Person, Scorer

__all__ = ['BATCH', 'Scores', 'crop_person', 'score_records']

BATCH = 32
"""People at once: bounds the memory, large enough for a GPU."""


@dataclass(frozen=True)
class Scores:
    """What was measured on K people.

    Attributes:
        rows: (K,) numbers of their records.
        values: (K, ...) scores by name, as `Scorer.score` gives them.
        joints: (K, 24, 3) predicted joints, root frame, m.
        unreadable: why each record that was left out could not be read.
    """

    rows: np.ndarray
    values: dict[str, np.ndarray]
    joints: np.ndarray
    unreadable: list[str]


def crop_person(record: EvaluationRecord, size: int, box_scale: float = CROP_SCALE,
                with_labels: bool = False) -> Person:
    """Reads one person.

    Args:
        record: what the data set says.
        size: S, px.
        box_scale: side of the crop over the person box; the annotations frame by `CROP_SCALE`.
        with_labels: whether to read the label pictures.

    Raises:
        ValueError: a picture cannot be read, or a label picture has another size.
    """
    image = read_picture(record)
    side = record.side * box_scale / CROP_SCALE
    labels = {}
    if with_labels:
        labels = {'mask': read_label_image(record.mask),
                  'segments': read_label_image(record.segments)}
        for name, label in labels.items():
            if label.shape != image.shape[:2]:
                raise ValueError(f'the {name} picture of {record.image} has shape {label.shape}, '
                                 f'the image {image.shape[:2]}')
    return Person(record, crop_pixels(image, record.center, side, size), record.center, side,
                  labels)


def score_records(runtime: Runtime, records: Sequence[EvaluationRecord], scorer: Scorer,
                  box_scale: float = CROP_SCALE) -> Scores:
    """Runs the network on people and compares.

    Args:
        runtime: the network.
        records: the people.
        scorer: knows the truth.
        box_scale: side of the crops over the person box.

    Raises:
        ValueError: nobody could be read.
    """
    rows, parts, joints, unreadable = [], [], [], []
    for batch_rows, people in _batches(runtime.crop_size, records, scorer, box_scale, unreadable):
        output = runtime.run(np.stack([person.pixels for person in people]))
        parts.append(scorer.score(people, output))
        rows += batch_rows
        joints.append(output.joints)
    if not rows:
        raise ValueError(f'none of {len(records)} images could be read, the first: '
                         f'{unreadable[0]}; are the images in this folder?')
    return Scores(np.array(rows),
                  {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
                  np.concatenate(joints), unreadable)


def _batches(size: int, records: Sequence[EvaluationRecord], scorer: Scorer, box_scale: float,
             unreadable: list[str]) -> Iterator[tuple[list[int], list[Person]]]:
    """Numbers and crops of people; adds to `unreadable`."""
    rows: list[int] = []
    people: list[Person] = []
    for row, record in enumerate(tqdm(records, unit='image', disable=None)):
        try:
            people.append(crop_person(record, size, box_scale, scorer.needs_labels))
            rows.append(row)
        except ValueError as error:
            unreadable.append(str(error))
        if len(people) == BATCH:
            yield rows, people
            rows, people = [], []
    if people:
        yield rows, people
