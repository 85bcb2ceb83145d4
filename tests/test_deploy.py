"""The files for containers and services name existing files and required packages."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / 'deploy'
# Where the images and the unit expect the checkout.
INSTALLED = '/opt/decomr'
# Of the packages that package.xml names, what ros:jazzy-ros-base holds.
OF_ROS_BASE = {
    'ament_index_python',
    'builtin_interfaces',
    'diagnostic_msgs',
    'geometry_msgs',
    'launch',
    'launch_ros',
    'lifecycle_msgs',
    'rcl_interfaces',
    'rclpy',
    'rosidl_default_runtime',
    'sensor_msgs',
    'std_msgs',
}
# Programs with a window, which a container does not start.
OF_DESKTOPS = {'rviz2'}


def readme_packages() -> set[str]:
    """The packages of the README's own apt-get line."""
    line = re.search(r'^ *sudo apt-get install (.+)$', (ROOT / 'README.md').read_text(), re.M)
    assert line, 'README.md has no apt-get line'
    return set(line[1].split())


def apt_packages(dockerfile: str) -> set[str]:
    text = (DEPLOY / dockerfile).read_text().replace('\\\n', ' ')
    return {
        word
        for line in re.findall(r'apt-get install (.*?)&&', text)
        for word in line.split()
        if not word.startswith('-')
    }


def commands() -> dict[str, list[str]]:
    """The command lines that containers and the unit run, without scripts/with-env."""
    services = yaml.safe_load((DEPLOY / 'compose.yaml').read_text())['services']
    lines = {
        f'compose {name}': shlex.split(service['command']) for name, service in services.items()
    }
    unit = (DEPLOY / 'decomr.service').read_text()
    start = re.search(r'^ExecStart=(.+)$', unit, re.M)[1].split()
    assert start[0] == f'{INSTALLED}/scripts/with-env'
    lines['unit'] = start[1:]
    for name in ('Dockerfile', 'Dockerfile.debian'):
        lines[name] = yaml.safe_load(
            re.search(r'^CMD (\[.+\])$', (DEPLOY / name).read_text(), re.M)[1]
        )
    return lines


def test_the_readme_names_every_package_that_the_setup_asks_for() -> None:
    setup = (ROOT / 'scripts' / 'setup').read_text()
    tools = re.search(r'packages = \{(.+?)\}', setup)[1]
    parts = re.search(r'PYTHON_PARTS = \{.*?\n(.+?)^\}', setup, re.M | re.S)[1]
    wanted = set(re.findall(r": '([\w+-]+)'", tools)) | set(
        re.findall(r"^ *'([\w+-]+)':", parts, re.M)
    )
    assert wanted >= {'g++', 'cmake', 'make', 'python3-venv', 'python3-dev'}
    assert wanted <= readme_packages()


def test_both_images_have_the_packages_of_the_readme() -> None:
    for dockerfile in ('Dockerfile', 'Dockerfile.debian'):
        assert readme_packages() <= apt_packages(dockerfile)


def test_the_ros_image_has_the_ros_packages_that_the_node_uses() -> None:
    package = ElementTree.parse(ROOT / 'package.xml')
    depends = {
        element.text for name in ('depend', 'exec_depend') for element in package.iter(name)
    }
    ros = {name for name in depends if '-' not in name} - OF_ROS_BASE - OF_DESKTOPS
    assert ros, 'package.xml names no ROS package beyond the base'
    assert {f'ros-jazzy-{name.replace("_", "-")}' for name in ros} <= apt_packages('Dockerfile')


@pytest.mark.parametrize('name', list(commands()))
def test_a_command_runs_a_module_with_options_that_it_has(name: str) -> None:
    words = commands()[name]
    own = words[: words.index('--ros-args')] if '--ros-args' in words else words
    if own[:2] == ['ros2', 'launch']:
        assert (ROOT / 'launch' / own[3]).is_file()
        arguments = (ROOT / 'launch' / own[3]).read_text()
        assert all(f"'{word.partition(':=')[0]}'" in arguments for word in own[4:])
        return
    program = own[:3] if own[0] == 'python' else own[:2]
    given = [word for word in own[len(program) :] if word.startswith('--')]
    shown = subprocess.run(
        [*program, '--help'], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert all(option in shown for option in given)


@pytest.mark.parametrize('name', list(commands()))
def test_files_that_a_command_names_are_in_the_checkout(name: str) -> None:
    for word in commands()[name]:
        if word.startswith(INSTALLED):
            assert (ROOT / word.removeprefix(INSTALLED).lstrip('/')).is_file()


def test_containers_share_network_memory_and_domain() -> None:
    services = yaml.safe_load((DEPLOY / 'compose.yaml').read_text())['services']
    for service in services.values():
        assert (service['network_mode'], service['ipc']) == ('host', 'host')
        assert 'ROS_DOMAIN_ID' in service['environment']
        assert service['stop_signal'] == 'SIGINT'


@pytest.mark.skipif(not shutil.which('systemd-analyze'), reason='there is no systemd-analyze')
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    here = (DEPLOY / 'decomr.service').read_text().replace(INSTALLED, str(ROOT))
    unit = tmp_path / 'decomr.service'
    unit.write_text(here)
    done = subprocess.run(
        ['systemd-analyze', 'verify', str(unit)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert 'Unknown' not in done.stderr
