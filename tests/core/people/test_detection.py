from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from decomr_core.estimation.detectors import load_detector
from decomr_core.people.detection import GivenBoxes, WholeFrame, box_overlaps, clip_boxes

BOXES = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 6), st.just(4)), elements=st.floats(-50, 150, width=32)
).map(
    lambda edges: np.concatenate(
        [np.minimum(edges[:, :2], edges[:, 2:]), np.maximum(edges[:, :2], edges[:, 2:])], axis=1
    )
)


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
    touches = (
        (boxes[:, 2:] > -0.5) & (boxes[:, :2] < [99.5, 79.5]) & (boxes[:, 2:] > boxes[:, :2])
    ).all(1)
    assert np.array_equal(inside, touches)


def test_overlap_is_area_in_common_over_area_together() -> None:
    union, smaller = box_overlaps(
        np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0], [0, 0, 1, 1]])
    )
    assert np.allclose(union, [[1 / 3, 1 / 4]]) and np.allclose(smaller, [[1 / 2, 1]])


def test_an_unknown_detector_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match='expected one of: person, whole-frame'):
        load_detector('yolo')
    assert load_detector(tiles=2).tiles == 2
