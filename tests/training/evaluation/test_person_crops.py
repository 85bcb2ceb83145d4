"""The crops of annotated people for networks that see only the person box."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.evaluation.run import crop_person
from training.records.person_record import PersonRecord

JOINTS = np.zeros((24, 3), np.float32)
JOINTS[:2] = [[90, 60, 1], [110, 140, 1]]
"""Two joints; the box around the person is 82 to 118 and 52 to 148 px."""


@pytest.mark.parametrize(
    ('joints', 'margin', 'seen'),
    [(JOINTS, None, (150, 150)), (None, 0.1, (150, 150)), (JOINTS, 0.1, (36 + 19, 96 + 19))],
)
def test_a_crop_is_black_outside_of_the_annotated_joints(
    joints: np.ndarray | None, margin: float | None, seen: tuple[int, int], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'white.png'), np.full((200, 200, 3), 255, np.uint8))
    record = PersonRecord('white.png', np.array([100, 100]), 150.0, keypoints_2d=joints)
    pixels = crop_person(record, tmp_path, 150, box_margin=margin).pixels
    is_white = pixels > 128
    measured = is_white.any((0, 2)).sum(), is_white.any((1, 2)).sum()
    assert measured == pytest.approx(seen, abs=2)
