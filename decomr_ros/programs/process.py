"""Runs one node per process, with an orderly shutdown on SIGINT and SIGTERM.

rclpy's own signal handlers shut the context down immediately, after which nothing can be
published. Here a signal only ends the spin loop. The node can still clear its markers and close
its files, and the process exits with code 0. Python runs signal handlers on the main thread only,
between two bytecode instructions. While a library loads a network there, this may take seconds.
Therefore a separate thread, which the system wakes through a socket, enforces a time limit.
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
from typing import TYPE_CHECKING, Protocol, cast

import rclpy
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from decomr_ros.memory import keep_freed_memory
from decomr_ros.programs.log_folder import ensure_log_folder

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger
    from rclpy.node import Node

__all__ = ['ProcessNode', 'run_node', 'stop_on_signals']

# Signals are polled this often, s.
POLL_PERIOD_S = 0.1


class ProcessNode(Protocol):
    """A node that `run_node` can run: an rclpy Node with these members."""

    exit_code: int | None
    """None while it runs; set by the node to end its process with this code."""

    def close(self) -> None:
        """Called before the node is destroyed; it can still publish."""

    def destroy_node(self) -> None:
        """As of rclpy's Node."""

    def get_logger(self) -> RcutilsLogger:
        """As of rclpy's Node."""


def stop_on_signals() -> threading.Event:
    """An event that the first SIGINT or SIGTERM sets; the second one ends the process."""
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        """Sets the event and restores the default action for the next signal."""
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return stop


def run_node(
    make_node: Callable[[], ProcessNode],
    argv: Sequence[str] | None = None,
    ends_within_s: float | None = None,
) -> int:
    """Creates a node and spins it until a signal arrives or the node sets its exit code.

    Args:
        make_node: called after rclpy is initialised.
        argv: ROS arguments; None: those of the command line.
        ends_within_s: seconds after a signal until the process is forced to exit with code 0; if
            it is given and a signal arrives, this function does not return. None: no limit.

    Returns:
        The exit code: 0 after a signal, 2 if the node could not be created.
    """
    keep_freed_memory()
    stop = stop_on_signals()
    if ends_within_s is not None:
        _end_after_signal(ends_within_s)
    try:
        try:
            ensure_log_folder()
            rclpy.init(
                args=None if argv is None else list(argv),
                signal_handler_options=SignalHandlerOptions.NO,
            )
            node = make_node()
        except (
            ParameterException,
            NameValidationException,
            OSError,
            ValueError,
            RuntimeError,
        ) as error:
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
        # Otherwise Fast DDS would leave 67 MiB of shared memory in /dev/shm, which nothing frees.
        # The context is destroyed with its last reference, which frozen objects may hold too.
        del node
        gc.unfreeze()
        gc.collect()
        rclpy.get_default_context().destroy()
        # The shutdown is complete. The interpreter's own finalisation takes a second with PyTorch
        # and may crash while another thread still computes, so it is skipped.
        _end_now(code)
    return code


def _end_after_signal(seconds: float) -> None:
    """Forces the process to exit this long after the first SIGINT or SIGTERM."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        """Waits for the system to write the number of a signal."""
        while receiver.recv(1)[0] not in (signal.SIGINT, signal.SIGTERM):
            pass
        time.sleep(seconds)
        sender.close()  # the closure has kept it open until here
        sys.stderr.write(
            f'[INFO] exiting {seconds:g} s after the signal, without waiting for '
            'running computations\n'
        )
        _end_now(0)

    threading.Thread(target=watch, name='end_after_signal', daemon=True).start()


def _end_now(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _spin(node: ProcessNode, stop: threading.Event) -> None:
    executor = SingleThreadedExecutor()
    rclpy_node = cast('Node', node)
    executor.add_node(rclpy_node)
    while not stop.is_set() and node.exit_code is None:
        try:
            executor.spin_once(timeout_sec=POLL_PERIOD_S)
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001 - e.g. a transition that is not allowed
            node.get_logger().error(f'a callback failed: {error!r}')
    executor.remove_node(rclpy_node)
