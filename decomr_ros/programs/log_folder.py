"""A folder for ROS 2's own log files where its usual one cannot be written.

Without one `rclpy.init` fails: a service or a container often has no HOME that can be written.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from decomr_core.base.cache import is_writable

__all__ = ['ensure_log_folder']


def ensure_log_folder() -> None:
    """Names a temporary folder in ROS_LOG_DIR if there is no other, and says so.

    To be called before `rclpy.init`.
    """
    usual = Path(os.environ.get('ROS_LOG_DIR') or Path(
        os.environ.get('ROS_HOME') or os.path.expanduser('~/.ros')) / 'log')
    if is_writable(usual):
        return
    folder = tempfile.mkdtemp(prefix='decomr-log-')
    os.environ['ROS_LOG_DIR'] = folder
    sys.stderr.write(f'the folder of the log files, {usual}, cannot be written; they go to '
                     f'{folder}; name a folder that can be written: ROS_LOG_DIR\n')
