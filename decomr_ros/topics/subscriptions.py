"""Subscriptions that adapt their reliability to the publishers, or log an incompatibility.

A reliable subscription does not receive from a best-effort publisher. A best-effort subscription
receives from all, but lost messages are not sent again. `auto` therefore starts with best effort
and switches to reliable when every publisher of the topic is reliable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.qos import QoSProfile, ReliabilityPolicy

from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.qos import SubscriptionEventCallbacks, UnsupportedEventTypeError
from decomr_ros.node.taking_thread import OwnThreadGroup, TakingThread
from decomr_ros.topics.silent_topics import type_name

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

__all__ = ['RELIABILITIES', 'MatchingSubscription']

RELIABILITIES = ('auto', 'reliable', 'best_effort')

POLICIES = {'reliable': ReliabilityPolicy.RELIABLE, 'best_effort': ReliabilityPolicy.BEST_EFFORT}


class MatchingSubscription:
    """A subscription that is replaced when the publishers offer another reliability.

    Attributes:
        topic: full name.
        reliability: `reliable` or `best_effort`, at present.
        are_losses_counted: whether the middleware reports messages that were lost in transit.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        depth: int,
        reliability: str = 'auto',
        lost: Callable[[Any], None] | None = None,
        from_bytes: Callable[[bytes], Any] | None = None,
    ) -> None:
        """Subscribes.

        Args:
            node: owner.
            message_type: type of the topic.
            topic: name, relative or full, before remapping.
            callback: called with one message at a time, on a thread of the subscription, which
                is faster than the executor.
            depth: queue depth.
            reliability: one of `RELIABILITIES`.
            lost: called with rclpy's event, on the same thread, when messages were lost in
                transit.
            from_bytes: deserialises a message in place of rclpy; returns None to skip it.
        """
        self._lost, self._from_bytes = lost, from_bytes
        self.are_losses_counted = False
        self._node, self._type, self._callback = node, message_type, callback
        self._type_name = type_name(message_type)
        self._depth, self._is_auto = depth, reliability == 'auto'
        self._lock = threading.Lock()
        self._before: _Source | None = None
        self._done: _Source | None = None  # to be destroyed on the executor's thread
        self._last_ns = 0  # stamp of the last message passed on
        self._repeated_ns, self._repeats = 0, 0
        self.topic = node.resolve_topic_name(topic)
        self.reliability = self._offered() if self._is_auto else reliability
        self._source: _Source | None = self._subscribe()
        self._source.start()

    def check(self) -> None:
        """Adapts to the publishers; to be called periodically on the executor's thread."""
        if not self._is_auto:
            return
        self._destroy_done()
        offered = self._offered()
        if offered != self.reliability:
            self._end_handover()
            self._destroy_done()
            self.reliability = offered
            # Nothing is lost: the old one continues until the new one receives a message.
            made = self._subscribe()
            with self._lock:
                self._before, self._source = self._source, made
            made.start()
            self._node.get_logger().info(
                f'{self.topic}: subscribed as {offered}, which its publishers offer'
            )

    def close(self) -> None:
        """Unsubscribes; on the executor's thread."""
        self._end_handover()
        self._destroy_done()
        with self._lock:
            source, self._source = self._source, None
        if source is not None:
            source.destroy()

    def _offered(self) -> str:
        """The reliability that publishers of this type offer; other types are not connected."""
        publishers = [
            publisher
            for publisher in self._node.get_publishers_info_by_topic(self.topic)
            if publisher.topic_type == self._type_name
        ]
        are_reliable = publishers and all(
            publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            for publisher in publishers
        )
        return 'reliable' if are_reliable else 'best_effort'

    def _subscribe(self) -> _Source:
        source = _Source(self._node)

        def take(message: Any) -> None:
            """Passes on one message at a time: during a handover, two threads receive."""
            with self._lock:
                self._pass_on(source, message)

        report_loss = self._lost

        def lost(event: Any) -> None:
            """Counts losses of the current subscription only, not of the one being replaced."""
            with self._lock:
                if report_loss is not None and source is self._source:
                    report_loss(event)

        source.take = take
        source.subscription = self._with_events(take, None if report_loss is None else lost)
        return source

    def _pass_on(self, source: _Source, message: Any) -> None:
        """Passes on a message unless, during a handover, the other subscription has done so."""
        if source not in (self._source, self._before):
            return
        if source is self._source and self._before is not None:
            self._done, self._before = self._before, None
            # At most a full queue of messages can arrive twice.
            self._repeated_ns, self._repeats = self._last_ns, self._depth
        if self._from_bytes is not None:
            message = self._from_bytes(message)
        if message is None:
            return
        stamp_ns = nanoseconds_from_stamp(message.header.stamp)
        if self._repeats and 0 < stamp_ns <= self._repeated_ns:
            self._repeats -= 1
            return
        self._last_ns, self._repeats = stamp_ns, 0
        self._callback(message)

    def _with_events(
        self, take: Callable[[Any], None], lost: Callable[[Any], None] | None
    ) -> Subscription:
        """Subscribes with the events that the middleware supports; not all report losses."""
        wanted: list[dict[str, Any]] = [{'incompatible_qos': self._incompatible}]
        if lost is not None:
            wanted.insert(0, {**wanted[0], 'message_lost': lost})
        for callbacks in wanted:
            try:
                made = self._with_callbacks(take, SubscriptionEventCallbacks(**callbacks))
                self.are_losses_counted = 'message_lost' in callbacks
                return made
            except UnsupportedEventTypeError:
                pass
        return self._with_callbacks(take, None)

    def _with_callbacks(
        self, take: Callable[[Any], None], callbacks: SubscriptionEventCallbacks | None
    ) -> Subscription:
        profile = QoSProfile(depth=self._depth, reliability=POLICIES[self.reliability])
        options: dict[str, Any] = {} if callbacks is None else {'event_callbacks': callbacks}
        return self._node.create_subscription(
            self._type,
            self.topic,
            take,
            profile,
            raw=self._from_bytes is not None,
            callback_group=OwnThreadGroup(),
            **options,
        )

    def _end_handover(self) -> None:
        with self._lock:
            if self._before is not None:
                self._done, self._before = self._before, None

    def _destroy_done(self) -> None:
        """Destroys the subscription that a handover has replaced."""
        with self._lock:
            done, self._done = self._done, None
        if done is not None:
            done.destroy()

    def _incompatible(self, event: object) -> None:
        """Logs that messages of a new publisher will not arrive; `auto` adapts to it soon."""
        if not self._is_auto:
            self._node.get_logger().error(
                f'a publisher of {self.topic} is best effort and this node asks for reliable: '
                'nothing arrives from it. Set the parameter reliability to auto or best_effort, '
                'or make the publisher reliable'
            )


class _Source:
    """A subscription and the thread that takes its messages.

    Attributes:
        subscription: the rclpy subscription.
        take: called with each message.
    """

    subscription: Subscription
    take: Callable[[Any], None]

    def __init__(self, node: Node) -> None:
        self._node = node
        self._thread: TakingThread | None = None

    def start(self) -> None:
        """Starts to take messages."""
        self._thread = TakingThread(self._node, self.subscription, self.take)

    def destroy(self) -> None:
        """Unsubscribes."""
        if self._thread is not None:
            self._thread.stop()
        self._node.destroy_subscription(self.subscription)
