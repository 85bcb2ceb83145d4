"""The node in its own process, used over ROS 2 like by any other program."""

from __future__ import annotations

import array
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from decomr.msg import HumanMeshArray, MeshTopology
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from decomr_ros.messages.images import image_message
from decomr_ros.messages.meshes import human_meshes_from_message
from tests.ros.conftest import RosTest
from tests.ros.node_client import FRAME, Camera, Lifecycle, start_node

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_a_video_becomes_meshes_with_its_stamps_and_frame(
    ros: RosTest, weights: Path, image_folder: Path
) -> None:
    meshes, iuvs, topologies, markers = [], [], [], []
    ros.node.create_subscription(HumanMeshArray, 'human_meshes', meshes.append, 30)
    ros.node.create_subscription(Image, 'iuv', iuvs.append, 30)
    ros.node.create_subscription(MeshTopology, 'topology', topologies.append, LATCHED)
    ros.node.create_subscription(MarkerArray, 'markers', markers.append, 30, raw=True)
    node = start_node(ros, weights, runtime='torch')
    ros.spin_until(lambda: topologies)  # all publishers and subscriptions have met
    source = ros.start(
        '-m',
        'decomr_ros.video_source',
        image_folder,
        '--rate',
        10,
        '--loop',
        '--seconds',
        1.5,
        '--frame-id',
        FRAME,
        '--stamps',
        ros.folder / 'stamps',
        '--wait-for-subscriber',
    )
    ros.spin_until(lambda: source.process.poll() is not None, 60)
    assert source.process.returncode == 0, source.output
    assert node.stop() == 0, node.output
    received, made = re.search(
        r'(\d+) images received.* (\d+) mesh messages published', node.output
    ).groups()
    # The last markers, which are checked below, hold no points: few bytes.
    ros.spin_until(lambda: len(meshes) == int(made) and len(markers[-1]) < 10_000)

    published = json.loads(source.output.splitlines()[-1])['frames_published']
    stamps = [int(line.split(',')[1]) for line in (ros.folder / 'stamps').read_text().splitlines()]
    assert published == len(stamps) >= 10
    (topology,) = topologies
    num_vertices, num_joints = topology.num_vertices, len(topology.joint_names)
    assert max(topology.faces) == num_vertices - 1
    assert int(received) >= 0.95 * published
    assert len(meshes) >= published / 3  # a machine that does other things may skip some
    is_calibrated = False
    for message in meshes:
        assert message.header.frame_id == FRAME
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec in stamps
        assert message.topology_hash == topology.hash
        (person,) = human_meshes_from_message(message)
        # The first images may be taken before the first calibration.
        is_calibrated = is_calibrated or person.is_metric
        assert person.is_metric == is_calibrated
        assert person.vertices.shape == (num_vertices, 3)
        assert person.joints.shape == (num_joints, 3)
        assert person.visibility.shape == (num_vertices,)
        assert np.isfinite(person.vertices).all()
        assert np.isfinite(person.joints).all()
        assert person.translation[2] > 0 or not person.is_metric
    assert is_calibrated
    assert len({message.meshes[0].id for message in meshes}) == 1
    sent = [message.header for message in meshes]
    for image in iuvs:
        assert image.header in sent
        assert (image.height, image.width, image.encoding) == (120, 160, 'rgb8')
    assert len(iuvs) >= 0.8 * len(meshes)
    shown, cleared = (deserialize_message(data, MarkerArray).markers[0] for data in markers[-2:])
    assert shown.action == Marker.ADD
    assert len(shown.points) == len(topology.faces)
    assert cleared.action == Marker.DELETE  # when the node ended


