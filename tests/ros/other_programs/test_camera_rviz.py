"""RViz in the frame of the camera; a fake RViz prints how it was started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from decomr.msg import HumanMeshArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from decomr_ros import camera_rviz
from tests.ros.conftest import Process, RosTest

CARELESS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RVIZ = f"""#!{sys.executable}
import os, signal, sys
print('rviz2 of process', os.getpid(), sys.argv[1:], flush=True)
signal.pause()
"""


@pytest.fixture
def rviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for RViz on the PATH."""
    path = tmp_path / 'bin' / 'rviz2'
    path.parent.mkdir()
    path.write_text(RVIZ)
    path.chmod(0o755)
    monkeypatch.setenv('PATH', f'{path.parent}{os.pathsep}{os.environ["PATH"]}')


def _start(ros: RosTest, *words: str) -> Process:
    return ros.start('-m', 'decomr_ros.camera_rviz', *words)


@pytest.mark.parametrize(
    ('type_', 'topic'),
    [
        (CameraInfo, '/front/camera_info'),
        (Image, '/front/image'),
        (HumanMeshArray, '/robot/human_meshes'),
    ],
)
def test_the_first_message_of_the_camera_names_the_fixed_frame(
    ros: RosTest, rviz: None, type_: type, topic: str
) -> None:
    words = [
        '-d',
        'a.rviz',
        '--ros-args',
        '-r',
        '__ns:=/robot',
        '-r',
        'image:=/front/image',
        '-r',
        '__node:=rviz',
    ]
    process = _start(ros, *words)
    publisher = ros.node.create_publisher(type_, topic, CARELESS)

    def has_started() -> bool:
        publisher.publish(type_(header=Header(frame_id='head_optical')))
        return 'rviz2 of process' in process.output

    ros.spin_until(has_started)
    expected = ['--fixed-frame', 'head_optical', *words]
    assert f'rviz2 of process {process.process.pid} {expected}' in process.output


def test_a_camera_without_a_frame_is_reported_and_awaited(ros: RosTest, rviz: None) -> None:
    process = _start(ros)
    publisher = ros.node.create_publisher(CameraInfo, 'camera_info', CARELESS)

    def publish(frame_id: str, text: str) -> bool:
        publisher.publish(CameraInfo(header=Header(frame_id=frame_id)))
        return text in process.output

    ros.spin_until(lambda: publish('', 'empty frame_id'))
    assert process.process.poll() is None
    ros.spin_until(lambda: publish('camera', "['--fixed-frame', 'camera']"))


def test_the_awaited_topics_are_logged_and_a_signal_ends_the_wait(
    ros: RosTest, rviz: None
) -> None:
    program = (
        'from decomr_ros import camera_rviz as it; it.LOG_AFTER_S = 0.01; '
        'raise SystemExit(it.main())'
    )
    process = ros.start('-c', program, '--ros-args', '-r', 'image:=/front/image')
    process.wait_for('waiting for one of /front/camera_info, /human_meshes, /front/image')
    assert 'fixed_frame:=FRAME' in process.output
    assert process.stop() == 0, process.output
    assert 'rviz2 of process' not in process.output


def test_without_rviz_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('PATH', '/nowhere')
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    assert camera_rviz.main([]) == 2
    error = capsys.readouterr().err
    assert 'sudo apt install ros-jazzy-rviz2' in error
    assert error.count('\n') == 1
