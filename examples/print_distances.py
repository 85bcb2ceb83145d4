"""Prints how near people are to the robot: an example of a node that slows a robot down.

    scripts/with-env python examples/print_distances.py
    scripts/with-env python examples/print_distances.py --ros-args -r proximity:=/left/proximity

It takes everything unknown for near, and a missing message too. This is not a safety function.
Example output:

    0.84 m (0.61 to 1.02), 0.31 m/s nearer: #3, left_wrist, tool0 -> slow
"""

from __future__ import annotations

import math

import rclpy
from decomr.msg import Proximity, ProximityArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

SLOW_M, STOP_M = 1.5, 0.5
TIMEOUT_S = 0.5
"""Time without a message after which the robot must stop; some images of a camera at 10 Hz."""


class PrintDistances(Node):
    """Prints the nearest pair of each image, and what a robot should do."""

    def __init__(self) -> None:
        super().__init__('print_distances')
        self.create_subscription(ProximityArray, 'proximity', self._print, 1)
        self._watchdog = self.create_timer(TIMEOUT_S, self._missed)

    def _missed(self) -> None:
        print(f'no message for {TIMEOUT_S:g} s -> stop', flush=True)

    def _print(self, array: ProximityArray) -> None:
        self._watchdog.reset()
        if array.unknown_frames or array.unplaced_people:
            frames = ', '.join(array.unknown_frames) or 'none'
            print(f'unknown: {array.unplaced_people} people, frames: {frames} -> stop', flush=True)
        elif not array.proximities:
            print('nobody -> go', flush=True)
        else:
            print(describe(array.proximities[0]), flush=True)


def describe(nearest: Proximity) -> str:
    """One line about the nearest pair; the lower bound of the interval decides."""
    action = 'go'
    if nearest.distance_low < SLOW_M:
        action = 'stop' if nearest.distance_low < STOP_M else 'slow'
    rate = nearest.approach_rate
    motion = 'rate unknown' if math.isnan(rate) else f'{rate:.2f} m/s nearer'
    return (
        f'{nearest.distance:.2f} m ({nearest.distance_low:.2f} to {nearest.distance_high:.2f}), '
        f'{motion}: #{nearest.id}, {nearest.body_part}, {nearest.robot_frame} -> {action}'
    )


def main() -> None:
    """Runs until Ctrl-C."""
    rclpy.init()
    try:
        rclpy.spin(PrintDistances())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
