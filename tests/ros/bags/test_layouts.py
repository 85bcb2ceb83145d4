"""The topics of the Foxglove and RViz layouts exist in a recording, with the right types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.bags.markers import add_markers
from decomr_ros.bags.mcap_reading import read_bag, read_topics
from decomr_ros.messages.compressed import rgb_from_compressed_message
from decomr_ros.recorder import Recorder
from tests.ros.conftest import RosTest
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode
from tests.test_import_rule import ROOT

LAYOUT, RVIZ = ROOT / 'foxglove' / 'decomr_layout.json', ROOT / 'rviz' / 'decomr.rviz'
MARKERS, CLOUD = 'visualization_msgs/msg/MarkerArray', 'sensor_msgs/msg/PointCloud2'
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO, DIAGNOSTICS = 'sensor_msgs/msg/CameraInfo', 'diagnostic_msgs/msg/DiagnosticArray'
# What each display of RViz shows; the others of the file have no topic.
RVIZ_TYPES = {'MarkerArray': MARKERS, 'PointCloud2': CLOUD, 'Image': IMAGE}
# What a recording is asked for besides what it always holds.
ALSO = ('image', 'iuv', 'overlay', 'iuv/compressed', 'overlay/compressed', 'vertices')
PATH = re.compile(r'/diagnostics\.status\[:\]\.values\[:\]\{key=="(\w+)"\}\.value')


def _layout() -> dict[str, Any]:
    return json.loads(LAYOUT.read_text())


def _rviz() -> dict[str, Any]:
    return yaml.safe_load(RVIZ.read_text())


def _layout_topics() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each topic of the layout, and the types that its panel shows."""
    for name, panel in _layout()['configById'].items():
        kind = name.partition('!')[0]
        if kind == '3D':
            for topic in panel['topics']:
                yield topic, (MARKERS, CLOUD, CAMERA_INFO)
        elif kind == 'Image':
            yield panel['imageMode']['imageTopic'], (IMAGE, COMPRESSED)
            if 'calibrationTopic' in panel['imageMode']:
                yield panel['imageMode']['calibrationTopic'], (CAMERA_INFO,)
        elif kind == 'DiagnosticSummary':
            yield panel['topicToRender'], (DIAGNOSTICS,)
        else:
            assert kind == 'Plot', f'the test does not know the topics of {name}'
            for path in panel['paths']:
                yield path['value'].partition('.')[0], (DIAGNOSTICS,)


def _rviz_topics() -> Iterator[tuple[str, tuple[str, ...]]]:
    for display in _rviz()['Visualization Manager']['Displays']:
        if 'Topic' in display:
            kind = display['Class'].rpartition('/')[2]
            yield f'/{display["Topic"]["Value"]}', (RVIZ_TYPES[kind],)


