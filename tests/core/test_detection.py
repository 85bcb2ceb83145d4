from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from decomr_core.appearance import looks_of_boxes
from decomr_core.detection import (
    GivenBoxes,
    HogPeople,
    WholeFrame,
    best_boxes,
    box_overlaps,
    clip_boxes,
    load_detector,
)

# Of Debian's package opencv-doc.
PEDESTRIANS = Path('/usr/share/doc/opencv-doc/examples/data/vtest.avi')
BOXES = hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(4)),
                   elements=st.floats(-50, 150, width=32)).map(
    lambda edges: np.concatenate([np.minimum(edges[:, :2], edges[:, 2:]),
                                  np.maximum(edges[:, :2], edges[:, 2:])], axis=1))


def test_the_whole_frame_is_one_box_with_every_pixel() -> None:
    found = WholeFrame()(np.zeros((48, 64, 3), np.uint8))
    assert found.boxes.tolist() == [[-0.5, -0.5, 63.5, 47.5]] and found.scores.tolist() == [1]


def test_given_boxes_are_cut_at_the_image_and_left_out_beyond_it() -> None:
    detector = GivenBoxes([[-10, 5, 20, 20], [200, 0, 220, 9]], [0.5, 0.9])
    found = detector(np.zeros((48, 64, 3), np.uint8))
    assert found.boxes.tolist() == [[-0.5, 5, 20, 20]] and found.scores.tolist() == [0.5]


@given(BOXES)
def test_clipped_boxes_lie_inside_the_image(boxes: np.ndarray) -> None:
    clipped, inside = clip_boxes(boxes, 100, 80)
    assert (clipped >= -0.5).all() and (clipped <= [99.5, 79.5, 99.5, 79.5]).all()
    touches = ((boxes[:, 2:] > -0.5) & (boxes[:, :2] < [99.5, 79.5])
               & (boxes[:, 2:] > boxes[:, :2])).all(1)
    assert np.array_equal(inside, touches)


@given(BOXES, st.floats(0, 1))
def test_boxes_that_stay_overlap_little_and_the_best_one_stays(boxes: np.ndarray,
                                                               limit: float) -> None:
    margins = np.arange(len(boxes), dtype=float)
    kept = best_boxes(boxes, margins, limit)
    assert len(boxes) == 0 or kept[0] == len(boxes) - 1
    overlap = box_overlaps(boxes[kept], boxes[kept])[0]
    assert (overlap[~np.eye(len(kept), dtype=bool)] <= limit).all()


def test_overlap_is_area_in_common_over_area_together() -> None:
    union, smaller = box_overlaps(np.array([[0, 0, 2, 2.]]),
                                  np.array([[1, 0, 3, 2.], [0, 0, 1, 1]]))
    assert np.allclose(union, [[1 / 3, 1 / 4]]) and np.allclose(smaller, [[1 / 2, 1]])


@pytest.mark.skipif(not PEDESTRIANS.is_file(), reason='apt-get install opencv-doc')
def test_hog_finds_the_pedestrians_of_a_real_video() -> None:
    picture = cv2.cvtColor(cv2.VideoCapture(str(PEDESTRIANS)).read()[1], cv2.COLOR_BGR2RGB)
    found = HogPeople()(picture)
    # By hand: two people who stand alone.
    people = np.array([[255, 220, 283, 312], [643, 243, 685, 322]], np.float32)
    overlap = box_overlaps(people, found.boxes)[0]
    assert (overlap.max(axis=1) > 0.5).all()
    assert len(found.boxes) <= 4
    assert (np.diff(found.scores) <= 0).all() and (found.scores > 0.5).all()
    stored_as_bgr = np.ascontiguousarray(picture[..., ::-1])[..., ::-1]
    for same in (picture, stored_as_bgr):
        again = HogPeople()(same)
        assert np.array_equal(again.boxes, found.boxes)
        assert np.array_equal(again.scores, found.scores)
        assert np.array_equal(looks_of_boxes(same, found.boxes),
                              looks_of_boxes(picture, found.boxes))


@pytest.mark.parametrize('shape', [(1, 1, 3), (40, 3000, 3), (6000, 8000, 3)])
def test_hog_finds_nobody_in_an_empty_image_of_any_size(shape: tuple[int, int, int]) -> None:
    found = HogPeople()(np.full(shape, 128, np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)


def test_an_unknown_detector_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match='expected one of: hog, whole-frame'):
        load_detector('yolo')
    assert load_detector('hog', smallest_px=60).smallest_px == 60


def test_hog_refuses_parameters_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match='stride_px=5'):
        HogPeople(stride_px=5)
