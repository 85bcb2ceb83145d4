"""People of a test set through a network, in batches; what cannot be read is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from decomr_core.geometry.crop import CROP_SCALE, crop_pixels
from decomr_core.runtimes import Runtime
from training.evaluation.protocols import Person, Scorer
from training.records.image_files import read_labels, read_rgb
from training.records.person_record import PersonRecord
from training.records.person_records import PersonRecords, touch_picture

__all__ = ['BATCH', 'PersonError', 'Scores', 'crop_person', 'score_people']

BATCH = 32
"""People at once: bounds the memory, large enough for a GPU."""


class PersonError(ValueError):
    """Somebody cannot be measured.

    Attributes:
        kind: why: the name of a count in `ReadCounts`.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Scores:
    """What was measured on K people.

    Attributes:
        rows: (K,) their numbers among the people.
        values: (K, ...) scores by name, as `Scorer.score` gives them.
        joints: (K, 24, 3) predicted joints, root frame, m.
        errors: why each of the others was left out.
    """

    rows: np.ndarray
    values: dict[str, np.ndarray]
    joints: np.ndarray
    errors: list[PersonError]


def crop_person(record: PersonRecord, root: Path, size: int, box_scale: float = CROP_SCALE,
                with_labels: bool = False) -> Person:
    """Reads one person.

    Args:
        record: what the data set says.
        root: folder of the data set.
        size: S, px.
        box_scale: side of the crop over the person box; the annotations frame by `CROP_SCALE`.
        with_labels: whether to read the label pictures.

    Raises:
        PersonError: a picture cannot be read, a label picture has another size, or the person's
            square lies outside the image.
    """
    image = _read(read_rgb, root / record.image)
    if not touch_picture(record.center, record.side, image.shape[1::-1]):
        raise PersonError('outside_boxes', f'the square of a person lies outside of '
                                           f'{root / record.image}')
    side = record.side * box_scale / CROP_SCALE
    labels = {}
    if with_labels:
        labels = {'mask': _read(read_labels, root / record.mask),
                  'segments': _read(read_labels, root / record.part_mask)}
        for name, label in labels.items():
            if label.shape != image.shape[:2]:
                raise PersonError('unreadable_images', f'the {name} picture of {record.image} has '
                                  f'shape {label.shape}, the image {image.shape[:2]}')
    return Person(record, crop_pixels(image, record.center, side, size), record.center, side,
                  labels)


def score_people(runtime: Runtime, people: PersonRecords, scorer: Scorer,
                 box_scale: float = CROP_SCALE, files: str = '') -> Scores:
    """Runs the network on people and compares.

    Args:
        runtime: the network.
        people: who.
        scorer: knows the truth.
        box_scale: side of the crops over the person box.
        files: what the folder must hold, for the error.

    Raises:
        ValueError: nobody could be measured.
    """
    rows, parts, joints, errors = [], [], [], []
    for batch_rows, batch in _batches(runtime.crop_size, people, scorer, box_scale, errors):
        output = runtime.run(np.stack([person.pixels for person in batch]))
        parts.append(scorer.score(batch, output))
        rows += batch_rows
        joints.append(output.joints)
    if not rows:
        raise ValueError(f'none of {len(people)} people could be measured, the first: '
                         f'{errors[0]}; is {people.root} the folder of the images? {files}')
    return Scores(np.array(rows),
                  {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
                  np.concatenate(joints), errors)


def _batches(size: int, people: PersonRecords, scorer: Scorer, box_scale: float,
             errors: list[PersonError]) -> Iterator[tuple[list[int], list[Person]]]:
    """Numbers and crops of people; adds to the errors."""
    rows: list[int] = []
    batch: list[Person] = []
    for row in tqdm(range(len(people)), unit='image', disable=None):
        try:
            batch.append(crop_person(people[row], people.root, size, box_scale,
                                     scorer.needs_labels))
            rows.append(row)
        except PersonError as error:
            errors.append(error)
        if len(batch) == BATCH:
            yield rows, batch
            rows, batch = [], []
    if batch:
        yield rows, batch


def _read(read: Callable[[Path], np.ndarray | None], path: Path) -> np.ndarray:
    image = read(path)
    if image is None:
        raise PersonError('unreadable_images', f'{path} is missing or no picture')
    return image
