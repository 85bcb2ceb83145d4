"""Runs a network on the people of a test set in batches; unreadable people are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from decomr_core.geometry.crop import CROP_SCALE, blacken_outside_box, box_in_crop, crop_pixels
from decomr_core.runtimes import Runtime
from training.evaluation.protocols import Person, Scorer
from training.records.image_files import read_labels, read_rgb
from training.records.person_boxes import box_of_joints
from training.records.person_record import PersonRecord
from training.records.person_records import PersonRecords, overlaps_image

__all__ = ['BATCH', 'PersonError', 'Scores', 'crop_person', 'score_people']

BATCH = 32
"""People per batch: limits the memory, and is large enough for a GPU."""


class PersonError(ValueError):
    """A person cannot be scored.

    Attributes:
        kind: the reason, a field of `ReadCounts`.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Scores:
    """Scores of K people.

    Attributes:
        rows: (K,) indices of the people.
        values: (K, ...) scores by name, from `Scorer.score`.
        joints: (K, 24, 3) predicted joints, root frame, m.
        errors: the errors of the skipped people.
    """

    rows: np.ndarray
    values: dict[str, np.ndarray]
    joints: np.ndarray
    errors: list[PersonError]


def crop_person(
    record: PersonRecord,
    root: Path,
    size: int,
    box_scale: float = CROP_SCALE,
    with_labels: bool = False,
    box_margin: float | None = None,
) -> Person:
    """Reads and crops one person.

    Args:
        record: the annotations.
        root: folder of the data set.
        size: S, side of the crop, px.
        box_scale: side of the crop over the person box; `CROP_SCALE` is that of the annotations.
        with_labels: whether to read the label images.
        box_margin: `NetworkConfig.box_margin` of the network. Its person box is the one around
            the annotated joints; without joints the crop shows everything.

    Raises:
        PersonError: an image cannot be read, a label image has another size, or the person's
            square is outside the image.
    """
    image = _read(read_rgb, root / record.image)
    if not overlaps_image(record.center, record.side, image.shape[1::-1]):
        raise PersonError(
            'outside_boxes', f'the square of a person is outside of {root / record.image}'
        )
    side = record.side * box_scale / CROP_SCALE
    labels = {}
    if with_labels:
        labels = {
            'mask': _read(read_labels, root / record.mask),
            'segments': _read(read_labels, root / record.part_mask),
        }
        for name, label in labels.items():
            if label.shape != image.shape[:2]:
                raise PersonError(
                    'unreadable_images',
                    f'the {name} image of {record.image} has '
                    f'shape {label.shape}, expected {image.shape[:2]}',
                )
    pixels = crop_pixels(image, record.center, side, size)
    box = None if record.keypoints_2d is None else box_of_joints(record.keypoints_2d)
    if box is not None and box_margin is not None:
        blacken_outside_box(pixels, box_in_crop(box, record.center, side), box_margin)
    return Person(record, pixels, record.center, side, labels)


def score_people(
    runtime: Runtime,
    people: PersonRecords,
    scorer: Scorer,
    box_scale: float = CROP_SCALE,
    files: str = '',
) -> Scores:
    """Runs the network on people and scores its output.

    Args:
        runtime: runs the network.
        people: the people.
        scorer: compares with the truth.
        box_scale: side of the crops over the person box.
        files: expected content of the folder, for the error.

    Raises:
        ValueError: no person could be scored.
    """
    rows: list[int] = []
    parts: list[dict[str, np.ndarray]] = []
    joints: list[np.ndarray] = []
    errors: list[PersonError] = []
    for batch_rows, batch in _batches(runtime, people, scorer, box_scale, errors):
        output = runtime.run(np.stack([person.pixels for person in batch]))
        parts.append(scorer.score(batch, output))
        rows += batch_rows
        joints.append(output.joints)
    if not rows:
        raise ValueError(
            f'none of {len(people)} people could be scored; the first: '
            f'{errors[0]}; is {people.root} the folder of the images? {files}'
        )
    return Scores(
        np.array(rows),
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        np.concatenate(joints),
        errors,
    )


def _batches(
    runtime: Runtime,
    people: PersonRecords,
    scorer: Scorer,
    box_scale: float,
    errors: list[PersonError],
) -> Iterator[tuple[list[int], list[Person]]]:
    """Yields batches of indices and crops of people; appends to `errors`."""
    rows: list[int] = []
    batch: list[Person] = []
    for row in tqdm(range(len(people)), unit='image', disable=None):
        try:
            batch.append(
                crop_person(
                    people[row],
                    people.root,
                    runtime.crop_size,
                    box_scale,
                    scorer.needs_labels,
                    runtime.box_margin,
                )
            )
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
        raise PersonError('unreadable_images', f'{path} is missing or not an image')
    return image