def test_failed_transitions_report_the_reason_and_can_be_repeated(
    ros: RosTest, weights: Path
) -> None:
    truncated = ros.folder / 'truncated.safetensors'
    truncated.write_bytes(weights.read_bytes()[:5000])
    node = start_node(ros, ros.folder / 'missing.safetensors', autostart='false')
    remote = Lifecycle(ros)
    assert not remote.change(Transition.TRANSITION_CONFIGURE)
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED
    node.wait_for('configure failed: no weights at')
    remote.set_parameter('weights', truncated)
    assert not remote.change(Transition.TRANSITION_CONFIGURE)
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert 'truncated.safetensors' in node.output.splitlines()[-1]
    assert 'Traceback' not in node.output
    assert not remote.change(Transition.TRANSITION_ACTIVATE)  # not from here
    remote.set_parameter('weights', weights)
    for _ in range(2):
        assert remote.change(Transition.TRANSITION_CONFIGURE), node.output
        assert remote.change(Transition.TRANSITION_ACTIVATE), node.output
        assert remote.state() == State.PRIMARY_STATE_ACTIVE
        camera = Camera(ros)
        camera.wait()
        assert camera.show_until_placed(48, 64).meshes
        assert remote.change(Transition.TRANSITION_DEACTIVATE)
        # The next camera must not take these subscriptions for the new ones.
        ros.spin_until(lambda: ros.node.count_subscribers('/image') == 0)
        assert remote.change(Transition.TRANSITION_CLEANUP)
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert remote.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert remote.state() == State.PRIMARY_STATE_FINALIZED
    assert node.stop() == 0


def test_bad_images_are_counted_and_the_next_ones_processed(ros: RosTest, weights: Path) -> None:
    statuses: list[dict[str, str]] = []
    ros.node.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda message: statuses.append(
            {value.key: value.value for value in message.status[0].values}
        ),
        10,
    )
    node = start_node(ros, weights)
    camera = Camera(ros)
    camera.wait()
    good = np.full((48, 64, 3), 90, np.uint8)

    # No calibration at all, then one that says so: relative meshes, said once each.
    first_s, count = time.monotonic(), 0
    while count < 2 or 'no camera_info' not in node.output:
        assert time.monotonic() - first_s < 60, node.output
        count += 1
        header = camera.header()
        camera.send(image_message(header, good, 'bgr8'))
        (person,) = human_meshes_from_message(camera.answer(header))
        assert not person.is_metric
        assert not person.translation.any()
    assert time.monotonic() - first_s >= 2  # a calibration may come a moment later
    assert node.output.count('no camera_info') == 1

    # The size changes in the middle of the stream, down to one pixel, with step padding.
    assert camera.show_until_placed(48, 64).meshes
    assert camera.show_until_placed(200, 100).meshes
    assert camera.show(1, 1).header.frame_id == FRAME
    padded = image_message(camera.header(), np.zeros((48, 70, 3), np.uint8), 'rgb8')
    padded.width = 64
    camera.send(padded)
    camera.answer(padded.header)

    # What cannot be read is counted; the next good one is answered.
    unknown = image_message(camera.header(), good, 'rgb8')
    unknown.encoding = 'rgb16'
    short = image_message(camera.header(), good, 'rgb8')
    short.data = array.array('B', bytes(100))
    for number, message in enumerate((unknown, short), 1):
        camera.send(message)
        ros.spin_until(
            lambda number=number: statuses and statuses[-1]['frames_failed'] == str(number)
        )
    assert 'rgb16' in node.output
    before = camera.show(48, 64).meshes[0].id

    # Time jumps back, as in a bag that starts again: the tracks start anew.
    assert camera.show(48, 64).meshes[0].id == before
    assert camera.show(48, 64, step_s=-500).meshes[0].id != before

    started = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - started < 5
    assert 'Traceback' not in node.output


def test_no_people_give_empty_messages_and_cleared_markers(ros: RosTest, weights: Path) -> None:
    markers: list[MarkerArray] = []
    ros.node.create_subscription(MarkerArray, 'markers', markers.append, 10)
    start_node(ros, weights, detector='person')
    camera = Camera(ros)
    camera.wait()
    for _ in range(5):  # what the detector sees comes some images later
        assert camera.show(240, 320).meshes == []
    ros.spin_until(lambda: markers)
    assert markers[-1].markers == []


def test_an_autostart_that_fails_may_end_the_process_with_code_1(ros: RosTest) -> None:
    node = start_node(ros, ros.folder / 'missing.safetensors', exit_on_failed_autostart='true')
    assert node.process.wait(30) == 1
    assert 'no weights at' in node.output
    assert 'Traceback' not in node.output


@pytest.mark.parametrize(('name', 'value'), [('detector_stride', 0), ('threads', 'many')])
def test_a_parameter_out_of_range_is_a_one_line_error_with_exit_code_2(
    ros: RosTest, name: str, value: object
) -> None:
    node = start_node(ros, Path('rt'), **{name: value})
    assert node.process.wait(30) == 2
    assert name in node.output
    assert node.output.count('\n') == 1
