"""What fits this installation of ROS 2, for advice: its wheels know neither apt nor `ros2`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ['fast_dds_profile', 'install_hint', 'with_ros2_command']

# Set by the wheels' own start-up and by scripts/with-env; an installed ROS 2 does not have it.
WHEELS_VARIABLE = '_ROS_WHEELS_BOOTSTRAP_COMPLETE'


def install_hint(package: str) -> str:
    """How to get a package of the ROS distribution in use, e.g. tf2_msgs."""
    distribution = os.environ.get('ROS_DISTRO', 'jazzy')
    command = f'sudo apt install ros-{distribution}-{package.replace("_", "-")}'
    if os.environ.get(WHEELS_VARIABLE):
        return (f'the wheels of ROS 2 do not bring it: install ROS 2 itself, {command}, source it '
                'and run make setup again')
    return command


def with_ros2_command(command: str, otherwise: str) -> str:
    """The command, or what does the same where there is no `ros2`."""
    return command if shutil.which('ros2') else otherwise


def fast_dds_profile() -> Path:
    """Our Fast DDS profile for large messages: of this checkout, else of the installed package."""
    profile = Path(__file__).resolve().parents[2] / 'config' / 'fastdds.xml'
    if not profile.exists():
        from ament_index_python.packages import get_package_share_directory

        profile = Path(get_package_share_directory('decomr')) / 'config' / 'fastdds.xml'
    return profile