@pytest.fixture
def bag(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> Path:
    """A recording of a real node, to which markers were added."""
    inner = InnerNode(ros, monkeypatch, Topology.from_body(tiny_body, tiny_uv_map))
    rclpy.init()
    recorder = Recorder(ros.folder / 'bag', ALSO)
    ros.add(recorder)
    camera = inner.activate()
    inner.wait_for_listeners(
        'human_meshes',
        'topology',
        'iuv',
        'overlay',
        'vertices',
        'iuv/compressed',
        'overlay/compressed',
    )
    names = [
        recorder.resolve_topic_name(name)
        for name in ('human_meshes', 'topology', 'camera_info', '/diagnostics', *ALSO)
    ]

    def is_recorded() -> bool:
        camera.show_until_placed(HEIGHT, WIDTH)
        return all(recorder.writer.counts.get(name) for name in names) and any(
            value.key == 'latency_p50_ms' for value in inner.status().values
        )

    ros.spin_until(is_recorded)
    camera.show(HEIGHT, WIDTH)
    inner.status()
    recorder.close()
    inner.node.close()
    rclpy.try_shutdown()
    add_markers(ros.folder / 'bag', ros.folder / 'with_markers')
    return ros.folder / 'with_markers'


def test_every_topic_of_both_layouts_is_in_a_recording_with_a_type_that_its_panel_shows(
    bag: Path,
) -> None:
    topics = read_topics(bag)
    counts = dict.fromkeys(topics, 0)
    for message in read_bag(bag):
        counts[message.topic] += 1
    asked = [*_layout_topics(), *_rviz_topics()]
    assert {'/markers', '/iuv/compressed', '/overlay/compressed'} <= {topic for topic, _ in asked}
    for topic, types in asked:
        assert topics[topic].type_name in types, topic
        assert counts[topic], topic
    assert '/tf' in topics, 'the frames of the people'
    said = {
        value.key
        for message in read_bag(bag, ['/diagnostics'])
        for status in deserialize_message(message.data, DiagnosticArray).status
        for value in status.values
    }
    paths = [path['value'] for path in _layout()['configById']['Plot!decomr']['paths']]
    assert [path for path in paths if PATH.fullmatch(path)[1] not in said] == []
    for topic in ('/iuv/compressed', '/overlay/compressed'):
        message = next(read_bag(bag, [topic]))
        image = rgb_from_compressed_message(deserialize_message(message.data, CompressedImage))
        assert image.shape == (HEIGHT, WIDTH, 3)


def test_every_panel_of_the_layout_is_placed_exactly_once() -> None:
    def panels(place: dict[str, Any] | str) -> list[str]:
        """The names of the panels from the left to the right."""
        return (
            [place]
            if isinstance(place, str)
            else [*panels(place['first']), *panels(place['second'])]
        )

    layout = _layout()
    assert sorted(panels(layout['layout'])) == sorted(layout['configById'])


def test_the_3d_panel_looks_where_the_camera_looks_with_x_to_the_right() -> None:
    """Lichtblick turns its camera by phi about x, then by -theta about z; it looks along -z."""
    camera = _layout()['configById']['3D!decomr']['cameraState']
    phi, theta = np.radians(camera['phi']), -np.radians(camera['thetaOffset'])
    turn = np.array(
        [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    ) @ np.array([[1, 0, 0], [0, np.cos(phi), -np.sin(phi)], [0, np.sin(phi), np.cos(phi)]])
    right, up, back = turn.T
    assert right == pytest.approx([1, 0, 0])
    assert -back @ (0, 0, 1) > 0.9, 'forward'
    assert up @ (0, -1, 0) > 0.9, 'y is down'
    place = np.array(camera['targetOffset']) + camera['distance'] * back
    assert place[1] < 0 and place[2] < 0, 'above and behind the camera'


def test_rviz_shows_meshes_image_and_iuv_at_once() -> None:
    """An image that Qt's window state does not place opens its own window."""
    config = _rviz()
    displays = {
        display['Name']: display for display in config['Visualization Manager']['Displays']
    }
    assert displays['Human meshes']['Enabled']
    state = bytes.fromhex(config['Window Geometry']['QMainWindow State'])
    images = [name for name, display in displays.items() if display['Class'].endswith('/Image')]
    assert {'Image', 'IUV'} <= set(images)
    for name in images:
        # A widget (0xfb), its name, and 1 for one that is shown, 2 more for one that floats.
        text = name.encode('utf-16-be')
        entry = b'\xfb' + len(text).to_bytes(4, 'big') + text
        assert state.count(entry) == 1, name
        flags = state[state.index(entry) + len(entry)]
        assert flags == int(displays[name]['Enabled']), name
    assert displays['Image']['Enabled'] and displays['IUV']['Enabled']


def test_both_layouts_are_installed() -> None:
    text = (ROOT / 'CMakeLists.txt').read_text()
    folders = re.search(r'install\(DIRECTORY ([\w ]+) DESTINATION share', text)[1].split()
    assert {LAYOUT.parent.name, RVIZ.parent.name} <= set(folders)
