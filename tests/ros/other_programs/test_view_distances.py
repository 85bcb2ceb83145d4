"""`decomr view`: the distances from the robot on the page."""

from __future__ import annotations

import argparse
import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

viser = pytest.importorskip('viser', reason='decomr view needs viser: pip install viser')

import rclpy  # noqa: E402
from decomr.msg import MeshTopology, Proximity, ProximityArray  # noqa: E402
from geometry_msgs.msg import Point  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from decomr_core.base.structures import HumanMesh  # noqa: E402
from decomr_ros import view  # noqa: E402
from decomr_ros.messages.meshes import human_mesh_array_message  # noqa: E402
from decomr_ros.viewer.distances import distances_to_show  # noqa: E402
from decomr_ros.viewer.line_drawing import FAR_COLOR, NEAR_COLOR  # noqa: E402
from decomr_ros.viewer.newest_people import DISTANCE_STALE_S  # noqa: E402
from tests.ros.browser import Browser, find_browser, open_browser  # noqa: E402
from tests.ros.conftest import RosTest, make_mesh, wait_until  # noqa: E402
from tests.ros.other_programs.test_view import FACES, PARENTS, free_port, publish_a_person  # noqa: E402

MANY_RED = 250
"""Pixels: more than the axes of the camera have."""


def header_at(number: int, frame_id: str = 'camera') -> Header:
    header = Header(frame_id=frame_id)
    header.stamp.sec = number
    return header


def proximity(track_id: int, distance: float, frame: str = 'arm', **fields: object) -> Proximity:
    """A robot at the origin, and a person before it."""
    return Proximity(
        id=track_id,
        robot_frame=frame,
        body_point=Point(z=distance),
        distance=distance,
        distance_low=distance - 0.2,
        distance_high=distance + 0.3,
        **fields,
    )


def distances(
    *proximities: Proximity, number: int = 1, frame_id: str = 'camera', **fields: object
) -> ProximityArray:
    return ProximityArray(
        header=header_at(number, frame_id), proximities=list(proximities), **fields
    )


class Page:
    """A viewer whose messages come from the test, and whose time stands still."""

    def __init__(self, viewer: view.Viewer, clock: SimpleNamespace) -> None:
        self._viewer, self.clock = viewer, clock
        viewer._take_topology(MeshTopology(hash='abc', faces=FACES.ravel(), joint_parents=PARENTS))

    def take_meshes(self, *meshes: HumanMesh, number: int = 1) -> None:
        message = human_mesh_array_message(header_at(number), meshes, 'abc')
        self._viewer._take_meshes(serialize_message(message))

    def take(self, message: ProximityArray) -> None:
        self._viewer._take_distances(serialize_message(message))

    def update(self) -> None:
        self._viewer._update()

    @property
    def drawn(self) -> dict[int, Any]:
        """Handles of the lines, by person."""
        return dict(self._viewer._scene._lines._drawn)

    @property
    def colors(self) -> dict[int, tuple[int, ...]]:
        return {key: tuple(drawn.line.colors[0, 0].tolist()) for key, drawn in self.drawn.items()}

    @property
    def labels(self) -> dict[int, str]:
        return {key: drawn.label.text for key, drawn in self.drawn.items()}

    def line(self, track_id: int) -> np.ndarray:
        return self.drawn[track_id].line.points

    @property
    def text(self) -> str:
        return self._viewer._scene._distance_text.content

    @property
    def num_people(self) -> int:
        return self._viewer._scene.num_people


