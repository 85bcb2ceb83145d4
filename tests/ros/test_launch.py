"""The launch file, where ROS 2's launch is installed (it is not among the pip wheels)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

REASON = 'launch and launch_ros are part of a ROS 2 installation, not of the pip wheels'
launch = pytest.importorskip('launch', reason=REASON)
pytest.importorskip('launch_ros', reason=REASON)

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'decomr.launch.py'


@pytest.fixture(scope='module')
def file() -> ModuleType:
    spec = importlib.util.spec_from_file_location('decomr_launch', LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _executables(file: ModuleType, **arguments: str) -> list[str]:
    context = launch.LaunchContext()
    context.launch_configurations.update(
        {name: default for name, default, _ in file.ARGUMENTS} | arguments)
    return [node.node_executable for node in file._nodes(context)]


def test_every_argument_is_declared_with_its_meaning(file: ModuleType) -> None:
    declared = {argument.name: argument.description
                for argument in file.generate_launch_description().get_launch_arguments()}
    assert set(declared) == {'image', 'camera_info', 'namespace', 'params_file', 'model',
                             'runtime', 'reliability', 'rviz', 'record', 'use_sim_time'}
    assert all(declared.values())


def test_rviz_and_the_recorder_come_only_when_asked_for(file: ModuleType) -> None:
    assert _executables(file) == ['decomr_node']
    assert _executables(file, rviz='true', record='bag') == ['decomr_node', 'recorder', 'rviz2']


@pytest.mark.parametrize(('image', 'camera_info'), [
    ('/camera/image_raw', '/camera/camera_info'), ('image', 'camera_info'),
    ('/image', '/camera_info'), ('left/image_rect', 'left/camera_info')])
def test_camera_info_is_looked_for_beside_the_image(file: ModuleType, image: str,
                                                    camera_info: str) -> None:
    assert file._beside(image) == camera_info
