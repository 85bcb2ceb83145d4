from __future__ import annotations

import subprocess
import sys

import pytest

# Page faults while the buffers of 50 images come and go.
PROGRAM = """
import resource
from decomr_ros.memory import keep_freed_memory
if {is_kept}:
    assert keep_freed_memory()
def image():
    return [b'x' * 2764800 for _ in range(4)]  # as DDS, rcl and rclpy have it
image()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    image()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc is asked')
def test_the_memory_of_an_image_is_there_for_the_next_one() -> None:
    faults = {is_kept: int(subprocess.run(
        [sys.executable, '-c', PROGRAM.format(is_kept=is_kept)], check=True,
        capture_output=True, text=True, timeout=60).stdout) for is_kept in (False, True)}
    assert faults[True] < 5000  # 4 x 675 pages, once
    assert faults[True] < faults[False] / 5
