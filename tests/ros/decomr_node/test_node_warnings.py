"""What the node ignores or assumes, on /diagnostics and in the log; clocks and stamps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.inputs import box_input, stamp_checks
from decomr_ros.messages.boxes import people_from_detections
from decomr_ros.messages.images import image_message
from decomr_ros.node import standing_warnings
from tests.ros.conftest import RosTest, wait_until
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode, values_of
from tests.ros.messages.test_boxes import detection
from tests.ros.node_client import Camera

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
IMAGE = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)


@pytest.fixture
def make(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> Iterator[Callable[..., InnerNode]]:
    made: list[InnerNode] = []

    def make(**parameters: object) -> InnerNode:
        made.append(
            InnerNode(ros, monkeypatch, Topology.from_body(tiny_body, tiny_uv_map), **parameters)
        )
        return made[-1]

    yield make
    for inner in made:
        inner.node.close()


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    lines: list[str] = []

    def read() -> str:
        lines.append(capfd.readouterr().err)
        return ''.join(lines)

    return read


def show(
    inner: InnerNode, camera: Camera, encoding: str = 'bgr8', stamp_s: float | None = None
) -> None:
    """Sends one image, stamped now or at another time, and returns its meshes."""
    stamp_s = time.time() if stamp_s is None else stamp_s
    message = image_message(camera.header(), IMAGE, 'bgr8')
    message.encoding = encoding
    message.header.stamp.sec, message.header.stamp.nanosec = int(stamp_s), int(stamp_s % 1 * 1e9)
    camera.send(message)
    camera.answer(message.header)


def test_a_warning_is_on_diagnostics_with_its_count_until_it_is_fixed(
    make: Callable, log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    inner = make(frame_age_warn_s=3600.0, frame_age_error_s=3600.0)
    camera = inner.activate()
    camera.show_until_placed(HEIGHT, WIDTH)
    assert inner.status().level == OK, inner.status().message
    for _ in range(3):
        show(inner, camera, '8UC3')
    status = inner.status()
    assert status.level == WARN
    assert 'read as bgr8' in status.message
    values = values_of(status)
    assert 'read as bgr8' in values['warning_image_encoding']
    assert values['warning_image_encoding_count'] == '3'
    show(inner, camera)
    status = inner.status()
    assert (status.level, [name for name in values_of(status) if 'warning_' in name]) == (OK, [])
    assert log().count('read as bgr8') == 1


def test_sim_time_without_a_clock_is_a_warning_until_the_clock_starts(
    ros: RosTest, make: Callable, log: Callable[[], str]
) -> None:
    inner = make(use_sim_time=True)
    ros.spin_until(lambda: 'no message arrived on /clock' in latest(inner), 10)
    assert log().count('no message arrived on /clock') == 1
    clock = ros.node.create_publisher(Clock, '/clock', 10)
    message = Clock()

    def ticks() -> bool:
        message.clock.sec += 1
        clock.publish(message)
        return 'warning_clock' not in latest(inner)

    ros.spin_until(ticks, 10)
    ros.spin_until(lambda: '/clock has been at' in latest(inner), 10)
    ros.spin_until(ticks, 10)


def latest(inner: InnerNode) -> str:
    """The last status as text; the node's own clock cannot be waited for here."""
    if not inner._diagnostics:
        return 'warning_clock'
    return str(inner._diagnostics[-1].status[0])


STAMPS = {
    'zero': ([0.0], 'images have the stamp 0'),
    'long ago': ([-3600.0], 's before the current ROS time'),
    'in the future': ([3600.0], 's after the current ROS time'),
    'jumping back': ([0.5, -1.0], 'the stamps of images jumped back by 1.'),
    'standing still': (['same', 'same'], 'the stamp of the previous image'),
}


@pytest.mark.parametrize('case', STAMPS)
def test_implausible_stamps_are_reported(
    make: Callable, log: Callable[[], str], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets, word = STAMPS[case]
    inner = make()
    monkeypatch.setattr(stamp_checks, 'FAR_S', 5.0)
    camera = inner.activate()
    now_s = time.time()
    for offset in offsets:
        stamp_s = {'zero': 0.0}.get(case, now_s + (0.0 if offset == 'same' else offset))
        answered = len(camera.seen)
        message = image_message(camera.header(), IMAGE, 'bgr8')
        message.header.stamp.sec = int(stamp_s)
        message.header.stamp.nanosec = int(stamp_s % 1 * 1e9)
        camera.send(message)
        inner._ros.spin_until(lambda answered=answered: len(camera.seen) > answered, 15)
    status = inner.status()
    assert status.level != OK
    assert any(word in text for name, text in values_of(status).items() if 'warning' in name)
    wait_until(lambda: word in log(), 5)


def test_failing_images_and_their_problem_are_each_logged_once(
    ros: RosTest, make: Callable, log: Callable[[], str]
) -> None:
    inner = make(log_period_s=0.5)
    camera = inner.activate()
    lines: list[str] = []

    def lines_after(encoding: str, count: int) -> list[str]:
        lines.clear()

        def is_logged() -> bool:
            message = image_message(camera.header(), IMAGE, 'bgr8')
            message.encoding = encoding
            camera.send(message)
            lines[:] = [
                line
                for line in log().splitlines()
                if ' Hz, out ' in line and 'frames_failed_encoding' in line
            ]
            return len(lines) >= count

        ros.spin_until(is_logged, 30)
        return lines

    first = lines_after('rgb9', 4)
    assert sum("'rgb9'" in line for line in first) == 1
    second = lines_after('rgb99', len(first) + 3)
    assert sum('last_problem' in line for line in second) <= 2
    assert log().count('an image was left out') <= 2


def test_boxes_without_people_are_on_diagnostics_by_class(
    make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fakes the messages of vision_msgs if it is not installed."""
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: Image)
    inner = make(use_boxes=True, frame_age_warn_s=3600.0, frame_age_error_s=3600.0)
    camera = inner.activate()
    inner.take_boxes(camera.header(), detection('17'))
    status = inner.status()
    assert status.level == WARN
    values = values_of(status)
    assert values['boxes_left_out_17'] == '1'
    assert 'classes seen: 17 (1)' in values['warning_boxes_class']
    inner.set(person_class_ids='17')
    camera.show(HEIGHT, WIDTH)  # with the image, the parameter applies
    inner.take_boxes(camera.header(), detection('17'))
    monkeypatch.setattr(standing_warnings, 'SHOWN_S', 0.0)
    assert 'warning_boxes_class' not in values_of(inner.status())


def test_an_empty_message_of_boxes_causes_no_warning() -> None:
    found = people_from_detections(SimpleNamespace(detections=[]), ['person', '0'])
    assert (len(found.people.boxes), found.other_classes, found.unused) == (0, {}, ())
