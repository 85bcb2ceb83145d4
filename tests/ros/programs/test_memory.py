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

# MiB that a process grows by while its threads, one after the other, hold 20 MiB for a moment.
THREADS = """
import sys
import threading
if {is_kept}:
    sys.argv = ['-m']  # as it is while `python -m` looks for the program
import decomr_ros
import numpy  # starts threads of its own
def resident_mib():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4 // 1024
last = []
def work():
    small = [bytearray(100_000) for _ in range(200)]  # below what comes from the system at once
    last.append(bytearray(1000))  # above them: glibc gives nothing of what is below it back
    del small
def run(count):
    # All of them live on, or the next one would inherit the store of the one before.
    done = threading.Event()
    for _ in range(count):
        finished = threading.Event()
        threading.Thread(target=lambda: (work(), finished.set(), done.wait()), daemon=True).start()
        finished.wait()
    done.set()
work()
before = resident_mib()
run(6)
print(resident_mib() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc is asked')
def test_the_memory_of_an_image_is_reused_for_the_next_one() -> None:
    faults = {
        is_kept: int(
            subprocess.run(
                [sys.executable, '-c', PROGRAM.format(is_kept=is_kept)],
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            ).stdout
        )
        for is_kept in (False, True)
    }
    assert faults[True] < 5000  # 4 x 675 pages, once
    assert faults[True] < faults[False] / 5


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc is asked')
def test_memory_freed_by_one_thread_is_reused_by_others() -> None:
    grown_mib = {
        is_kept: int(
            subprocess.run(
                [sys.executable, '-c', THREADS.format(is_kept=is_kept)],
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
            ).stdout
        )
        for is_kept in (False, True)
    }
    assert grown_mib[True] < 10
    assert grown_mib[True] < grown_mib[False] / 2
