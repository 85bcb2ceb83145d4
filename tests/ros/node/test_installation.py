"""Advice fits the installation: packages of a sourced ROS 2, or its wheels."""

from __future__ import annotations

import shutil

import pytest

from decomr_ros.node.installation import WHEELS_VARIABLE, install_hint, with_ros2_command
from tests.test_import_rule import ROOT


def test_a_package_is_installed_by_apt_where_ros_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    monkeypatch.delenv(WHEELS_VARIABLE, raising=False)
    assert install_hint('tf2_msgs') == 'sudo apt install ros-humble-tf2-msgs'


def test_with_the_wheels_a_package_needs_a_ros_installation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setenv(WHEELS_VARIABLE, '1')
    hint = install_hint('vision_msgs')
    assert hint.startswith('the ROS 2 wheels do not contain it: install ROS 2 itself')
    assert 'sudo apt install ros-jazzy-vision-msgs' in hint and 'make setup' in hint


def test_with_env_and_the_advice_know_the_wheels_by_the_same_variable() -> None:
    assert f'{WHEELS_VARIABLE}=1' in (ROOT / 'scripts/with-env').read_text()


@pytest.mark.parametrize('place', ['/opt/ros/jazzy/bin/ros2', None])
def test_the_ros2_command_is_named_only_if_it_exists(
    monkeypatch: pytest.MonkeyPatch, place: str | None
) -> None:
    monkeypatch.setattr(shutil, 'which', lambda name: place)
    said = with_ros2_command('ros2 lifecycle set /decomr cleanup', 'the service')
    assert said == ('ros2 lifecycle set /decomr cleanup' if place else 'the service')
