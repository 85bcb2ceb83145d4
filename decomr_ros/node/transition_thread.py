"""A thread that answers `change_state`, so that a slow transition does not block the executor.

rclpy performs a transition in the callback of the service. Configuring the node takes seconds,
and much longer if a network must be exported first. Meanwhile the executor's thread answers all
other services, such as `get_state`, and publishes the diagnostics. This works with any executor.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation

from decomr_ros.node.taking_thread import CHECK_PERIOD_S, OwnThreadGroup
from decomr_ros.node.timing import NS_PER_S

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.service import Service

__all__ = ['TransitionThread']


class TransitionThread:
    """Runs the callback of one service, and submitted functions, one at a time.

    Attributes:
        is_ending: whether the node is shutting down; long work should then stop.
    """

    def __init__(self, node: Node, service: Service) -> None:
        """Removes the service from the executor; `start` begins to answer requests.

        Args:
            node: owner of the service; its context, executor and log are used.
            service: its callback may take long.
        """
        self._node, self._service = node, service
        service.callback_group = OwnThreadGroup()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = GuardCondition(None, None, context=node.context)
        self._thread = threading.Thread(target=self._run, name='transitions', daemon=True)
        self.is_ending = False

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Runs a function on the thread; exceptions are logged."""
        self._work.put(work)
        self._wake.trigger()

    def stop(self) -> None:
        """Ends the thread after its current work; must not be called on the thread itself."""
        if self.is_ending:
            return
        self.is_ending = True
        self._wake.trigger()
        if self._thread.ident is not None:
            self._thread.join()
        self._wake.destroy()

    def run_in_executor(self, work: Callable[[], None]) -> None:
        """Runs a function on the executor's thread and waits for it.

        On any other thread than this one, or without an executor, it is called directly.

        Args:
            work: the function; its exception is raised here.
        """
        executor = self._node.executor
        if threading.current_thread() is not self._thread or executor is None:
            work()
            return
        once, done = threading.Lock(), threading.Event()
        errors: list[BaseException] = []

        def call() -> None:
            """Calls the function unless it has already been called."""
            if not once.acquire(blocking=False):
                return
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
                errors.append(error)
            done.set()

        executor.create_task(call)
        while not done.wait(CHECK_PERIOD_S):
            if self.is_ending or not self._node.context.ok():  # the executor has stopped
                call()
        if errors:
            raise errors[0]

    def _run(self) -> None:
        context = self._node.context
        handle = context.handle
        assert handle is not None  # the node has been created in it
        with self._service.handle, self._wake.handle, handle:
            wait_set = rclpy_implementation.WaitSet(0, 1, 0, 0, 1, 0, handle)
            while not self.is_ending and context.ok():
                try:
                    self._wait_and_answer(wait_set)
                except Exception as error:  # noqa: BLE001 - later transitions must still work
                    self._node.get_logger().error(f'a transition failed: {error!r}')

    def _wait_and_answer(self, wait_set: Any) -> None:
        """Runs submitted functions, then waits with a timeout for a request and answers it."""
        while not self._work.empty():
            self._work.get()()
        wait_set.clear_entities()
        wait_set.add_service(self._service.handle)
        wait_set.add_guard_condition(self._wake.handle)
        wait_set.wait(round(CHECK_PERIOD_S * NS_PER_S))
        if wait_set.is_ready('service', 0):
            service_type: Any = self._service.srv_type
            request, header = self._service.handle.service_take_request(service_type.Request)
            if header is not None:
                answer = self._service.callback(request, service_type.Response())
                self._service.send_response(answer, header)