@pytest.fixture
def page(domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    clock = SimpleNamespace(now_s=1000.0)
    rclpy.init()
    options = argparse.Namespace(
        host='127.0.0.1',
        port=free_port(),
        namespace='',
        image='image',
        camera_info=None,
        rectified=False,
        rate=1.0,
        warning=1.0,
    )
    viewer = view.Viewer(options)
    monkeypatch.setattr(view.time, 'monotonic', lambda: clock.now_s)
    yield Page(viewer, clock)
    monkeypatch.undo()
    viewer.close()
    viewer.destroy_node()
    rclpy.shutdown()


def test_each_person_has_the_line_of_the_smallest_distance_in_red_if_it_is_near(
    page: Page,
) -> None:
    page.take_meshes(make_mesh(3), make_mesh(5))
    page.take(distances(proximity(3, 0.8), proximity(5, 2.0), proximity(3, 0.9, 'base')))
    page.update()
    assert page.colors == {3: NEAR_COLOR, 5: FAR_COLOR}
    assert page.labels == {3: '0.80 m (0.60 to 1.10)', 5: '2.00 m (1.80 to 2.30)'}
    np.testing.assert_allclose(page.line(3), [[[0, 0, 0], [0, 0, 0.8]]])
    assert page.text == 'nearest **0.80** m'
    # The order of the message does not matter, and lines move.
    page.take_meshes(make_mesh(3), make_mesh(5), number=2)
    page.take(distances(proximity(5, 2.0), proximity(5, 0.5), proximity(3, 1.5), number=2))
    page.update()
    assert page.colors == {3: FAR_COLOR, 5: NEAR_COLOR}
    assert page.labels[5] == '0.50 m (0.30 to 0.80)'
    np.testing.assert_allclose(page.line(5), [[[0, 0, 0], [0, 0, 0.5]]])


def test_the_line_of_a_person_who_left_is_removed(page: Page) -> None:
    page.take_meshes(make_mesh(3))
    page.take(distances(proximity(3, 0.8)))
    page.update()
    handles = page.drawn[3]
    page.take_meshes(number=2)
    page.take(distances(number=2))
    page.update()
    assert page.drawn == {} and page.text == 'nobody detected'
    assert all(handle._impl.removed for handle in handles)


def test_lines_vanish_half_a_second_after_the_last_message(page: Page) -> None:
    page.take_meshes(make_mesh(3))
    page.take(distances(proximity(3, 0.8)))
    page.update()
    page.clock.now_s += DISTANCE_STALE_S - 0.01
    page.update()
    assert page.colors == {3: NEAR_COLOR}
    page.clock.now_s += 0.02
    page.update()
    assert page.colors == {} and 'distance unknown' in page.text


def test_lines_vanish_if_they_are_older_than_the_meshes(page: Page) -> None:
    page.take_meshes(make_mesh(3))
    page.take(distances(proximity(3, 0.8)))
    page.update()
    for number in range(2, 8):  # the distances of these never arrive
        page.clock.now_s += 0.1
        page.take_meshes(make_mesh(3), number=number)
        page.update()
    assert page.colors == {} and 'distance unknown' in page.text
    # From another image: neither older nor newer lines belong to these meshes.
    page.take(distances(proximity(3, 0.8), number=99))
    page.update()
    assert page.colors == {} and 'distance unknown' in page.text


def test_meshes_wait_for_their_distances_so_that_lines_do_not_flicker(page: Page) -> None:
    for number in range(1, 20):  # an update falls between the meshes and their distances
        page.take_meshes(make_mesh(3, seed=number), number=number)
        page.update()
        assert number == 1 or page.colors == {3: NEAR_COLOR}
        page.take(distances(proximity(3, 0.8), number=number))
        page.clock.now_s += 0.03
    page.update()
    assert page.colors == {3: NEAR_COLOR} and page.num_people == 1
    assert page._viewer._people._shown_ns == 19_000_000_000


def test_without_distances_meshes_are_shown_at_once_and_the_page_says_so(page: Page) -> None:
    for number in range(1, 4):
        page.take_meshes(make_mesh(3), number=number)
        page.update()
        assert page._viewer._people._shown_ns == number * 1_000_000_000
    assert page.text == '**distance unknown**: no message on `/proximity`'


def test_a_driver_without_a_clock_has_lines(page: Page) -> None:
    for _ in range(3):
        page.take_meshes(make_mesh(3), number=0)
        page.take(distances(proximity(3, 0.8), number=0))
        page.update()
        assert page.colors == {3: NEAR_COLOR}


def test_in_another_frame_nothing_is_drawn_and_the_page_says_why(page: Page) -> None:
    page.take_meshes(make_mesh(3))
    page.take(distances(proximity(3, 0.8), frame_id='base_link'))
    page.update()
    assert page.colors == {}
    assert '`base_link`' in page.text and '`camera`' in page.text
    assert '`proximity_frame` is empty' in page.text


def test_lines_vanish_with_the_meshes_of_another_body(page: Page) -> None:
    page.take_meshes(make_mesh(3))
    page.take(distances(proximity(3, 0.8)))
    page.update()
    page._viewer._take_topology(MeshTopology(hash='new', faces=[], joint_parents=[-1]))
    page.update()
    assert page.colors == {} and page.num_people == 0 and 'distance unknown' in page.text


@pytest.mark.parametrize(
    ('message', 'num_people', 'text'),
    [
        (distances(unplaced_people=1), 1, '1 person without a position'),
        (
            distances(proximity(1, 3.0), unplaced_people=2),
            3,
            'nearest **3.00** m. **distance unknown**: 2 people without a position',
        ),
        (distances(unknown_frames=['arm', 'hand']), 0, 'no transform to `arm`, `hand`'),
        (distances(proximity(1, math.nan)), 1, '1 of 1 distances are not finite'),
        (distances(), 2, '2 people without a distance'),
        (distances(unplaced_people=1, frame_id='base'), 1, '1 person without a position'),
    ],
)
def test_what_is_unknown_is_on_the_page(
    message: ProximityArray, num_people: int, text: str
) -> None:
    shown = distances_to_show(message, 'camera', num_people, 1.0)
    assert '**distance unknown**: ' in shown.text and text in shown.text


def test_an_entry_that_is_not_finite_does_not_hide_the_distance_of_the_person() -> None:
    message = distances(proximity(1, math.nan), proximity(1, 0.5))
    assert distances_to_show(message, 'camera', 1, 1.0).lines[1].distance_m == 0.5
    broken = proximity(1, 0.4)
    broken.distance_low = math.nan
    (line,) = distances_to_show(distances(broken), 'camera', 1, 1.0).lines.values()
    assert line.label == '0.40 m (interval unknown)'


def test_the_threshold_is_an_option_and_a_wrong_one_is_rejected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = distances(proximity(1, 0.8))
    for warning_m, is_near in ((0.8, False), (0.81, True), (0.0, False)):
        shown = distances_to_show(message, 'camera', 1, warning_m)
        assert shown.lines[1].is_near == is_near
    for words in ('-1', 'nan', 'x'):
        with pytest.raises(SystemExit, match='2'):
            view.main([f'--warning={words}'])
        assert 'is no distance' in capsys.readouterr().err


@pytest.mark.skipif(find_browser() is None, reason='no Chromium here: apt-get install chromium')
def test_the_browser_shows_the_line_and_what_is_unknown(ros: RosTest, tmp_path: Path) -> None:
    port = free_port()
    page, publish = publish_a_person(ros, port)
    publisher = ros.node.create_publisher(ProximityArray, 'robot/proximity', 10)
    entry = proximity(7, 0.8)
    # Right of the wall and below it, where nothing hides the line.
    entry.robot_point, entry.body_point = Point(x=1.6, y=0.9, z=1.5), Point(x=0.2, y=0.9, z=2.5)

    @contextlib.contextmanager
    def publishing(**fields: object) -> Iterator[None]:
        """Publishes on a thread: a screenshot takes longer than lines last."""
        is_over = threading.Event()

        def publish_on() -> None:
            while not is_over.is_set():
                publisher.publish(ProximityArray(header=publish(), **fields))

        thread = threading.Thread(target=publish_on)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def wait_for(browser: Browser, *texts: str, is_red: bool) -> None:
        wait_until(
            lambda: (
                all(text in browser.text() for text in texts)
                and (num_red(browser.screenshot()) > MANY_RED) == is_red
            ),
            60,
            lambda: f'{texts}, {is_red} not in {browser.text()!r}',
        )

    with open_browser(tmp_path) as browser:
        browser.open(f'http://127.0.0.1:{port}')
        with publishing(unplaced_people=1):
            texts = 'Not a safety device', 'distance unknown: 1 person without a position'
            wait_for(browser, *texts, is_red=False)
        with publishing(proximities=[entry]):
            wait_for(browser, 'nearest 0.80 m', is_red=True)
            assert 'unknown' not in browser.text()
        wait_for(browser, 'distance unknown: there is no recent message', is_red=False)
    assert page.stop() == 0, page.output


def num_red(screenshot: np.ndarray) -> int:
    """Red pixels left of the panel, apart from those of the axes of the camera."""
    pixels = screenshot[:, :500].astype(int)
    return int(((pixels[..., 2] > 180) & (pixels[..., :2].max(axis=-1) < 60)).sum())
