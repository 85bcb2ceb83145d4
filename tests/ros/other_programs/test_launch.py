"""The launch files, where ROS 2's launch is installed (it is not among the pip wheels)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

REASON = 'launch and launch_ros are part of a ROS 2 installation, not of the pip wheels'
launch = pytest.importorskip('launch', reason=REASON)
pytest.importorskip('launch_ros', reason=REASON)

from launch.utilities import perform_substitutions  # noqa: E402

FOLDER = Path(__file__).resolve().parents[3] / 'launch'
LAUNCH_TEST = Path(__file__).parents[1] / 'launch_test_video.py'


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f'decomr_{name}', FOLDER / f'{name}.launch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def file() -> ModuleType:
    return _module('decomr')


def _nodes(file: ModuleType, **arguments: str) -> list[Any]:
    context = launch.LaunchContext()
    context.launch_configurations.update(
        {name: default for name, default, _ in file.ARGUMENTS} | arguments
    )
    return file._nodes(context)


def _executables(file: ModuleType, **arguments: str) -> list[str]:
    return [node.node_executable for node in _nodes(file, **arguments)]


def _command(action: Any) -> list[str]:
    return [perform_substitutions(launch.LaunchContext(), part) for part in action.cmd]


def test_every_argument_is_declared_with_its_meaning(file: ModuleType) -> None:
    declared = {
        argument.name: argument.description
        for argument in file.generate_launch_description().get_launch_arguments()
    }
    assert set(declared) == {name for name, _, _ in file.ARGUMENTS}
    assert all(declared.values())


def test_the_page_has_every_argument(file: ModuleType) -> None:
    page = (FOLDER.parent / 'docs' / 'launch.md').read_text()
    assert [name for name, _, _ in file.ARGUMENTS if f'| `{name}` |' not in page] == []


def test_rviz_recorder_and_video_start_only_on_request(file: ModuleType) -> None:
    assert _executables(file) == ['decomr_node']
    assert _executables(file, rviz='true', record='bag', video='a.mp4') == [
        'video_source',
        'decomr_node',
        'recorder',
        'camera_rviz',
    ]
    assert _executables(file, rviz='false', record='false') == ['decomr_node']


@pytest.mark.parametrize(
    ('image', 'camera_info'),
    [
        ('/camera/image_raw', '/camera/camera_info'),
        ('image', 'camera_info'),
        ('/image', '/camera_info'),
        ('left/image_rect', 'left/camera_info'),
    ],
)
def test_camera_info_is_expected_beside_the_image(
    file: ModuleType, image: str, camera_info: str
) -> None:
    assert file.camera_info_beside(image) == camera_info


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'camera': 'usb_cam'}, 'sudo apt-get install ros-$ROS_DISTRO-usb-cam'),
        ({'camera': 'realsense'}, 'sudo apt-get install ros-$ROS_DISTRO-realsense2-camera'),
        ({'camera': 'webcam'}, 'expected usb_cam, v4l2, realsense or none'),
        ({'camera': 'v4l2', 'video': 'a.mp4'}, 'not both'),
        ({'rviz': 'maybe'}, 'expected true or false'),
        ({'record': 'true', 'record_max_error_mm': 'none'}, 'expected a number, 0 or above'),
        ({'parameters': 'stride 5'}, 'expected a YAML mapping'),
    ],
)
def test_a_user_error_is_reported_with_the_remedy(
    file: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, str], said: str
) -> None:
    _without_packages(file, monkeypatch)
    with pytest.raises(RuntimeError) as caught:
        _nodes(file, **arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ('camera', 'image', 'expected'),
    [
        (
            'usb_cam',
            'image_raw',
            {
                'video_device': '/dev/video0',
                'image_width': 640,
                'image_height': 480,
                'framerate': 30.0,
                'frame_id': 'camera_color_optical_frame',
            },
        ),
        (
            'v4l2',
            'image_raw',
            {
                'video_device': '/dev/video0',
                'image_size': [640, 480],
                'camera_frame_id': 'camera_color_optical_frame',
                'output_encoding': 'rgb8',
            },
        ),
        (
            'realsense',
            'camera/color/image_raw',
            {'rgb_camera.color_profile': '640x480x30', 'enable_depth': False},
        ),
    ],
)
def test_a_driver_is_started_with_its_own_parameters(
    file: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    camera: str,
    image: str,
    expected: dict[str, Any],
) -> None:
    monkeypatch.setattr(file, 'get_package_share_directory', lambda package: '/somewhere')
    assert _executables(file, camera=camera) == [file.DRIVERS[camera].executable, 'decomr_node']
    given = {name: default for name, default, _ in file.ARGUMENTS} | {'camera': camera}
    assert file._source(given)[0] == image
    assert file._driver_parameters(given) == expected
    assert file._remappings(given | {'image': '/front/image'}, image) == [
        (image, '/front/image'),
        (file.camera_info_beside(image), '/front/camera_info'),
    ]


def test_boxes_of_another_detector_are_remapped_and_used(file: ModuleType) -> None:
    assert file._boxes({'boxes': ''}) == ({}, [])
    assert file._boxes({'boxes': '/yolo/detections'}) == (
        {'use_boxes': True},
        [('boxes', '/yolo/detections')],
    )
    assert _executables(file, boxes='/yolo/detections') == ['decomr_node']


def test_rosbag2_records_exact_meshes_where_it_is_installed(
    file: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, '_has_rosbag2', lambda: True)
    assert _executables(file, record='folder') == ['decomr_node', 'recorder']
    actions = _nodes(
        file,
        record='true',
        record_max_error_mm='0',
        record_also='iuv, image/compressed',
        image='/camera/image_raw',
        namespace='robot',
        use_sim_time='true',
    )
    command = _command(actions[-1])
    assert command[:5] == ['ros2', 'bag', 'record', '-s', 'mcap']
    assert command[command.index('-o') + 1].startswith('decomr_robot_20')
    assert command[command.index('--regex') + 1] == (
        '^(/robot/human_meshes|/robot/topology|/camera/camera_info|/robot/iuv|'
        '/camera/image_raw/compressed|/diagnostics)$'
    )
    assert '--use-sim-time' in command
    quality = Path(command[command.index('--qos-profile-overrides-path') + 1])
    profiles = yaml.safe_load(quality.read_text())
    quality.unlink()
    assert set(profiles) == {'/robot/human_meshes', '/robot/topology', '/camera/camera_info'}
    assert profiles['/robot/topology']['durability'] == 'transient_local'
    assert profiles['/camera/camera_info']['reliability'] == 'best_effort'


def test_without_rosbag2_the_recorder_of_the_package_records(
    file: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_packages(file, monkeypatch)
    for error_mm in ('0', '0.5'):
        *_, recorder = _nodes(file, record='folder', record_max_error_mm=error_mm)
        assert recorder.node_executable == 'recorder'


def test_two_cameras_need_two_namespaces() -> None:
    file = _module('two_cameras')
    context = launch.LaunchContext()
    for argument in file.generate_launch_description().get_launch_arguments():
        argument.execute(context)
    assert len(file._cameras(context)) == 2
    context.launch_configurations['right_namespace'] = '/left'
    with pytest.raises(RuntimeError, match='need two different ones'):
        file._cameras(context)


def test_a_bag_is_played_in_its_own_time_without_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _module('bag')
    context = launch.LaunchContext()
    context.launch_configurations.update(
        bag=str(tmp_path), rate='0.5', start_delay='1', namespace='robot', markers='false'
    )
    monkeypatch.setattr(file.shutil, 'which', lambda name: f'/bin/{name}')
    timer, _ = file._playback(context)
    command = _command(timer.actions[0])
    assert command[:6] == ['ros2', 'bag', 'play', str(tmp_path), '--clock', '--rate']
    assert '/robot/human_meshes:=/recorded/robot/human_meshes' in command
    assert '/robot/overlay/compressed:=/recorded/robot/overlay/compressed' in command
    assert '/diagnostics:=/recorded/diagnostics' in command
    context.launch_configurations['bag'] = '/nowhere'
    with pytest.raises(RuntimeError, match='give bag:=FOLDER'):
        file._check(context)
    monkeypatch.setattr(file.shutil, 'which', lambda name: None)
    with pytest.raises(RuntimeError, match='sudo apt-get install'):
        file._check(context)


def test_the_meshes_of_a_bag_are_shown_without_a_network(file: ModuleType, tmp_path: Path) -> None:
    bag = _module('bag')
    context = launch.LaunchContext()
    context.launch_configurations.update(
        bag=str(tmp_path), rate='1.0', start_delay='1', namespace='robot', markers='true'
    )
    timer, _ = bag._playback(context)
    command = _command(timer.actions[0])
    assert command[command.index('--remap') + 1 :] == ['/robot/markers:=/recorded/robot/markers']
    assert _executables(file, markers='true', rviz='true') == ['markers_node', 'camera_rviz']
    declared = {
        argument.name for argument in bag.generate_launch_description().get_launch_arguments()
    }
    assert 'markers' in declared


def test_rviz_has_the_requested_frame_or_that_of_the_camera(file: ModuleType) -> None:
    def words(**arguments: str) -> tuple[str, list[str]]:
        """Executable and arguments of RViz."""
        node = _nodes(file, rviz='true', image='/front/image', **arguments)[-1]
        texts = (perform_substitutions(launch.LaunchContext(), part) for part in node.cmd[1:])
        return node.node_executable, list(iter(lambda: next(texts), '--ros-args'))

    executable, said = words()
    assert executable == 'camera_rviz'
    assert said[0] == '-d' and '--fixed-frame' not in said
    executable, said = words(fixed_frame='base_link')
    assert executable == 'rviz2'
    assert said[-2:] == ['--fixed-frame', 'base_link']


def test_a_launched_video_gives_meshes_and_everything_ends_cleanly() -> None:
    pytest.importorskip('launch_testing', reason=REASON)
    done = subprocess.run(
        [sys.executable, '-m', 'launch_testing.launch_test', str(LAUNCH_TEST)],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def _without_packages(file: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise file.PackageNotFoundError(package)

    monkeypatch.setattr(file, 'get_package_share_directory', missing)
