"""Wrong boxes are named until right ones come."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from decomr_ros.inputs import box_input
from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.inputs import Inputs
from decomr_ros.node import standing_warnings
from tests.ros.inputs.test_inputs import Notes, gray, header, info, node, start
from tests.ros.inputs.wrong_inputs import see, warnings_of
from tests.ros.messages.test_boxes import detection

__all__ = ['node']  # the fixture


@pytest.fixture
def boxes(node: Notes, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Inputs, Frame]]:
    """Gives detections and an image; the node's inputs and the image's frame."""
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: SimpleNamespace)
    started: list[tuple[Inputs, list[Frame]]] = []

    def give(
        *detections: object, seconds: float = 1.0, image_seconds: float = 1.0, **parameters: object
    ) -> tuple[Inputs, Frame]:
        if not started:
            started.append(start(node, use_boxes=True, **parameters))
        inputs, frames = started[0]
        node.callbacks['/camera_info'](info(image_seconds))
        node.callbacks['/boxes'](
            SimpleNamespace(header=header(seconds), detections=list(detections))
        )
        node.callbacks['/image'](gray(image_seconds))
        see(frames)
        return inputs, frames[-1]

    return give


@pytest.mark.parametrize(
    'names', [('person',), ('Person',), ('PERSON ',), ('0',), ('0', '16'), ('person', 'dog')]
)
def test_every_spelling_of_the_person_class_is_accepted(
    boxes: Callable, names: tuple[str, ...]
) -> None:
    inputs, frame = boxes(*(detection(name, x=20.0, y=30.0) for name in names))
    assert len(frame.boxes.boxes) == 1
    assert warnings_of(inputs) == {}


def test_numeric_classes_are_ignored_beside_names(boxes: Callable) -> None:
    inputs, frame = boxes(detection('0', x=20.0, y=30.0), detection('Person', x=20.0, y=30.0))
    assert len(frame.boxes.boxes) == 1
    assert inputs.values()['boxes_left_out_0'] == '1'


BOXES = {
    'a number that is no person': ([detection('16')], 'classes seen: 16 ('),
    'the 91 classes of COCO': ([detection('1')], '1 in the 91'),
    'another name': ([detection('pedestrian')], 'pedestrian ('),
    'no class': ([detection('')], '(empty) ('),
    'no hypothesis': (
        [SimpleNamespace(bbox=detection().bbox, results=[], id='')],
        '(no hypothesis)',
    ),
    'per cent': ([detection(score=87.0)], 'a score in [0, 1]'),
    'no score': ([detection(score=float('nan'))], 'a score in [0, 1]'),
    'no size': ([detection(size=(0.0, 10.0))], 'sizes above 0'),
    'no place': ([detection(x=float('inf'))], 'expected px'),
    'shares of the image': (
        [detection(x=0.5, y=0.4, size=(0.2, 0.9)), detection(x=0.9, y=0.5, size=(0.3, 1.0))],
        'normalised to 0..1',
    ),
    'another size of image': (
        [detection(x=400.0, y=300.0, size=(80.0, 200.0))],
        'an image of another size',
    ),
}


@pytest.mark.parametrize('case', BOXES)
def test_wrong_boxes_are_reported_until_correct_ones_arrive(
    node: Notes, boxes: Callable, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detections, word = BOXES[case]
    for _ in range(3):
        inputs, frame = boxes(*detections)
        assert frame.boxes is None or len(frame.boxes.boxes) == 0
    assert sum(word in text for text in node.log) == 1, 'once'
    (name,) = [name for name, text in warnings_of(inputs).items() if word in text]
    assert int(warnings_of(inputs)[f'{name}_count']) >= 3
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert name in warnings_of(inputs)
    boxes(detection(x=20.0, y=30.0))
    assert name not in warnings_of(inputs)


def test_boxes_of_another_clock_are_reported_with_the_offset(
    node: Notes, boxes: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, frame = boxes(detection(), seconds=1.0, image_seconds=3601.0)
    assert frame.boxes is None
    assert any('3600.0 s before it' in text for text in node.log)
    assert 'warning_boxes' in warnings_of(inputs)
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    boxes(detection(x=20.0, y=30.0))
    assert warnings_of(inputs) == {}


def test_other_classes_are_counted_and_noted_without_a_warning(
    node: Notes, boxes: Callable
) -> None:
    for _ in range(3):
        inputs, _ = boxes(
            detection(x=20.0, y=30.0), detection('dog'), detection('chair'), detection('chair')
        )
    values = inputs.values()
    assert (values['boxes_left_out_dog'], values['boxes_left_out_chair']) == ('3', '6')
    for name in ('dog', 'chair'):
        assert sum(f'class {name!r}' in text for text in node.log) == 1
    assert warnings_of(inputs) == {}


def test_ever_new_classes_do_not_fill_the_memory(boxes: Callable) -> None:
    for number in range(200):
        inputs, _ = boxes(detection(f'{number + 1}'))
    assert len(inputs.values()) < 60
    assert (
        sum(
            int(count)
            for name, count in inputs.values().items()
            if name.startswith('boxes_left_out_')
        )
        == 200
    )


def test_unused_fields_of_a_detection_are_noted(node: Notes, boxes: Callable) -> None:
    full = detection(x=20.0, y=30.0, theta=0.1)
    full.id = 'track_7'
    full.results[0].pose = SimpleNamespace(
        pose=SimpleNamespace(position=SimpleNamespace(x=1.0, y=0.0, z=4.0))
    )
    boxes(full, detection(score=0.1, x=20.0, y=30.0), min_score=0.5)
    inputs, _ = boxes(full)
    for word in ('have ids', 'theta', 'have poses', 'below min_score'):
        assert sum(word in text for text in node.log) == 1, word
    assert inputs.values()['boxes_below_min_score'] == '1'
    assert warnings_of(inputs) == {}
