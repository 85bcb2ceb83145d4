"""The published test sets and their people.

The people are read by `datasets/` from an npz in the exchange format, written by the preprocessing
of GraphCMR, SPIN or DecoMR, or by `python -m training.preprocess`. People without the truth that
the set's protocol needs are removed and counted.
"""

from __future__ import annotations

import logging
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from decomr_core.body_models.joint_sets import EVALUATED_FROM_ANNOTATED, EVALUATED_JOINTS, NUM_LSP
from training.datasets.registry import load_people, public_dataset
from training.records.person_record import GENDERS, PersonRecord
from training.records.person_records import PersonRecords

__all__ = [
    'EVALUATION_SETS',
    'EvaluationSet',
    'annotation_file',
    'evaluation_people',
    'expected_files',
    'track_of',
]

logger = logging.getLogger(__name__)
OTHER_CAMERAS = re.compile(r'_ca_0[123](?!\d)|\.(54138969|55011271|58860488)[_.]')
"""Matches the names of Human3.6M's images from the three cameras other than the frontal one."""


@dataclass(frozen=True)
class EvaluationSet:
    """A published test set.

    Attributes:
        dataset: the data set, a name of `PUBLIC_DATASETS`.
        split: the split of the data set.
        annotations: possible names of its npz; the first existing one is read.
        truth: kind of the truth: `joints`, `mesh` or `labels`.
        num_joints: number of `EVALUATED_JOINTS` that must be annotated.
        genders: genders of the true bodies; a single gender applies to all people.
        is_video: whether the images form sequences.
        is_frontal: whether only Human3.6M's frontal camera is used.
        more: files that are needed in addition to the data set's original files.
    """

    dataset: str
    split: str
    annotations: tuple[str, ...]
    truth: str
    num_joints: int = NUM_LSP
    genders: tuple[str, ...] = ()
    is_video: bool = False
    is_frontal: bool = False
    more: str = ''


EVALUATION_SETS = {
    'h36m-p1': EvaluationSet('h36m', 'p1', ('h36m_valid_protocol1.npz',), 'joints', is_video=True),
    'h36m-p2': EvaluationSet(
        'h36m', 'p2', ('h36m_valid_protocol2.npz',), 'joints', is_video=True, is_frontal=True
    ),
    '3dpw': EvaluationSet(
        'pw3d', 'test', ('3dpw_test.npz',), 'mesh', genders=('male', 'female'), is_video=True
    ),
    'mpi-inf-3dhp': EvaluationSet(
        'mpi_inf_3dhp',
        'test',
        ('mpi_inf_3dhp_valid.npz', 'mpi_inf_3dhp_test.npz'),
        'joints',
        num_joints=len(EVALUATED_JOINTS),
        is_video=True,
    ),
    'surreal': EvaluationSet(
        'surreal', 'val', ('surreal_val.npz',), 'mesh', genders=('male', 'female')
    ),
    'up-3d': EvaluationSet(
        'up3d', 'lsp_test', ('up_3d_lsp_test.npz', 'up_3d_test.npz'), 'mesh', genders=('neutral',)
    ),
    'lsp': EvaluationSet(
        'lsp',
        'test',
        ('lsp_dataset_test.npz',),
        'labels',
        more='data/lsp/im1001_segmentation.png and im1001_part_segmentation.png ... of UPi-S1h '
        '(http://files.is.tuebingen.mpg.de/classner/up/)',
    ),
}


def evaluation_people(
    name: str, root: str | Path, annotations: str | Path | None = None
) -> PersonRecords:
    """Reads the people of a test set that can be scored, in the order of its file.

    The images are not checked here.

    Args:
        name: a key of `EVALUATION_SETS`.
        root: folder to which the image paths are relative.
        annotations: the npz; None for the published name in the root.

    Returns:
        the people; `counts` has the numbers of removed people.

    Raises:
        FileNotFoundError: there is no npz.
        ValueError: the npz has unexpected content, or no person can be scored.
    """
    path, test_set = annotation_file(name, root, annotations), EVALUATION_SETS[name]
    people = load_people(test_set.dataset, root, path, check_images=False)
    if test_set.is_frontal:
        people = _frontal(people, path)
    if len(test_set.genders) == 1:
        gender = GENDERS.index(test_set.genders[0])
        people = replace(
            people,
            genders=np.full(len(people), gender, np.int8),
            counts=replace(people.counts, unknown_genders=0),
        )
    return _with_truth(people, name, path)


