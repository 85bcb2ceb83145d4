"""A mailbox with one slot, in which the newest frame wins, and the thread that empties it.

A camera does not wait. If inference is slower than the camera, a queue only adds delay: every mesh
is old. Here a new frame replaces the one that is still waiting, and the replaced one is counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from rclpy.node import Node

__all__ = ['FrameWorker', 'WorkerCounts', 'log_late_inference']

Item = TypeVar('Item')


@dataclass(frozen=True)
class WorkerCounts:
    """Frame counts so far: received = skipped + processed + failed + waiting + in progress.

    Attributes:
        received: frames submitted.
        skipped_for_newer: frames replaced in the mailbox by a newer one, or left in it when the
            worker stopped.
        processed: frames whose processing succeeded.
        failed: frames whose processing raised an exception.
    """

    received: int = 0
    skipped_for_newer: int = 0
    processed: int = 0
    failed: int = 0


class FrameWorker(Generic[Item]):
    """Runs `process` on the newest frame, on its own thread.

    Args:
        process: called with each frame, on the worker thread.
        on_failure: called with the exception of a frame, on the worker thread, which continues.
        name: name of the thread.
    """

    def __init__(
        self,
        process: Callable[[Item], None],
        on_failure: Callable[[Exception], None],
        name: str = 'frame_worker',
    ) -> None:
        self._process = process
        self._on_failure = on_failure
        self._name = name
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._is_busy = False
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._received = self._skipped = self._processed = self._failed = 0

    @property
    def counts(self) -> WorkerCounts:
        """A consistent snapshot of the counts."""
        with self._changed:
            return WorkerCounts(self._received, self._skipped, self._processed, self._failed)

    def start(self) -> None:
        """Starts the thread.

        Raises:
            RuntimeError: it is running already, or has not ended yet after `stop`.
        """
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError(
                f'{self._name} runs already; call stop() first, and again while '
                'a long frame keeps it from ending'
            )
        self._is_stopping = False
        # A daemon thread: an inference that hangs must not keep the process alive after SIGINT.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def submit(self, frame: Item) -> None:
        """Submits a frame, which replaces one that is still waiting. Never waits for `process`."""
        with self._changed:
            self._received += 1
            self._skipped += len(self._waiting)
            self._waiting = [frame]
            self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Waits until no frame is waiting or in progress; whether that was within the time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._is_busy,
                max(0.0, deadline - time.monotonic()),
            )

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ends the thread after the frame in progress; a frame that is waiting is skipped.

        Returns:
            Whether the thread ended within the time.
        """
        with self._changed:
            self._is_stopping = True
            self._skipped += len(self._waiting)
            self._waiting = []
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        has_ended = not self._thread.is_alive()
        if has_ended:
            self._thread = None
        return has_ended

    def _run(self) -> None:
        while (frame := self._take()) is not None:
            failure = None
            try:
                self._process(frame[0])
            except Exception as error:  # noqa: BLE001 - one bad frame must not end the node
                failure = error
            with self._changed:
                self._is_busy = False
                self._failed += failure is not None
                self._processed += failure is None
                self._changed.notify_all()
            if failure is not None:
                self._on_failure(failure)

    def _take(self) -> list[Item] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
            if self._is_stopping:
                return None
            frame, self._waiting = self._waiting, []
            self._is_busy = True
            return frame


def log_late_inference(node: Node, waited_s: float, is_at_end: bool) -> None:
    """Logs that an inference is still running after a stop.

    Args:
        node: owner of the log.
        waited_s: time that the stop has waited, s.
        is_at_end: the process ends, so that it does not matter; otherwise it is an error.
    """
    if is_at_end:
        node.get_logger().info(
            'the node ends without waiting for the last inference; its image gets no meshes'
        )
    else:
        node.get_logger().error(
            f'an inference did not end within {waited_s:g} s; it goes on beside whatever follows. '
            'Is the machine overloaded, or does the runtime hang?'
        )
