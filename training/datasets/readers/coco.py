"""COCO 2014 keypoints: people in everyday scenes, 17 joints each.

As in SPIN, only people with all twelve limb joints annotated are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from decomr_core.body_models.joint_sets import ANNOTATED_JOINTS
from training.datasets.readers.public_dataset import BOX_SCALE, PublicDataset, annotated
from training.records.person_record import PersonRecord

__all__ = ['COCO', 'read_json']

COCO_JOINTS = (
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)
PLACES = tuple(ANNOTATED_JOINTS.index(joint) for joint in COCO_JOINTS)
FIRST_LIMB = COCO_JOINTS.index('left_shoulder')


def _read(root: Path, split: str) -> Iterator[PersonRecord]:
    path = COCO.find(root, f'annotations/person_keypoints_{split}2014.json')
    COCO.find(root, f'{split}2014')
    content = read_json(path, 'images', 'annotations')
    names = {image['id']: image['file_name'] for image in content['images']}
    for person in content['annotations']:
        joints = np.array(person.get('keypoints', ()), np.float64).reshape(-1, 3)
        if len(joints) != len(COCO_JOINTS) or not (joints[FIRST_LIMB:, 2] > 0).all():
            continue
        x, y, width, height = person['bbox']
        center = np.array([x + width / 2, y + height / 2])
        # 1 is annotated but hidden, 2 annotated and visible.
        is_annotated = joints[:, 2] > 0
        yield PersonRecord(
            f'{split}2014/{names[person["image_id"]]}',
            center,
            BOX_SCALE * max(width, height),
            annotated(PLACES, joints[:, :2] * is_annotated[:, None], is_annotated),
        )


def read_json(path: Path, *keys: str) -> dict:
    """Reads a JSON file that must have some keys.

    Raises:
        ValueError: the file is not JSON, or lacks a key.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON ({error}); unpack or download it again') from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(
            f'{path} has no {", ".join(map(repr, missing))}; is it a different file '
            'with this name?'
        )
    return content


COCO = PublicDataset(
    name='coco',
    title='COCO 2014 keypoints',
    splits=('train', 'val'),
    licence='annotations CC BY 4.0, images under the terms of Flickr, from '
    'https://cocodataset.org/#download',
    layout=(
        'annotations/person_keypoints_train2014.json',
        'train2014/*.jpg',
        'the same for val2014',
    ),
    read=_read,
)
