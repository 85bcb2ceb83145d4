"""A thread that takes the messages of one subscription and does nothing else.

Before and after each message rclpy's executor asks every service, timer and subscription of its
node, in Python, whether it is due. An image would wait for that before it is taken, and once more
for the interpreter before the worker can begin with it: a millisecond in all. Here a thread waits
in the middleware for this one subscription alone, as `rclpy.wait_for_message` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation

if TYPE_CHECKING:
    from rclpy.event_handler import EventHandler
    from rclpy.node import Node
    from rclpy.subscription import Subscription

__all__ = ['OwnThread', 'TakingThread']

# So often the thread looks whether ROS has been shut down without a word, s.
LOOK_PERIOD_S = 0.5
# The same problem is logged once in this time, s.
QUIET_S = 5.0
NS_PER_S = 10**9


class OwnThread(CallbackGroup):
    """Keeps the executor from a subscription and its events.

    The events too: waited for by two threads, messages of Fast DDS wake neither now and then.
    """

    def can_execute(self, entity: object) -> bool:
        """Whether the executor may wait for an entity of the group."""
        return False

    def beginning_execution(self, entity: object) -> bool:
        """Whether it may begin; nothing excludes anything."""
        return True

    def ending_execution(self, entity: object) -> None:
        """Nothing waits for this."""


class TakingThread:
    """Takes what arrives, one message after the other, until it is stopped."""

    def __init__(self, node: Node, subscription: Subscription, take: Callable[[Any], None]
                 ) -> None:
        """Starts.

        Args:
            node: owner of the subscription; for its context and its log.
            subscription: in the callback group `OwnThread`. Its events are called here too.
            take: called with each message, serialised ones as bytes, on this thread. What it
                raises is logged.
        """
        self._node, self._subscription, self._take = node, subscription, take
        self._is_ending = False
        self._wake = GuardCondition(None, None, context=node.context)
        # A daemon: where ROS is shut down without a word, nothing must keep the process alive.
        self._thread = threading.Thread(
            target=self._run, name=f'take {subscription.topic_name}', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the message that it takes; not to be called by itself."""
        self._is_ending = True
        self._wake.trigger()
        self._thread.join()
        self._wake.destroy()

    def _run(self) -> None:
        handle, context = self._subscription.handle, self._node.context
        num_events = len(self._subscription.event_handlers)
        with handle, self._wake.handle, context.handle:
            wait_set = rclpy_implementation.WaitSet(1, 1, 0, 0, 0, num_events, context.handle)
            while not self._is_ending and context.ok():
                try:
                    self._wait_and_take(wait_set)
                except Exception as error:  # noqa: BLE001 - one must not end all others
                    self._node.get_logger().error(
                        f'a callback of {self._subscription.topic_name} failed: {error!r}',
                        throttle_duration_sec=QUIET_S)

    def _wait_and_take(self, wait_set: Any) -> None:
        """Waits for a message, an event or the end, not for ever, and deals with it."""
        events = self._subscription.event_handlers
        wait_set.clear_entities()
        wait_set.add_subscription(self._subscription.handle)
        wait_set.add_guard_condition(self._wake.handle)
        for event in events:
            event.add_to_wait_set(wait_set)
        wait_set.wait(round(LOOK_PERIOD_S * NS_PER_S))
        for event in events:
            if event.is_ready(wait_set):
                _call(event)
        if wait_set.is_ready('subscription', 0):
            self._take_one()

    def _take_one(self) -> None:
        taken = self._subscription.handle.take_message(
            self._subscription.msg_type, self._subscription.raw)
        if taken is not None:
            self._take(taken[0])


def _call(event: EventHandler) -> None:
    """Calls an event's callback, which is a function like any other."""
    with suppress(StopIteration):
        event.execute(event.take_data()).send(None)
