"""Parameter files that are for another node, which rclpy ignores silently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.programs.ros_arguments import ignored_files_text, is_remapped, section_fits
from tests.ros.conftest import RosTest
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode, values_of

ROOT = Path(__file__).resolve().parents[3]
SECTIONS = (
    '/**',
    '/**/decomr',
    'decomr',
    '/decomr',
    '/*',
    '/*/decomr',
    '/left/decomr',
    'left/decomr',
    '**',
    '**/decomr',
    '/left/*',
    '/left/**',
    '*',
    '/**/*',
    '/other',
    '/a/*/decomr',
    '/a/**/decomr',
)


def _file(folder: Path, section: str, text: str = 'max_people: 3') -> Path:
    path = folder / 'parameters.yaml'
    path.write_text(f'"{section}":\n  ros__parameters:\n    {text}\n')
    return path


@pytest.mark.parametrize(
    ('namespace', 'name'), [('', 'decomr'), ('', 'other'), ('/left', 'decomr'), ('/a/b', 'decomr')]
)
def test_a_section_fits_a_node_where_rclpy_takes_its_values(
    ros: RosTest, tmp_path: Path, namespace: str, name: str
) -> None:
    for section in SECTIONS:
        words = ['--ros-args', '--params-file', str(_file(tmp_path, section))]
        node = rclpy.create_node(name, namespace=namespace, context=ros.context, cli_args=words)
        has_values = 'max_people' in node._parameter_overrides
        own_name = node.get_fully_qualified_name()
        node.destroy_node()
        assert section_fits(section, own_name) == has_values, (section, own_name)
        assert (ignored_files_text(words, own_name) == '') == has_values, (section, own_name)


def test_the_text_names_the_file_its_sections_and_the_node(tmp_path: Path) -> None:
    path = tmp_path / 'two.yaml'
    path.write_text(
        'decomr:\n  ros__parameters: {max_people: 3}\n'
        'left:\n  camera:\n    ros__parameters: {fps: 30}\n'
    )
    words = ['program', '--ros-args', '-p', 'a:=1', '--params-file', str(path), '--', '-r', 'x']
    text = ignored_files_text(words, '/robot/decomr')
    assert str(path) in text
    assert 'sections for /decomr, /left/camera,' in text
    assert 'this node (/robot/decomr):' in text
    assert '/** for every node' in text
    assert ignored_files_text(words, '/left/camera') == ''
    assert ignored_files_text(['--params-file', str(path)], '/robot/decomr') == ''  # not ROS's
    assert ignored_files_text(['--ros-args', '-p', 'a:=1'], '/robot/decomr') == ''


def test_a_remapping_is_detected_in_the_arguments() -> None:
    words = [
        '--ros-args',
        '-r',
        'image:=/a',
        '--remap',
        'decomr:boxes:=/b',
        '--',
        '-r',
        'depth:=/c',
    ]
    assert is_remapped(words, 'decomr', 'image', '/image')
    assert is_remapped(words, 'decomr', 'boxes')
    assert not is_remapped(words, 'other', 'boxes')
    assert not is_remapped(words, 'decomr', 'depth')
    assert not is_remapped(['-r', 'image:=/a'], 'decomr', 'image')


def test_the_shipped_file_is_for_every_node() -> None:
    words = ['--ros-args', '--params-file', str(ROOT / 'config/node/decomr.yaml')]
    for name in ('/decomr', '/robot/decomr', '/meshes'):
        assert ignored_files_text(words, name) == ''


@pytest.fixture
def for_another_node(
    ros: RosTest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
) -> Iterator[InnerNode]:
    inner = InnerNode(
        ros,
        monkeypatch,
        Topology.from_body(tiny_body, tiny_uv_map),
        ('--params-file', str(_file(tmp_path, 'meshes'))),
    )
    yield inner
    inner.node.close()


def test_an_ignored_file_is_logged_once_and_a_warning_in_diagnostics(
    capfd: pytest.CaptureFixture[str], for_another_node: InnerNode
) -> None:
    status = for_another_node.status()
    assert status.level == DiagnosticStatus.STALE
    assert values_of(status)['warnings'] == '1'
    camera = for_another_node.activate()
    camera.show_until_placed(HEIGHT, WIDTH)
    status = for_another_node.status()
    assert status.level == DiagnosticStatus.WARN
    assert 'sections for /meshes, but none for this node (/decomr)' in status.message
    assert values_of(status)['warning_parameter_files'] in status.message
    assert capfd.readouterr().err.count('sections for /meshes') == 1
