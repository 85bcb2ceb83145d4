"""The ROS 2 part of decomr: the only package that imports rclpy or message types."""

from __future__ import annotations

import sys

from decomr_ros.memory import keep_freed_memory

# `python -m decomr_ros.decomr_node` imports this package before anything else. Later is too late,
# because NumPy starts a thread when it is imported.
if sys.argv[:1] == ['-m']:
    keep_freed_memory()
