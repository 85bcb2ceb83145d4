"""camera_info is beside the image, wherever that is remapped to, for every program."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros import view
from decomr_ros.recorder import Recorder
from decomr_ros.topics.input_topics import camera_info_beside, camera_info_topic, image_topic
from decomr_ros.video_source import VideoSource
from tests.ros.conftest import RosTest
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode, values_of

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
README = ('-r', 'image:=/camera/image_raw')  # as its command has it


@pytest.fixture
def start(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> Iterator[Callable[..., InnerNode]]:
    topology = Topology.from_body(tiny_body, tiny_uv_map)
    made: list[InnerNode] = []

    def make(*words: str, **parameters: object) -> InnerNode:
        made.append(InnerNode(ros, monkeypatch, topology, words, **parameters))
        return made[-1]

    yield make
    for inner in made:
        inner.node.close()


@pytest.mark.parametrize(
    ('image', 'camera_info'),
    [
        ('/camera/image_raw', '/camera/camera_info'),
        ('image', 'camera_info'),
        ('/image', '/camera_info'),
        ('left/image_rect', 'left/camera_info'),
        ('/camera/image_raw/compressed', '/camera/camera_info'),
        ('/jpegs', '/camera_info'),
    ],
)
def test_camera_info_is_in_the_namespace_of_the_image(image: str, camera_info: str) -> None:
    assert camera_info_beside(image) == camera_info


@pytest.mark.parametrize(
    ('words', 'is_compressed', 'image', 'camera_info'),
    [
        ((), False, '/image', '/camera_info'),
        (README, False, '/camera/image_raw', '/camera/camera_info'),
        (README, True, '/camera/image_raw/compressed', '/camera/camera_info'),
        (('-r', '__ns:=/robot'), False, '/robot/image', '/robot/camera_info'),
        (
            ('-r', '__ns:=/robot', '-r', 'image:=front/image'),
            False,
            '/robot/front/image',
            '/robot/front/camera_info',
        ),
        ((*README, '-r', 'camera_info:=/other/info'), False, '/camera/image_raw', '/other/info'),
        (
            (*README, '-r', '/camera/camera_info:=/late/info'),
            False,
            '/camera/image_raw',
            '/late/info',
        ),
        # To its own name: whoever writes that means it.
        (
            (*README, '--remap', 'camera_info:=/camera_info'),
            False,
            '/camera/image_raw',
            '/camera_info',
        ),
        (
            (*README, '-r', 'decomr:camera_info:=camera_info'),
            False,
            '/camera/image_raw',
            '/camera_info',
        ),
        (
            (*README, '-r', 'other:camera_info:=camera_info'),
            False,
            '/camera/image_raw',
            '/camera/camera_info',
        ),
        (('-r', 'image/compressed:=/front/jpegs'), True, '/front/jpegs', '/front/camera_info'),
    ],
)
def test_the_topics_follow_the_remappings(
    ros: RosTest, words: tuple[str, ...], is_compressed: bool, image: str, camera_info: str
) -> None:
    given = ['--ros-args', *words]
    node = rclpy.create_node('decomr', context=ros.context, cli_args=given)
    assert image_topic(node, is_compressed) == image
    assert camera_info_topic(node, image, given) == camera_info
    node.destroy_node()


@pytest.fixture
def as_in_the_readme(domain: int) -> Iterator[list[str]]:
    """The default context with the README's remapping; returns the arguments."""
    words = ['--ros-args', *README]
    rclpy.init(args=words)
    yield words
    rclpy.shutdown()


def _recorder(folder: Path, words: list[str]) -> Node:
    return Recorder(folder / 'bag', arguments=words)


def _source(folder: Path, words: list[str]) -> Node:
    return VideoSource('camera', 'reliable', None, 60.0, words)


def _viewer(folder: Path, words: list[str]) -> Node:
    return view.Viewer(
        Namespace(
            namespace='',
            host='',
            port=0,
            rectified=False,
            image='image',
            camera_info=None,
            rate=10.0,
            warning=1.0,
        ),
        words,
    )


class _Page:
    """In place of a page."""

    address = ''

    def __init__(self, host: str, port: int) -> None:
        pass


@pytest.mark.parametrize('make', [_recorder, _source, _viewer])
def test_every_program_has_camera_info_beside_the_image(
    as_in_the_readme: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path, list[str]], Node],
) -> None:
    monkeypatch.setattr(view, 'ViewScene', _Page)
    node = make(tmp_path, as_in_the_readme)
    used = {item.topic_name for item in (*node.publishers, *node.subscriptions)}
    assert '/camera/camera_info' in used
    assert '/camera_info' not in used
    node.destroy_node()


def test_the_command_of_the_readme_gives_people_a_position(
    start: Callable[..., InnerNode],
) -> None:
    inner = start(*README)
    camera = inner.activate(image='/camera/image_raw', camera_info='/camera/camera_info')
    answer = camera.show_until_placed(HEIGHT, WIDTH)
    assert len(answer.meshes) == 2
    status = inner.status()
    assert status.level == OK, status.message
    assert values_of(status)['warnings'] == '0'


def test_images_without_camera_info_are_a_warning_that_names_both_topics(
    ros: RosTest, start: Callable[..., InnerNode], capfd: pytest.CaptureFixture[str]
) -> None:
    inner = start(*README)
    inner.node.trigger_configure()
    # The calibration is elsewhere.
    camera = inner.activate_configured(
        image='/camera/image_raw', camera_info='/elsewhere/camera_info', waits=False
    )
    ros.spin_until(lambda: inner.node.get_publishers_info_by_topic('/elsewhere/camera_info'))
    for _ in range(3):
        assert not camera.show(HEIGHT, WIDTH).meshes[0].is_metric
    status = inner.status()
    assert status.level == WARN
    text = values_of(status)['warning_camera_info']
    assert text in status.message
    assert 'no camera_info on /camera/camera_info' in text
    assert '/elsewhere/camera_info (sensor_msgs/msg/CameraInfo from /test)' in text
    assert '-r camera_info:=TOPIC' in text
    assert values_of(status)['warning_camera_info_count'] == '3'
    assert capfd.readouterr().err.count('no camera_info') == 1
    # It comes after all.
    camera.move_camera_info(ros.node.create_publisher(CameraInfo, '/camera/camera_info', 5))
    camera.show_until_placed(HEIGHT, WIDTH)
    status = inner.status()
    assert status.level == OK, status.message
