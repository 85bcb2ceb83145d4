"""`decomr bag`: its report on a recording, its video, and what it rejects."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from decomr.msg import HumanMeshArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from decomr_core import cli
from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import load_body
from decomr_core.drawing import color_of_track
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import load_uv_map
from decomr_ros.bags import overlay_video as replay
from decomr_ros.bags.mcap_writing import BagWriter
from decomr_ros.bags.message_definitions import message_definition
from decomr_ros.bags.recording import StampedMeshes
from decomr_ros.bags.topics import BagTopic
from decomr_ros.messages.meshes import (
    camera_info_message,
    human_mesh_array_message,
    mesh_topology_message,
)
from tests.ros.conftest import make_mesh

START_NS = 1_700_000_000_000_000_000
SIZE = 320, 240
INTRINSICS = intrinsics_from_fov(*SIZE, 60.0)
TYPES = {
    'human_meshes': 'decomr/msg/HumanMeshArray',
    'topology': 'decomr/msg/MeshTopology',
    'camera_info': 'sensor_msgs/msg/CameraInfo',
    'image/compressed': 'sensor_msgs/msg/CompressedImage',
}
FRAME = 'camera_optical_frame'


@pytest.fixture(scope='module')
def topology() -> Topology:
    body = load_body()
    return Topology.from_body(body, load_uv_map('builtin', body))


def _person(topology: Topology, number: int, x: float) -> HumanMesh:
    """The mean body, upright before the camera, 4 m away."""
    place = np.array([x, 0.0, 4.0])
    vertices = topology.v_template * (1, -1, -1) + place
    return dataclasses.replace(
        make_mesh(number),
        vertices=vertices.astype(np.float32),
        translation=place,
        visibility=np.ones(len(vertices), bool),
    )


class _Bag:
    """Writes a bag whose clock makes steps of 100 ms."""

    def __init__(self, folder: Path, *names: str, namespace: str = '') -> None:
        self.folder, self._namespace = folder, namespace
        self._writer = BagWriter(
            folder,
            [
                BagTopic(
                    f'{namespace}/{name}',
                    TYPES[name],
                    message_definition(TYPES[name]),
                    name == 'topology',
                )
                for name in names
            ],
        )

    def header(self, step: float) -> Header:
        header = Header(frame_id=FRAME)
        header.stamp.sec, header.stamp.nanosec = divmod(START_NS + round(step * 1e8), 10**9)
        return header

    def add(self, name: str, message: object, step: float) -> None:
        moment = START_NS + round(step * 1e8) + 20_000_000  # 20 ms later than the stamp
        self._writer.write(f'{self._namespace}/{name}', serialize_message(message), moment, moment)

    def meshes(self, step: float, people: list[HumanMesh], body_hash: str) -> None:
        self.add(
            'human_meshes', human_mesh_array_message(self.header(step), people, body_hash), step
        )

    def camera(self, step: float) -> None:
        self.add('camera_info', camera_info_message(self.header(step), INTRINSICS, *SIZE), step)

    def image(self, step: float, gray: int) -> None:
        data = cv2.imencode('.png', np.full((SIZE[1], SIZE[0], 3), gray, np.uint8))[1].tobytes()
        self.add(
            'image/compressed',
            CompressedImage(header=self.header(step), format='png', data=data),
            step,
        )

    def close(self) -> Path:
        self._writer.close()
        return self.folder


def _two_people(folder: Path, topology: Topology, *more: str) -> _Bag:
    """Person 1 in steps 0 to 9, person 2 from 5 on; nothing from 10 to 29, then step 30."""
    bag = _Bag(folder, 'human_meshes', 'topology', *more)
    bag.add('topology', mesh_topology_message(topology), 0)
    for step in [*range(10), 30]:
        people = [_person(topology, 1, -0.5)] if step < 10 else []
        people += [_person(topology, 2, 0.5)] if step >= 5 else []
        bag.meshes(step, people, topology.hash)
    return bag


def _frames(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def _has_color_of(number: int, frame: np.ndarray, left: bool) -> bool:
    """Whether one half of a frame shows a person's colour: same hue, saturated."""
    half = frame[60:180, :160] if left else frame[60:180, 160:]
    hue, saturation, _ = cv2.split(cv2.cvtColor(half, cv2.COLOR_BGR2HSV))
    wanted = cv2.cvtColor(np.array([[color_of_track(number)]], np.uint8), cv2.COLOR_RGB2HSV)
    near = np.abs((hue.astype(int) - int(wanted[0, 0, 0]) + 90) % 180 - 90) < 12
    return int((near & (saturation > 60)).sum()) > 200


