"""Timers that do not depend on ROS time, and the unit of stamps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.clock import Clock, ClockType

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.timer import Timer

__all__ = ['NS_PER_S', 'create_steady_timer']

NS_PER_S = 10**9


def create_steady_timer(node: Node, period_s: float, callback: Callable[[], None]) -> Timer:
    """Creates a timer with steady time.

    With `use_sim_time`, ROS time is stopped while the simulation is paused or no message has
    arrived on /clock.

    Args:
        node: owner of the timer.
        period_s: time between two calls, s.
        callback: called by the executor.
    """
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
