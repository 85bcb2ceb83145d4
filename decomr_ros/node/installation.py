"""Advice that fits the installation of ROS 2: with the wheels there is no `ros2` command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ['fast_dds_profile', 'install_hint', 'with_ros2_command']

# Set by the wheels at import and by scripts/with-env, but not by an installed ROS 2.
WHEELS_VARIABLE = '_ROS_WHEELS_BOOTSTRAP_COMPLETE'


def install_hint(package: str) -> str:
    """How to install a package of the ROS distribution in use, e.g. tf2_msgs."""
    distribution = os.environ.get('ROS_DISTRO', 'jazzy')
    command = f'sudo apt install ros-{distribution}-{package.replace("_", "-")}'
    if os.environ.get(WHEELS_VARIABLE):
        return (
            f'the ROS 2 wheels do not contain it: install ROS 2 itself, run {command}, source '
            'ROS 2 and run make setup again'
        )
    return command


def with_ros2_command(command: str, otherwise: str) -> str:
    """The command, or the alternative if there is no `ros2`."""
    return command if shutil.which('ros2') else otherwise


def fast_dds_profile() -> Path:
    """The Fast DDS profile for large messages, in this checkout or the installed package."""
    profile = Path(__file__).resolve().parents[2] / 'config' / 'node' / 'fastdds.xml'
    if not profile.exists():
        from ament_index_python.packages import get_package_share_directory

        profile = Path(get_package_share_directory('decomr')) / 'config' / 'fastdds.xml'
    return profile