def test_info_lists_people_with_times_rates_and_gaps(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _two_people(tmp_path / 'bag', topology).close()
    assert cli.main(['bag', 'info', str(bag), '--json']) == 0
    text = capsys.readouterr().out
    report = json.loads(text.splitlines()[-1])
    assert report['messages'] == 12
    assert report['duration_s'] == 3.0
    assert {topic['name']: topic['count'] for topic in report['topics']} == {
        '/human_meshes': 11,
        '/topology': 1,
    }
    (meshes,) = report['meshes']
    assert meshes['people'] == [
        {'id': 1, 'first_s': 0.0, 'last_s': 0.9, 'images': 10},
        {'id': 2, 'first_s': 0.5, 'last_s': 3.0, 'images': 6},
    ]
    assert meshes['gaps'] == [{'start_s': 0.9, 'length_s': 2.1}]
    assert meshes['latency_p50_ms'] == 20.0
    assert (meshes['people_max'], meshes['with_people'], meshes['body']) == (2, 11, topology.name)
    assert 'gap of 2.10 s at 0.90 s' in text


def test_the_meshes_are_drawn_over_the_images_of_the_bag(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _two_people(tmp_path / 'bag', topology, 'camera_info', 'image/compressed')
    for step in range(12):
        bag.camera(step)
        bag.image(step, 200)
    out = tmp_path / 'out.mp4'
    assert cli.main(['bag', 'replay-overlay', str(bag.close()), '--out', str(out), '--json']) == 0
    text = capsys.readouterr().out
    report = json.loads(text.splitlines()[-1])
    assert report['background'].endswith('/image/compressed')
    assert (report['pictures'], report['pictures_with_people'], report['rate_hz']) == (12, 12, 10)
    assert '12 of them with people; 12 frames of 320x240 px at 10 Hz' in text
    frames = _frames(out)
    assert len(frames) == report['frames'] == 12
    assert frames[0][5, -5].tolist() == pytest.approx([200] * 3, abs=8)
    assert _has_color_of(1, frames[2], left=True)
    assert not _has_color_of(2, frames[2], left=False)
    assert _has_color_of(2, frames[7], left=False)


def test_without_images_the_meshes_are_drawn_on_a_plain_background_of_the_camera_size(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _two_people(tmp_path / 'bag', topology, 'camera_info')
    bag.camera(1)
    out = tmp_path / 'out.mp4'
    assert cli.main(['bag', 'replay-overlay', str(bag.close()), '--out', str(out)]) == 0
    assert '11 images (plain), 11 of them with people; 30 frames' in capsys.readouterr().out
    frames = _frames(out)
    assert frames[0].shape == (SIZE[1], SIZE[0], 3)
    assert _has_color_of(1, frames[0], left=True)
    # 10 images, the gap of 2.1 s shortened to 2 s, and the last one.
    assert len(frames) == 10 + 20


def test_a_video_is_matched_by_its_stamps(tmp_path: Path, topology: Topology) -> None:
    bag = _two_people(tmp_path / 'bag', topology, 'camera_info')
    bag.camera(0)
    video = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*'MJPG'), 10.0, SIZE)
    for step in range(8):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 20 * step, np.uint8))
    writer.release()
    stamps = tmp_path / 'stamps.csv'
    # Played from its frame 3 on, while the node saw steps 4 to 7.
    stamps.write_text(''.join(f'{step - 1},{START_NS + step * 10**8}\n' for step in range(4, 8)))
    out = tmp_path / 'out.mp4'
    assert (
        cli.main(
            [
                'bag',
                'replay-overlay',
                str(bag.close()),
                '--video',
                str(video),
                '--stamps',
                str(stamps),
                '--out',
                str(out),
            ]
        )
        == 0
    )
    frames = _frames(out)
    assert [int(frame[-5, -5, 0]) for frame in frames] == pytest.approx([60, 80, 100, 120], abs=6)
    assert not _has_color_of(2, frames[0], left=False)
    assert _has_color_of(2, frames[1], left=False)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', 'is empty; give a file written by'),
        (
            b'0,1700000000000000000\nstamp,index\n',
            "line 2 is 'stamp,index', expected a frame index",
        ),
        (b'\x00\xff\xfe,\x89', 'is not a file of stamps: line 1'),
        (b'0,1600000000000000000\n', 'has a stamp within 0.5 s after meshes'),
        (b'0,1800000000000000000\n', 'has a stamp within 0.5 s after meshes'),
        (None, 'stamps.csv: No such file'),
    ],
)
def test_a_wrong_stamps_file_is_a_one_line_error(
    tmp_path: Path,
    topology: Topology,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    said: str,
) -> None:
    bag, video, stamps = tmp_path / 'bag', tmp_path / 'images', tmp_path / 'stamps.csv'
    video.mkdir()
    cv2.imwrite(str(video / '0.png'), np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    if content is not None:
        stamps.write_bytes(content)
    _two_people(bag, topology).close()
    assert (
        cli.main(
            [
                'bag',
                'replay-overlay',
                str(bag),
                '--video',
                str(video),
                '--stamps',
                str(stamps),
                '--out',
                str(tmp_path / 'out.mp4'),
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1
    assert not list(tmp_path.glob('*.mp4'))


def test_a_file_that_is_not_a_video_is_rejected_without_messages_of_opencv(
    tmp_path: Path, topology: Topology, capfd: pytest.CaptureFixture[str]
) -> None:
    bag = _two_people(tmp_path / 'bag', topology, 'camera_info').close()
    assert cli.main(['bag', 'replay-overlay', str(bag), '--out', str(tmp_path / 'out.txt')]) == 2
    error = capfd.readouterr().err
    assert error.endswith("out.txt has the suffix '.txt', expected one of: .mp4 .avi .mkv .mov\n")
    assert error.count('\n') == 1


def test_the_count_of_people_is_singular_or_plural(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(replay.cv2, 'putText', lambda image, text, *_: written.append(text))
    for count in (0, 1, 2):
        people = [_person(topology, 1, 0.0)] * count
        replay.draw_overlay(
            np.zeros((48, 64, 3), np.uint8),
            StampedMeshes(0, people, 20.0),
            topology.faces,
            INTRINSICS,
        )
    assert [text for text in dict.fromkeys(written) if 'ms' in text] == [
        '0 people, 20 ms',
        '1 person, 20 ms',
        '2 people, 20 ms',
    ]


def test_meshes_of_an_earlier_image_are_fainter_and_labelled_with_their_age(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(replay.cv2, 'putText', lambda image, text, *_: written.append(text))
    seen = StampedMeshes(10**9, [_person(topology, 1, 0.0)], 20.0)
    black = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    own, held = (
        replay.draw_overlay(black, seen, topology.faces, INTRINSICS, 10**9 + late_ns)
        for late_ns in (0, 3 * 10**8)
    )
    assert own.max() > 0 and (held <= own).all()
    is_mesh = own.max(-1) > held.max(-1)
    assert 0.3 < held[is_mesh].mean() / own[is_mesh].mean() < 0.5
    assert [text for text in dict.fromkeys(written) if 'old' in text] == [
        '#1 4.0 m 0.3 s old',
        '1 person, 20 ms, 0.3 s old',
    ]


def _empty(folder: Path, topology: Topology) -> Path:
    return _Bag(folder, 'human_meshes', 'topology').close()


def _zero_bytes(folder: Path, topology: Topology) -> Path:
    bag = _two_people(folder, topology).close()
    os.truncate(bag / 'bag_0.mcap', 0)
    return bag


def _cut_off(folder: Path, topology: Topology) -> Path:
    bag = _two_people(folder, topology).close()
    os.truncate(bag / 'bag_0.mcap', (bag / 'bag_0.mcap').stat().st_size // 2)
    return bag


def _no_meshes(folder: Path, topology: Topology) -> Path:
    bag = _Bag(folder, 'camera_info')
    bag.camera(0)
    return bag.close()


def _other_body(folder: Path, topology: Topology) -> Path:
    bag = _two_people(folder, topology)
    bag.add('human_meshes', HumanMeshArray(header=bag.header(31), topology_hash='ffff'), 31)
    return bag.close()


def _nothing(folder: Path, topology: Topology) -> Path:
    return folder


@pytest.mark.parametrize('command', ['info', 'replay-overlay'])
@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (_nothing, 'there is no'),
        (_empty, 'contains no mesh messages'),
        (_zero_bytes, 'is empty'),
        (_cut_off, '--recover'),
        (_no_meshes, 'its topics: /camera_info'),
        (_other_body, 'belong to the body ffff'),
    ],
)
def test_an_unusable_bag_is_one_line_and_exit_code_2(
    tmp_path: Path,
    topology: Topology,
    capsys: pytest.CaptureFixture[str],
    command: str,
    make: object,
    said: str,
) -> None:
    bag = make(tmp_path / 'bag', topology)
    if make is _other_body and command == 'replay-overlay':
        images = _Bag(tmp_path / 'images', 'image/compressed')
        for step in (0, 31):
            images.image(step, 0)
        words = ['--video', str(images.close())]
    else:
        words = []
    words += ['--out', str(tmp_path / 'out.mp4')] if command == 'replay-overlay' else []
    assert cli.main(['bag', command, str(bag), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1
    assert not list(tmp_path.glob('*.mp4'))


def test_a_bag_of_two_nodes_requires_a_namespace(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _Bag(tmp_path / 'bag', 'human_meshes', 'topology', 'camera_info', namespace='/left')
    writer = bag._writer
    other = BagTopic(
        '/right/human_meshes',
        TYPES['human_meshes'],
        message_definition(TYPES['human_meshes']),
        False,
    )
    writer.counts[other.name] = 0
    writer._channels[other.name] = writer._register(other)
    writer._topics.append(other)
    bag.add('topology', mesh_topology_message(topology), 0)
    bag.meshes(0, [_person(topology, 1, 0.0)], topology.hash)
    bag.camera(0)
    writer.write(
        other.name, serialize_message(HumanMeshArray(header=bag.header(0))), START_NS, START_NS
    )
    command = ['bag', 'replay-overlay', str(bag.close()), '--out', str(tmp_path / 'out.mp4')]
    assert cli.main(command) == 2
    assert 'choose one with --namespace' in capsys.readouterr().err
    assert cli.main([*command, '--namespace', 'right']) == 2
    assert 'contains no topology for /right/human_meshes' in capsys.readouterr().err
    assert cli.main([*command, '--namespace', 'left']) == 0


def test_an_existing_video_is_not_overwritten(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'out.mp4').write_text('mine')
    bag = _two_people(tmp_path / 'bag', topology).close()
    assert cli.main(['bag', 'replay-overlay', str(bag), '--out', str(tmp_path / 'out.mp4')]) == 2
    assert 'already exists' in capsys.readouterr().err
    assert cli.main(['bag', 'replay-overlay', str(bag), '--out', str(tmp_path / 'new.mp4')]) == 2
    assert 'give the images with --video' in capsys.readouterr().err
    assert (tmp_path / 'out.mp4').read_text() == 'mine'


def test_a_camera_info_of_another_camera_is_not_used(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _two_people(tmp_path / 'bag', topology, 'camera_info')
    bag.add('camera_info', CameraInfo(header=Header(frame_id='elsewhere'), width=64, height=48), 0)
    assert (
        cli.main(['bag', 'replay-overlay', str(bag.close()), '--out', str(tmp_path / 'new.mp4')])
        == 2
    )
    assert f'camera_info of the camera {FRAME!r}' in capsys.readouterr().err
