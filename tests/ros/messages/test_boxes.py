from __future__ import annotations

import math
from types import SimpleNamespace as Message

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from decomr_ros.messages import boxes as boxes_module
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.boxes import detection_message_type, people_from_detections


def detection(
    name: str = 'person',
    score: float = 0.9,
    x: float = 50.0,
    y: float = 60.0,
    size: tuple[float, float] = (20.0, 40.0),
    theta: float = 0.0,
    is_old: bool = False,
) -> Message:
    """A vision_msgs/Detection2D of version 4 and later, or of earlier ones."""
    if is_old:
        center, result = Message(x=x, y=y, theta=theta), Message(id=name, score=score)
    else:
        center = Message(position=Message(x=x, y=y), theta=theta)
        result = Message(hypothesis=Message(class_id=name, score=score))
    return Message(bbox=Message(center=center, size_x=size[0], size_y=size[1]), results=[result])


@pytest.mark.parametrize('is_old', [False, True])
def test_both_layouts_of_vision_msgs_give_the_same_boxes(is_old: bool) -> None:
    message = Message(detections=[detection(is_old=is_old)])
    seen = people_from_detections(message, ['person']).people
    np.testing.assert_array_equal(seen.boxes, [[40, 40, 60, 80]])
    np.testing.assert_allclose(seen.scores, [0.9])


def test_only_the_selected_classes_count_the_best_first() -> None:
    message = Message(
        detections=[
            detection('person', 0.5),
            detection('dog', 0.99, x=1.0),
            detection('pedestrian', 0.8, x=70.0),
        ]
    )
    seen = people_from_detections(message, ['person', 'pedestrian'])
    np.testing.assert_allclose(seen.people.scores, [0.8, 0.5])
    assert seen.people.boxes[0].tolist() == [60, 40, 80, 80]
    assert seen.other_classes == {'dog': 1}
    assert len(people_from_detections(message, []).people.boxes) == 3
    nobody = people_from_detections(message, ['cat'])
    assert nobody.people.boxes.shape == (0, 4)
    assert nobody.other_classes == {'person': 1, 'dog': 1, 'pedestrian': 1}


def test_a_detection_without_a_hypothesis_counts_if_all_classes_do() -> None:
    bare = detection()
    bare.results = []
    message = Message(detections=[bare])
    assert people_from_detections(message, []).people.scores.tolist() == [1.0]
    others = people_from_detections(message, ['person'])
    assert others.people.scores.tolist() == []
    assert others.other_classes == {'(no hypothesis)': 1}


def test_a_turned_box_gives_the_upright_box_around_it() -> None:
    message = Message(detections=[detection(theta=math.pi / 2), detection(theta=math.pi / 4)])
    seen = people_from_detections(message, ['person']).people.boxes
    np.testing.assert_allclose(seen[0], [30, 50, 70, 70], atol=1e-4)
    half = 30 / math.sqrt(2)
    np.testing.assert_allclose(seen[1], [50 - half, 60 - half, 50 + half, 60 + half], atol=1e-4)


# The first ones suit everything: of any numbers alone, hardly any six would make a box.
numbers = st.floats(0.1, 1) | st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=200, deadline=None)
@example(x=-5.0, y=7.0, size_x=3.0, size_y=1e-3, theta=1e300, score=1.0)
@given(x=numbers, y=numbers, size_x=numbers, size_y=numbers, theta=numbers, score=numbers)
def test_any_numbers_give_usable_boxes_or_a_reason(
    x: float, y: float, size_x: float, size_y: float, theta: float, score: float
) -> None:
    message = Message(
        detections=[
            detection(),
            detection(score=score, x=x, y=y, size=(size_x, size_y), theta=theta),
        ]
    )
    try:
        seen = people_from_detections(message, ['person']).people
    except BadInput as error:
        assert error.cause == 'boxes'
        return
    assert seen.boxes.shape == (2, 4)
    assert np.isfinite(seen.boxes).all()
    assert (seen.boxes[:, 2:] >= seen.boxes[:, :2]).all()
    assert (np.diff(seen.scores) <= 0).all()


def test_without_vision_msgs_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boxes_module, 'Detection2DArray', None)
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(RuntimeError, match='sudo apt install ros-humble-vision-msgs'):
        detection_message_type()
    monkeypatch.setattr(boxes_module, 'Detection2DArray', Message)
    assert detection_message_type() is Message
