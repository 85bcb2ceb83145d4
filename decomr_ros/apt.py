"""How a ROS package that is not there is installed: part of what is said where one is missing."""

from __future__ import annotations

import os

__all__ = ['apt_command']


def apt_command(package: str) -> str:
    """The command that installs a package of the ROS distribution in use, e.g. tf2_msgs."""
    distribution = os.environ.get('ROS_DISTRO', 'jazzy')
    return f'sudo apt install ros-{distribution}-{package.replace("_", "-")}'
