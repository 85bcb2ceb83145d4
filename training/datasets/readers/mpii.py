"""MPII Human Pose: people in 410 activities, 16 joints each.

As in SPIN, only people of the training set with all 16 joints annotated are used. The square comes
from the annotation: centre `objpos`, side `scale` times 200 px.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS
from training.datasets.readers.public_dataset import (
    SCALE_UNIT_PX,
    PublicDataset,
    annotated,
    read_mat,
)
from training.records.person_record import PersonRecord

__all__ = ['MPII']

FILE = 'mpii_human_pose_v1_u12_1.mat'
MPII_JOINTS = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'pelvis',
    'thorax',
    'neck',
    'head_top',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
)
PLACES = tuple(ANNOTATED_JOINTS.index(joint) for joint in MPII_JOINTS)
FIRST_PIXEL = 1
"""MATLAB counts pixels from 1."""


def _read(root: Path, _: str) -> Iterator[PersonRecord]:
    path = next(
        (root / place for place in (FILE, f'annot/{FILE}') if (root / place).exists()), None
    )
    if path is None:
        raise MPII.missing(root / FILE)
    MPII.find(root, 'images')
    content = read_mat(path, struct_as_record=False, squeeze_me=True)
    release = content.get('RELEASE')
    if release is None:
        raise ValueError(f'{path} has no RELEASE; expected the annotations of release u12')
    for image, is_train in zip(
        _items(release.annolist), np.atleast_1d(release.img_train), strict=True
    ):
        for person in _items(getattr(image, 'annorect', ())) if is_train else ():
            record = _record(f'images/{image.image.name}', person)
            if record is not None:
                yield record


def _record(image: str, person: Any) -> PersonRecord | None:
    """The person, or None if the square or a joint is missing."""
    points = _items(getattr(getattr(person, 'annopoints', None), 'point', ()))
    place: Any = getattr(person, 'objpos', None)
    scale = np.atleast_1d(getattr(person, 'scale', ()))
    if len({int(point.id) for point in points}) < len(MPII_JOINTS) or not (
        len(scale) and hasattr(place, 'x')
    ):
        return None
    joints = np.zeros((len(MPII_JOINTS), 2))
    for point in points:
        joints[int(point.id)] = point.x, point.y
    return PersonRecord(
        image,
        np.array([place.x, place.y], np.float64) - FIRST_PIXEL,
        float(scale[0]) * SCALE_UNIT_PX,
        annotated(PLACES, joints - FIRST_PIXEL),
    )


def _items(value: Any) -> list:
    """The structs in a field, which may contain none, one or several."""
    return [
        item
        for item in np.atleast_1d(np.array(value, object)).ravel()
        if hasattr(item, '_fieldnames')
    ]


MPII = PublicDataset(
    name='mpii',
    title='MPII Human Pose',
    splits=('train',),
    licence='simplified BSD for the annotations, from http://human-pose.mpi-inf.mpg.de',
    layout=(FILE, 'images/*.jpg'),
    read=_read,
)
