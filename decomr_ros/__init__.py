"""The ROS 2 side: the only folder that imports rclpy or messages."""

from __future__ import annotations

import sys

from decomr_ros.memory import keep_freed_memory

# `python -m decomr_ros.decomr_node` comes by here before the node imports anything: later it would
# be too late, since NumPy starts a thread when it is imported.
if sys.argv[:1] == ['-m']:
    keep_freed_memory()
