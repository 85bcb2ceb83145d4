"""The published test sets: who is in them, and who can be scored.

The people come through the readers of the data sets (`datasets/`), from an npz in the exchange
format: one that the preprocessing of GraphCMR, SPIN or DecoMR wrote, or that of
`python -m training.preprocess`. Whoever lacks what the set is scored with is left out and counted.
"""

from __future__ import annotations

import logging
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from decomr_core.body_models.joint_sets import (
    EVALUATED_FROM_ANNOTATED,
    EVALUATED_JOINTS,
    NUM_LSP,
)
from training.datasets.registry import load_people, public_dataset
from training.records.person_record import GENDERS, PersonRecord
from training.records.person_records import PersonRecords

__all__ = ['EVALUATION_SETS', 'EvaluationSet', 'annotation_file', 'evaluation_people',
           'expected_files', 'track_of']

logger = logging.getLogger(__name__)
OTHER_CAMERAS = re.compile(r'_ca_0[123](?!\d)|\.(54138969|55011271|58860488)[_.]')
"""In names of images of Human3.6M: the three cameras that are not the frontal one."""


@dataclass(frozen=True)
class EvaluationSet:
    """A published test set.

    Attributes:
        dataset: the data set that it is a part of, a name of `PUBLIC_DATASETS`.
        split: that part.
        annotations: possible names of its npz, the first one found is read.
        truth: what people are compared with: `joints`, `mesh` or `labels`.
        num_joints: how many of `EVALUATED_JOINTS` must be annotated.
        genders: of the bodies that the meshes belong to; a single one counts for everybody.
        is_video: whether images follow each other in sequences.
        is_frontal: whether only Human3.6M's frontal camera counts.
        more: what the folder must hold beside the data set's own files.
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
    'h36m-p1': EvaluationSet('h36m', 'p1', ('h36m_valid_protocol1.npz',), 'joints',
                             is_video=True),
    'h36m-p2': EvaluationSet('h36m', 'p2', ('h36m_valid_protocol2.npz',), 'joints',
                             is_video=True, is_frontal=True),
    '3dpw': EvaluationSet('pw3d', 'test', ('3dpw_test.npz',), 'mesh',
                          genders=('male', 'female'), is_video=True),
    'mpi-inf-3dhp': EvaluationSet(
        'mpi_inf_3dhp', 'test', ('mpi_inf_3dhp_valid.npz', 'mpi_inf_3dhp_test.npz'), 'joints',
        num_joints=len(EVALUATED_JOINTS), is_video=True),
    'surreal': EvaluationSet('surreal', 'val', ('surreal_val.npz',), 'mesh',
                             genders=('male', 'female')),
    'up-3d': EvaluationSet('up3d', 'lsp_test', ('up_3d_lsp_test.npz', 'up_3d_test.npz'), 'mesh',
                           genders=('neutral',)),
    'lsp': EvaluationSet(
        'lsp', 'test', ('lsp_dataset_test.npz',), 'labels',
        more='data/lsp/im1001_segmentation.png and im1001_part_segmentation.png ... of UPi-S1h '
             '(http://files.is.tuebingen.mpg.de/classner/up/)'),
}


def evaluation_people(name: str, root: str | Path,
                      annotations: str | Path | None = None) -> PersonRecords:
    """The people of a test set that can be scored, in the order of its file.

    Images are not looked at: whose image cannot be read shows when it is.

    Args:
        name: a key of `EVALUATION_SETS`.
        root: folder that the paths of the images start from.
        annotations: the npz; None: the one of the published name in the root.

    Returns:
        the people; `counts` says who was left out.

    Raises:
        FileNotFoundError: there is no npz; says what the folder must hold.
        ValueError: the npz holds something else, or nobody in it can be scored.
    """
    path, test_set = annotation_file(name, root, annotations), EVALUATION_SETS[name]
    people = load_people(test_set.dataset, root, path, check_images=False)
    if test_set.is_frontal:
        people = _frontal(people, path)
    if len(test_set.genders) == 1:
        gender = GENDERS.index(test_set.genders[0])
        people = replace(people, genders=np.full(len(people), gender, np.int8),
                         counts=replace(people.counts, unknown_genders=0))
    return _with_truth(people, name, path)


def annotation_file(name: str, root: str | Path, annotations: str | Path | None = None) -> Path:
    """The npz of a test set.

    Args:
        name: a key of `EVALUATION_SETS`.
        root: its folder.
        annotations: a file of another name; None: the published one in the root.

    Raises:
        FileNotFoundError: it is not there; says what the folder must hold.
        ValueError: there is no such test set.
    """
    if name not in EVALUATION_SETS:
        raise ValueError(f'data set is {name!r}, expected one of: {", ".join(EVALUATION_SETS)}')
    test_set, root = EVALUATION_SETS[name], Path(root)
    names = test_set.annotations if annotations is None else (Path(annotations).resolve(),)
    for file in names:
        if (root / file).is_file():
            return root / file
    where = f'{root} does not hold' if root.is_dir() else f'there is no folder {root} with'
    raise FileNotFoundError(
        f'{where} {" or ".join(map(str, names))}, as the preprocessing of SPIN or DecoMR writes '
        f"it; or make it of the data set's own files: python -m training.preprocess "
        f'{test_set.dataset} --split {test_set.split} --root {root} --out {root / names[0]}; '
        f'{expected_files(name)}')


def expected_files(name: str) -> str:
    """What the folder of a test set is made of, and where to get it under which licence."""
    test_set = EVALUATION_SETS[name]
    dataset = public_dataset(test_set.dataset)
    files = ', '.join([*dataset.layout, *filter(None, [test_set.more])])
    return f'{dataset.title} is expected as {files}; licence: {dataset.licence}'


def track_of(name: str, record: PersonRecord) -> str:
    """The same text for all images of one person in one sequence; '' for a still.

    Names are alike up to the number, and one person keeps one shape.
    """
    test_set = EVALUATION_SETS[name]
    if not test_set.is_video:
        return ''
    track = re.sub(r'\d+$', '', Path(record.image).with_suffix('').as_posix())
    if test_set.truth != 'mesh':
        return track
    return f'{track} {zlib.crc32(np.ascontiguousarray(record.shape).tobytes()):08x}'


def _frontal(people: PersonRecords, path: Path) -> PersonRecords:
    """The people whom the frontal camera sees; a file of protocol 1 has the others as well."""
    is_other = np.array([bool(OTHER_CAMERAS.search(image.decode())) for image in people.images])
    if is_other.all():
        raise ValueError(f'{path} has no image of the frontal camera (60457274, or ca_04), which '
                         'alone counts in protocol 2; give the file of that protocol')
    counts = replace(people.counts, people=people.counts.people - int(is_other.sum()))
    return replace(people.select(~is_other), counts=counts)


def _with_truth(people: PersonRecords, name: str, path: Path) -> PersonRecords:
    """The people who can be scored; the others counted.

    Raises:
        ValueError: nobody is left.
    """
    faults = _faults(people, EVALUATION_SETS[name])
    is_lacking = np.any([lacking for lacking, _ in faults], axis=0)
    if not is_lacking.any():
        return people
    first = int(is_lacking.argmax())
    what = next(text for lacking, text in faults if lacking[first])
    example = f'{people.images[first].decode()} has no {what}'
    if is_lacking.all():
        raise ValueError(f'{path} has nobody who can be scored as {name} is: {example}; '
                         f'{people.counts.text(0)}; run the preprocessing of the data set again')
    logger.warning('left out %d of %d people of %s who cannot be scored, the first: %s',
                   is_lacking.sum(), len(people), name, example)
    counts = replace(people.counts, without_truth=int(is_lacking.sum()))
    return replace(people.select(~is_lacking), counts=counts)


def _faults(people: PersonRecords, test_set: EvaluationSet) -> list[tuple[np.ndarray, str]]:
    """Whom (N,) bool something is not known of, and what."""
    everybody = np.ones(len(people), bool)
    if test_set.truth == 'mesh':
        codes = [GENDERS.index(gender) for gender in test_set.genders]
        return [(~people.has_pose, 'pose and shape of finite numbers'),
                (~np.isin(people.genders, codes),
                 f'gender out of {" and ".join(test_set.genders)}')]
    if test_set.truth == 'labels':
        return [(everybody if paths is None else paths == b'', key)
                for key, paths in (('maskname', people.masks), ('partname', people.part_masks))]
    joints = people.keypoints_3d
    return [(everybody if joints is None else ~(joints[:, place, 3] > 0),
             f'3D annotation (S) of the joint {joint}')
            for joint, place in list(zip(EVALUATED_JOINTS, EVALUATED_FROM_ANNOTATED,
                                         strict=True))[:test_set.num_joints]]
