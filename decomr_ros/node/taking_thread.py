"""A thread that only takes the messages of one subscription.

Before and after each message, rclpy's executor checks every service, timer and subscription of the
node in Python. An image waits for that before it is taken, and again for the interpreter before
the worker can start: one millisecond in total. This thread waits in the middleware for a single
subscription, as `rclpy.wait_for_message` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation

from decomr_ros.node.standing_warnings import QUIET_S
from decomr_ros.node.timing import NS_PER_S

if TYPE_CHECKING:
    from rclpy.event_handler import EventHandler
    from rclpy.node import Node
    from rclpy.subscription import Subscription

__all__ = ['OwnThreadGroup', 'TakingThread']

# Period at which the thread checks whether ROS was shut down without notice, s.
CHECK_PERIOD_S = 0.5


class OwnThreadGroup(CallbackGroup):
    """Keeps a subscription and its events away from the executor.

    The events must be waited for on the same thread as the messages: if two threads wait, Fast DDS
    occasionally wakes neither.
    """

    def can_execute(self, entity: object) -> bool:
        """Whether the executor may wait for an entity of the group."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Whether it may begin: always, since callbacks do not exclude each other."""
        return True

    def ending_execution(self, entity: object) -> None:
        """Does nothing, because nothing waits for it."""


class TakingThread:
    """Takes messages one after the other until it is stopped."""

    def __init__(
        self, node: Node, subscription: Subscription, take: Callable[[Any], None]
    ) -> None:
        """Starts the thread.

        Args:
            node: owner of the subscription; provides context and log.
            subscription: a subscription in the callback group `OwnThreadGroup`. Its event
                callbacks run on this thread, too.
            take: called on this thread with each message, as bytes for a raw subscription.
                Exceptions are logged.
        """
        self._node, self._subscription, self._take = node, subscription, take
        self._is_ending = False
        self._wake = GuardCondition(None, None, context=node.context)
        # A daemon thread: if ROS is shut down without notice, the process must still end.
        self._thread = threading.Thread(
            target=self._run, name=f'take {subscription.topic_name}', daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the present message; not to be called on the thread itself."""
        self._is_ending = True
        self._wake.trigger()
        self._thread.join()
        self._wake.destroy()

    def _run(self) -> None:
        handle, context = self._subscription.handle, self._node.context
        num_events = len(self._events())
        assert context.handle is not None  # that of an initialised context
        with handle, self._wake.handle, context.handle:
            wait_set = rclpy_implementation.WaitSet(1, 1, 0, 0, 0, num_events, context.handle)
            while not self._is_ending and context.ok():
                try:
                    self._wait_and_take(wait_set)
                except Exception as error:  # noqa: BLE001 - one must not end all others
                    self._node.get_logger().error(
                        f'a callback of {self._subscription.topic_name} failed: {error!r}',
                        throttle_duration_sec=QUIET_S,
                    )

    def _wait_and_take(self, wait_set: Any) -> None:
        """Waits, for at most `CHECK_PERIOD_S`, for a message, an event or `stop`; handles it."""
        events = self._events()
        wait_set.clear_entities()
        wait_set.add_subscription(self._subscription.handle)
        wait_set.add_guard_condition(self._wake.handle)
        for event in events:
            event.add_to_wait_set(wait_set)
        wait_set.wait(round(CHECK_PERIOD_S * NS_PER_S))
        for event in events:
            if event.is_ready(wait_set):
                _call(event)
        if wait_set.is_ready('subscription', 0):
            self._take_one()

    def _events(self) -> list[Any]:
        # rclpy's annotation names one handler where there is a list.
        return cast('list[Any]', self._subscription.event_handlers)

    def _take_one(self) -> None:
        taken = self._subscription.handle.take_message(
            self._subscription.msg_type, self._subscription.raw
        )
        if taken is not None:
            self._take(taken[0])


def _call(event: EventHandler) -> None:
    """Calls the callback of an event, which is not a coroutine."""
    with suppress(StopIteration):
        event.execute(event.take_data()).send(None)
