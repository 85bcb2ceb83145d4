"""Subscriptions whose reliability suits the publishers, and that say so where it does not.

A reliable subscription hears nothing from a best effort publisher. A best effort subscription
hears everybody, but what the network loses stays lost. `auto` therefore begins with best effort
and becomes reliable when every publisher of the topic is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.qos import QoSProfile, ReliabilityPolicy

from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node.qos import SubscriptionEventCallbacks, UnsupportedEventTypeError
from decomr_ros.node.taking_thread import OwnThread, TakingThread
from decomr_ros.topics.silent_topics import type_name

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

__all__ = ['RELIABILITIES', 'MatchingSubscription']

RELIABILITIES = ('auto', 'reliable', 'best_effort')

POLICIES = {'reliable': ReliabilityPolicy.RELIABLE, 'best_effort': ReliabilityPolicy.BEST_EFFORT}


class MatchingSubscription:
    """One subscription, made anew when the publishers offer another reliability.

    Attributes:
        topic: full name.
        reliability: `reliable` or `best_effort`, at present.
        are_losses_counted: whether the middleware tells of messages lost on their way.
    """

    def __init__(self, node: Node, message_type: type, topic: str,
                 callback: Callable[[Any], None], depth: int, reliability: str = 'auto',
                 lost: Callable[[Any], None] | None = None,
                 from_bytes: Callable[[bytes], Any] | None = None) -> None:
        """Subscribes.

        Args:
            node: owner.
            message_type: of the topic.
            topic: name, relative or full; remapped.
            callback: called with each message, never with two at once, on a thread of the
                subscription's own, which is quicker than the executor.
            depth: messages that may wait to be taken.
            reliability: one of `RELIABILITIES`.
            lost: called likewise with rclpy's event when messages were lost on their way.
            from_bytes: makes the messages from their serialised form, in place of rclpy; None
                for one that is to be left out.
        """
        self._lost, self._from_bytes = lost, from_bytes
        self.are_losses_counted = False
        self._node, self._type, self._callback = node, message_type, callback
        self._type_name = type_name(message_type)
        self._depth, self._is_auto = depth, reliability == 'auto'
        self._lock = threading.Lock()
        self._before: _Source | None = None
        self._done: _Source | None = None  # to be destroyed by the executor's thread
        self._last_ns = 0  # stamp of the message passed on last
        self._repeated_ns, self._repeats = 0, 0
        self.topic = node.resolve_topic_name(topic)
        self.reliability = self._offered() if self._is_auto else reliability
        self._source: _Source | None = self._subscribe()
        self._source.start()

    def check(self) -> None:
        """Follows the publishers; to be called now and then on the executor's thread."""
        if not self._is_auto:
            return
        self._destroy_done()
        offered = self._offered()
        if offered != self.reliability:
            self._end_handover()
            self._destroy_done()
            self.reliability = offered
            # The old one goes on until the new one has heard the publisher: nothing is lost.
            made = self._subscribe()
            with self._lock:
                self._before, self._source = self._source, made
            made.start()
            self._node.get_logger().info(f'{self.topic}: subscribed as {offered}, which its '
                                         'publishers offer')

    def close(self) -> None:
        """Unsubscribes; on the executor's thread."""
        self._end_handover()
        self._destroy_done()
        with self._lock:
            source, self._source = self._source, None
        if source is not None:
            source.destroy()

    def _offered(self) -> str:
        """What the publishers of this type offer; those of another type are not connected."""
        publishers = [publisher for publisher
                      in self._node.get_publishers_info_by_topic(self.topic)
                      if publisher.topic_type == self._type_name]
        are_reliable = publishers and all(
            publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            for publisher in publishers)
        return 'reliable' if are_reliable else 'best_effort'

    def _subscribe(self) -> _Source:
        source = _Source(self._node)

        def take(message: Any) -> None:
            """One at a time: during a handover two threads may have one."""
            with self._lock:
                self._pass_on(source, message)

        def lost(event: Any) -> None:
            """Counted once: what only the one misses that is given up is not lost."""
            with self._lock:
                if source is self._source:
                    self._lost(event)

        source.take = take
        source.subscription = self._with_events(take, None if self._lost is None else lost)
        return source

    def _pass_on(self, source: _Source, message: Any) -> None:
        """Passes on what the other subscription has not passed on during a handover."""
        if source not in (self._source, self._before):
            return
        if source is self._source and self._before is not None:
            self._done, self._before = self._before, None
            # The first of the new one may have been passed on before; no more than can wait.
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

    def _with_events(self, take: Callable[[Any], None], lost: Callable[[Any], None] | None
                     ) -> Subscription:
        """Asks the middleware for what it can tell; not every one counts losses."""
        options = {'qos_profile': QoSProfile(depth=self._depth,
                                             reliability=POLICIES[self.reliability]),
                   'raw': self._from_bytes is not None,
                   'callback_group': OwnThread()}
        wanted = [{'incompatible_qos': self._incompatible}]
        if lost is not None:
            wanted.insert(0, {**wanted[0], 'message_lost': lost})
        for callbacks in wanted:
            try:
                made = self._node.create_subscription(
                    self._type, self.topic, take, **options,
                    event_callbacks=SubscriptionEventCallbacks(**callbacks))
                self.are_losses_counted = 'message_lost' in callbacks
                return made
            except UnsupportedEventTypeError:
                pass
        return self._node.create_subscription(self._type, self.topic, take, **options)

    def _end_handover(self) -> None:
        with self._lock:
            if self._before is not None:
                self._done, self._before = self._before, None

    def _destroy_done(self) -> None:
        """Destroys what a handover has left; the executor goes through the subscriptions too."""
        with self._lock:
            done, self._done = self._done, None
        if done is not None:
            done.destroy()

    def _incompatible(self, event: object) -> None:
        """A publisher whose messages will not arrive has appeared; `auto` follows it soon."""
        if not self._is_auto:
            self._node.get_logger().error(
                f'a publisher of {self.topic} is best effort and this node asks for reliable: '
                'nothing arrives from it. Set the parameter reliability to auto or best_effort, '
                'or make the publisher reliable')


class _Source:
    """A subscription and the thread that empties it.

    Attributes:
        subscription: rclpy's.
        take: what becomes of a message.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.subscription: Subscription | None = None
        self.take: Callable[[Any], None] | None = None
        self._thread: TakingThread | None = None

    def start(self) -> None:
        """Begins to take messages."""
        self._thread = TakingThread(self._node, self.subscription, self.take)

    def destroy(self) -> None:
        """Unsubscribes."""
        if self._thread is not None:
            self._thread.stop()
        self._node.destroy_subscription(self.subscription)
