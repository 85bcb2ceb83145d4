"""One process, one node: start, spin, and an orderly end on SIGINT and SIGTERM.

rclpy's own signal handlers shut the context down at once; nothing can be published after that.
Here a signal only asks the loop to end, so that a node still clears its markers and closes its
files, then exits with code 0. Python runs its part of a signal handler on the main thread only,
between two of its instructions; while a library loads a network there, that may take seconds. A
node that must end in time is therefore watched by a thread that the system itself wakes.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from decomr_ros.memory import keep_freed_memory
from decomr_ros.programs.log_folder import ensure_log_folder

__all__ = ['ProcessNode', 'run_node', 'stop_on_signals']

# How long a signal may go unnoticed, s.
POLL_PERIOD_S = 0.1


class ProcessNode(Protocol):
    """What `run_node` asks of a node besides being a Node."""

    exit_code: int | None
    """None while it runs; set by the node to end its process with this code."""

    def close(self) -> None:
        """Brings everything in order; publishing still works."""


def stop_on_signals() -> threading.Event:
    """An event that the first SIGINT or SIGTERM sets; the second one ends the process."""
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        """Sets the event and leaves the next signal to the system."""
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return stop


def run_node(make_node: Callable[[], ProcessNode], argv: Sequence[str] | None = None,
             ends_within_s: float | None = None) -> int:
    """Makes a node and spins it until a signal comes or the node itself wants to end.

    Args:
        make_node: called once rclpy is initialised.
        argv: ROS arguments; None takes those of the command line.
        ends_within_s: so long after a signal the process ends with code 0, whatever it does
            then, and this function does not return; None: it always ends in order.

    Returns:
        The exit code: 0 after a signal, 2 where the node could not be made.
    """
    keep_freed_memory()
    stop = stop_on_signals()
    if ends_within_s is not None:
        _end_after_signal(ends_within_s)
    try:
        try:
            ensure_log_folder()
            rclpy.init(args=None if argv is None else list(argv),
                       signal_handler_options=SignalHandlerOptions.NO)
            node = make_node()
        except (ParameterException, NameValidationException, OSError, ValueError,
                RuntimeError) as error:
            sys.stderr.write(f'{" ".join(str(error).split())}\n')
            return 2
        try:
            _spin(node, stop)
            node.close()
        finally:
            node.destroy_node()
        code = node.exit_code or 0
    finally:
        rclpy.try_shutdown()
    if ends_within_s is not None and stop.is_set():
        # Fast DDS would leave its shared memory behind, 67 MiB in /dev/shm that nobody ever frees.
        # The context goes with the last that holds it, also in what a node has frozen.
        del node
        gc.unfreeze()
        gc.collect()
        rclpy.get_default_context().destroy()
        # Everything is in order. What is left, the interpreter's own end, takes PyTorch a second,
        # and may crash where a thread still computes.
        _end_now(code)
    return code


def _end_after_signal(seconds: float) -> None:
    """Ends the process so long after the first SIGINT or SIGTERM, if it is still there."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        """Waits for the system to write the number of a signal."""
        while receiver.recv(1)[0] not in (signal.SIGINT, signal.SIGTERM):
            pass
        time.sleep(seconds)
        sender.close()  # which has lived as long as this function
        sys.stderr.write(f'[INFO] ends now, {seconds:g} s after the signal, without waiting for '
                         'what is still being computed\n')
        _end_now(0)

    threading.Thread(target=watch, name='end_after_signal', daemon=True).start()


def _end_now(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _spin(node: Node, stop: threading.Event) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stop.is_set() and node.exit_code is None:
        try:
            executor.spin_once(timeout_sec=POLL_PERIOD_S)
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001 - e.g. a lifecycle transition that is not allowed
            node.get_logger().error(f'a callback failed: {error!r}')
    executor.remove_node(node)
