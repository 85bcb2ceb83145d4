"""Faults on a robot: cameras restart, streams change, clocks jump, several nodes run."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from decomr.msg import HumanMeshArray
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, Image

from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_ros.messages.images import image_message
from decomr_ros.messages.meshes import (
    camera_info_message,
    human_meshes_from_message,
    nanoseconds_from_stamp,
)
from decomr_ros.recorder import READY
from tests.ros.conftest import Process, RosTest
from tests.ros.node_client import Camera, Lifecycle, is_heard, start_node

ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE


def _statuses(ros: RosTest) -> list[dict[str, str]]:
    """Filled with the values of each message on /diagnostics."""
    statuses: list[dict[str, str]] = []
    ros.node.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda message: statuses.append(
            {value.key: value.value for value in message.status[0].values}
        ),
        10,
    )
    return statuses


def _color_image(camera: Camera, height: int, width: int, encoding: str, channels: int) -> Image:
    pixels = np.full((height, width, channels), 120, np.uint8)
    return image_message(camera.header(), pixels, encoding)


@pytest.mark.full_size
def test_a_camera_that_restarts_is_received_again(
    ros: RosTest, weights: Path, image_folder: Path
) -> None:
    node = start_node(ros, weights)
    meshes: list[HumanMeshArray] = []
    ros.node.create_subscription(HumanMeshArray, 'human_meshes', meshes.append, 10)
    play = (
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--rate',
        10,
        '--loop',
        '--wait-for-subscriber',
    )
    first = ros.start(*play)
    ros.spin_until(lambda: len(meshes) >= 2)
    first.stop(signal.SIGKILL)
    died_ns = time.time_ns()  # images of the first one may still be on their way
    ros.start(*play)
    ros.spin_until(
        lambda: (
            sum(nanoseconds_from_stamp(message.header.stamp) > died_ns for message in meshes) >= 2
        )
    )
    assert node.process.poll() is None
    assert node.stop() == 0
    assert 'Traceback' not in node.output


def test_size_and_encoding_may_change_and_the_calibration_may_arrive_late(
    ros: RosTest, weights: Path
) -> None:
    node = start_node(ros, weights)
    statuses = _statuses(ros)
    camera = Camera(ros)
    camera.wait()
    sizes = (
        (48, 64, 'rgb8', 3),
        (120, 160, 'mono8', 1),
        (30, 90, 'bgra8', 4),
        (48, 64, 'yuv422', 2),
    )
    for size in sizes:  # without a calibration
        message = _color_image(camera, *size)
        camera.send(message)
        (person,) = human_meshes_from_message(camera.answer(message.header))
        assert not person.is_metric
        assert np.isfinite(person.vertices).all()
    assert camera.show_until_placed(48, 64).meshes  # it has come
    message = _color_image(camera, 96, 64, 'rgb8', 3)
    camera.send(message)  # of another size than the calibration
    assert not camera.answer(message.header).meshes[0].is_metric
    assert camera.show_until_placed(96, 64).meshes
    ros.spin_until(lambda: statuses and int(statuses[-1]['meshes_published']) >= 7)
    assert statuses[-1]['frames_failed'] == '0'
    assert node.stop() == 0


def test_implausible_stamps_are_copied_and_harmless(ros: RosTest, weights: Path) -> None:
    node = start_node(ros, weights)
    statuses = _statuses(ros)
    camera = Camera(ros)
    camera.wait()
    first = _color_image(camera, 48, 64, 'rgb8', 3)
    camera.send(first)
    camera.answer(first.header)
    # Where there were two subscriptions for a moment, the first image has ended that; they would
    # both hear a stamp of 0, which nothing tells from its repetition.
    ros.spin_until(lambda: ros.node.count_subscribers('/image') == 1)
    now_s = int(time.time())
    stamps_s = [0, now_s + 10**8, 0, 2**31 - 1, now_s, -5, now_s - 10**6, now_s]
    for stamp_s in stamps_s:
        message = _color_image(camera, 48, 64, 'rgb8', 3)
        message.header.stamp.sec, message.header.stamp.nanosec = stamp_s, 0
        seen_before = len(camera.seen)
        camera.send(message)
        ros.spin_until(lambda seen_before=seen_before: len(camera.seen) > seen_before, 10)
        assert camera.seen[-1].header == message.header
        assert len(camera.seen[-1].meshes) == 1
    ros.spin_until(lambda: statuses and statuses[-1]['meshes_published'] == str(1 + len(stamps_s)))
    assert statuses[-1]['frames_failed'] == '0'
    assert node.stop() == 0
    assert 'Traceback' not in node.output


def _in_namespace(ros: RosTest, weights: Path, name: str) -> Process:
    return ros.start(
        '-m',
        'decomr_ros.decomr_node',
        '--ros-args',
        '-r',
        f'__ns:=/{name}',
        '-p',
        f'weights:={weights}',
        '-p',
        'runtime:=openvino',
        '-p',
        'threads:=1',
        '-p',
        'detector:=whole-frame',
    )


def test_two_nodes_in_two_namespaces_do_not_mix(ros: RosTest, weights: Path) -> None:
    names = ('left', 'right')
    nodes = [_in_namespace(ros, weights, name) for name in names]
    seen: dict[str, list[HumanMeshArray]] = {name: [] for name in names}
    publishers = {}
    for name in names:
        publishers[name] = (
            ros.node.create_publisher(Image, f'{name}/image', 5),
            ros.node.create_publisher(CameraInfo, f'{name}/camera_info', 5),
        )
        ros.node.create_subscription(HumanMeshArray, f'{name}/human_meshes', seen[name].append, 10)
    ros.spin_until(
        lambda: all(is_heard(ros, publisher) for pair in publishers.values() for publisher in pair)
    )
    camera = Camera(ros)
    for number in range(1, 5):
        for name in names:
            header = camera.header()
            header.frame_id = f'{name}_camera'
            images, infos = publishers[name]
            infos.publish(camera_info_message(header, intrinsics_from_fov(64, 48, 60), 64, 48))
            images.publish(image_message(header, np.full((48, 64, 3), 90, np.uint8), 'rgb8'))
        ros.spin_until(
            lambda number=number: all(len(messages) == number for messages in seen.values())
        )
    # Each publisher has met its own node alone, once those have made one subscription of two.
    ros.spin_until(
        lambda: all(
            publisher.get_subscription_count() == 1
            for pair in publishers.values()
            for publisher in pair
        )
    )
    for name in names:
        assert {message.header.frame_id for message in seen[name]} == {f'{name}_camera'}
        assert len({message.meshes[0].id for message in seen[name]}) == 1
    assert not camera.seen  # nothing outside of the namespaces
    assert [node.stop() for node in nodes] == [0, 0]


def _resources(process: Process) -> tuple[float, int, int]:
    """Resident memory in MiB, threads, open files."""
    folder = Path(f'/proc/{process.process.pid}')
    values = dict(line.split(':', 1) for line in (folder / 'status').read_text().splitlines())
    return (
        int(values['VmRSS'].split()[0]) / 1024,
        int(values['Threads']),
        len(list((folder / 'fd').iterdir())),
    )


@pytest.mark.full_size
def test_50_activations_leave_no_thread_subscription_file_or_memory(
    ros: RosTest, weights: Path
) -> None:
    node = start_node(ros, weights)
    remote = Lifecycle(ros)
    ros.spin_until(lambda: remote.state() == State.PRIMARY_STATE_ACTIVE)
    camera = Camera(ros)
    camera.wait()

    def cycle() -> None:
        assert remote.change(DEACTIVATE), node.output
        assert remote.change(ACTIVATE), node.output

    def settle() -> tuple[float, int, int]:
        # The camera must not take the subscriptions of before for the new ones.
        assert remote.change(DEACTIVATE), node.output
        ros.spin_until(lambda: ros.node.count_subscribers('/image') == 0)
        assert remote.change(ACTIVATE), node.output
        camera.wait()
        camera.show(48, 64)
        ros.spin(0.3)  # what it does when the meshes are out; nothing tells of its end
        return _resources(node)

    before = settle()
    for _ in range(50):
        cycle()
    after = settle()
    assert after[0] - before[0] < 12  # MiB; one image path kept 50 times would be more
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] + 2
    for topic in ('/image', '/camera_info'):
        assert ros.node.count_subscribers(topic) == 1
    assert remote.change(DEACTIVATE)
    ros.spin_until(lambda: ros.node.count_subscribers('/image') == 0)
    assert node.stop() == 0


def _segments(pid: int) -> set[Path]:
    """The shared memory of Fast DDS that a process uses, 67 MiB for each that sends."""
    maps = Path(f'/proc/{pid}/maps').read_text()
    return {Path(found) for found in re.findall(r'/dev/shm/fastrtps_[0-9a-f]{16}$', maps, re.M)}


def test_a_node_that_ends_frees_its_shared_memory(ros: RosTest, weights: Path) -> None:
    of_this_process = _segments(os.getpid())
    node = start_node(ros, weights)
    node.wait_for('active')
    own = _segments(node.process.pid) - of_this_process
    assert own
    assert node.stop() == 0
    assert [path for path in own if path.exists()] == []


def test_sigint_in_the_middle_of_work_ends_with_code_0_within_2_s(
    ros: RosTest, weights: Path, image_folder: Path
) -> None:
    node = start_node(ros, weights)
    meshes: list[HumanMeshArray] = []
    ros.node.create_subscription(HumanMeshArray, 'human_meshes', meshes.append, 10)
    source = ros.start(
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--rate',
        30,
        '--loop',
        '--wait-for-subscriber',
    )
    ros.spin_until(lambda: len(meshes) >= 3)
    started = time.monotonic()
    node.process.send_signal(signal.SIGINT)
    source.process.send_signal(signal.SIGSTOP)  # the machine is the node's alone
    assert node.process.wait(10) == 0
    assert time.monotonic() - started < 2
    assert 'Traceback' not in node.output
    source.process.send_signal(signal.SIGCONT)


@pytest.mark.full_size
def test_a_bag_killed_while_recording_opens_up_to_a_second_before(
    ros: RosTest, weights: Path, image_folder: Path
) -> None:
    bag = ros.folder / 'bag'
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', bag)
    recorder.wait_for('recording')
    start_node(ros, weights)
    heard: list[tuple[float, int]] = []
    ros.node.create_subscription(
        HumanMeshArray,
        'human_meshes',
        lambda message: heard.append(
            (time.monotonic(), message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
        ),
        10,
    )
    ros.start(
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--rate',
        10,
        '--loop',
        '--wait-for-subscriber',
    )
    ros.spin_until(lambda: READY in recorder.output)  # it has met the node
    ready = time.monotonic()
    ros.spin_until(lambda: sum(ready < at < time.monotonic() - 1.2 for at, _ in heard) >= 8)
    killed = time.monotonic()
    recorder.stop(signal.SIGKILL)
    with Reader(bag) as reader:
        connections = [
            connection for connection in reader.connections if connection.topic == '/human_meshes'
        ]
        # The stamp of a serialised message that begins with a header.
        kept = {
            int.from_bytes(data[4:8], 'little') * 10**9 + int.from_bytes(data[8:12], 'little')
            for _, _, data in reader.messages(connections=connections)
        }
    # The recorder may have met the node after its first messages.
    due = [stamp for at, stamp in heard if stamp >= min(kept) and at < killed - 1.0]
    assert len(due) >= 5
    assert set(due) <= kept
