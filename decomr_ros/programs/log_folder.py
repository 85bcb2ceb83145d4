"""A temporary folder for the log files of ROS 2 if the default one is not writable.

Otherwise `rclpy.init` fails. A service or a container often has no writable HOME.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from decomr_core.base.cache import is_writable

__all__ = ['ensure_log_folder']


def ensure_log_folder() -> None:
    """Sets ROS_LOG_DIR to a temporary folder if the log folder is not writable, with a message.

    Call it before `rclpy.init`.
    """
    usual = Path(
        os.environ.get('ROS_LOG_DIR')
        or Path(os.environ.get('ROS_HOME') or os.path.expanduser('~/.ros')) / 'log'
    )
    if is_writable(usual):
        return
    folder = tempfile.mkdtemp(prefix='decomr-log-')
    os.environ['ROS_LOG_DIR'] = folder
    sys.stderr.write(
        f'the log folder {usual} is not writable; log files are written to '
        f'{folder}; set ROS_LOG_DIR to a writable folder\n'
    )