def annotation_file(name: str, root: str | Path, annotations: str | Path | None = None) -> Path:
    """Finds the npz of a test set.

    Args:
        name: a key of `EVALUATION_SETS`.
        root: its folder.
        annotations: another file; None for the published name in the root.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no such test set.
    """
    if name not in EVALUATION_SETS:
        raise ValueError(f'data set is {name!r}, expected one of: {", ".join(EVALUATION_SETS)}')
    test_set, root = EVALUATION_SETS[name], Path(root)
    names = test_set.annotations if annotations is None else (Path(annotations).resolve(),)
    for file in names:
        if (root / file).is_file():
            return root / file
    where = f'{root} does not contain' if root.is_dir() else f'there is no folder {root} with'
    raise FileNotFoundError(
        f'{where} {" or ".join(map(str, names))}; get it from SPIN or DecoMR, or make it from the '
        f"data set's original files: python -m training.preprocess "
        f'{test_set.dataset} --split {test_set.split} --root {root} --out {root / names[0]}; '
        f'{expected_files(name)}'
    )


def expected_files(name: str) -> str:
    """The expected layout of a test set's folder, with licence and source."""
    test_set = EVALUATION_SETS[name]
    dataset = public_dataset(test_set.dataset)
    files = ', '.join([*dataset.layout, *filter(None, [test_set.more])])
    return (
        f'the expected layout of {dataset.title} is {files}; licence and source: {dataset.licence}'
    )


def track_of(name: str, record: PersonRecord) -> str:
    """The name of the track of a person in a sequence; '' for a still image.

    Images of a sequence have the same name except for the number, and a person has a constant
    shape.
    """
    test_set = EVALUATION_SETS[name]
    if not test_set.is_video:
        return ''
    track = re.sub(r'\d+$', '', Path(record.image).with_suffix('').as_posix())
    if test_set.truth != 'mesh':
        return track
    return f'{track} {zlib.crc32(np.asarray(record.shape).tobytes()):08x}'


def _frontal(people: PersonRecords, path: Path) -> PersonRecords:
    """The people in images of the frontal camera; a file of protocol 1 has all cameras."""
    is_other = np.array([bool(OTHER_CAMERAS.search(image.decode())) for image in people.images])
    if is_other.all():
        raise ValueError(
            f'{path} has no image of the frontal camera (60457274, or ca_04), the '
            'only one in protocol 2; give the file of that protocol'
        )
    counts = replace(people.counts, people=people.counts.people - int(is_other.sum()))
    return replace(people.select(~is_other), counts=counts)


def _with_truth(people: PersonRecords, name: str, path: Path) -> PersonRecords:
    """The people with the truth that the protocol needs; counts the others.

    Raises:
        ValueError: no people are left.
    """
    missing = _missing_truth(people, EVALUATION_SETS[name])
    is_missing = np.any([flags for flags, _ in missing], axis=0)
    if not is_missing.any():
        return people
    first = int(is_missing.argmax())
    what = next(text for flags, text in missing if flags[first])
    example = f'{people.images[first].decode()} has no {what}'
    if is_missing.all():
        raise ValueError(
            f'{path} has no people who can be scored by the protocol of {name}: '
            f'{example}; {people.counts.text(0)}; run the preprocessing of the data '
            'set again'
        )
    logger.warning(
        'skipped %d of %d people of %s without the required truth; the first: %s',
        is_missing.sum(),
        len(people),
        name,
        example,
    )
    counts = replace(people.counts, without_truth=int(is_missing.sum()))
    return replace(people.select(~is_missing), counts=counts)


def _missing_truth(people: PersonRecords, test_set: EvaluationSet) -> list[tuple[np.ndarray, str]]:
    """Each kind of required truth, with flags (N,) bool of the people without it."""
    all_people = np.ones(len(people), bool)
    if test_set.truth == 'mesh':
        codes = [GENDERS.index(gender) for gender in test_set.genders]
        return [
            (~people.has_pose, 'pose and shape of finite numbers'),
            (~np.isin(people.genders, codes), f'gender that is {" or ".join(test_set.genders)}'),
        ]
    if test_set.truth == 'labels':
        return [
            (all_people if paths is None else paths == b'', key)
            for key, paths in (('maskname', people.masks), ('partname', people.part_masks))
        ]
    joints = people.keypoints_3d
    return [
        (
            all_people if joints is None else ~(joints[:, place, 3] > 0),
            f'3D annotation (S) of the joint {joint}',
        )
        for joint, place in list(zip(EVALUATED_JOINTS, EVALUATED_FROM_ANNOTATED, strict=True))[
            : test_set.num_joints
        ]
    ]
