"""Topics that are recorded by their name alone, as rosbag2 does it.

Type and QoS are taken from the publishers once there are some. A subscription asks for no more
than every publisher of its topic offers, otherwise it would not receive from all of them: it is
reliable if all are, and latched (transient local) if all are, as those of /tf_static are.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from decomr_ros.node.installation import install_hint

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

__all__ = ['Offer', 'NamedTopics', 'message_class', 'offer_of']

# Messages that may wait to be taken. Latched ones come all at once: each publisher's last ones.
QUEUE = 100


class Offer(NamedTuple):
    """What all publishers of a topic offer."""

    type_names: tuple[str, ...]
    """E.g. sensor_msgs/msg/Image; several if publishers disagree."""
    is_reliable: bool
    is_latched: bool

    @property
    def qos(self) -> QoSProfile:
        """The QoS of a subscription that hears all of them."""
        return QoSProfile(
            depth=QUEUE,
            reliability=ReliabilityPolicy.RELIABLE if self.is_reliable
            else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if self.is_latched
            else DurabilityPolicy.VOLATILE)


class NamedTopics:
    """Subscribes to topics as their publishers appear."""

    def __init__(self, node: Node, names: Sequence[str],
                 subscribe: Callable[[str, type, Offer], Subscription]) -> None:
        """Takes the names; nothing is subscribed before `look`.

        Args:
            node: the owner of the subscriptions.
            names: full names of the topics.
            subscribe: makes a subscription from topic, type and offer.
        """
        self._node, self._names, self._subscribe = node, list(names), subscribe
        self._subscribed: dict[str, tuple[Subscription, Offer]] = {}
        self._told: dict[str, str] = {}

    def look(self) -> None:
        """Subscribes to what is published now; to be called periodically by the executor.

        A topic that cannot be subscribed to is logged once.
        """
        for name in self._names:
            offer = offer_of(self._node, name)
            if offer is None:
                continue
            try:
                self._follow(name, offer)
            except (ImportError, ValueError) as error:
                if self._told.get(name) != str(error):
                    self._node.get_logger().error(f'{name} is not recorded: {error}')
                self._told[name] = str(error)

    def _follow(self, name: str, offer: Offer) -> None:
        """Subscribes, or subscribes again where a new publisher offers less.

        Raises:
            ImportError: the package of the type is not installed.
            ValueError: publishers disagree on the type.
        """
        if name in self._subscribed:
            subscription, present = self._subscribed[name]
            if present.is_reliable <= offer.is_reliable and (
                    present.is_latched <= offer.is_latched):
                return
            self._node.destroy_subscription(subscription)
            offer = Offer(present.type_names, present.is_reliable and offer.is_reliable,
                          present.is_latched and offer.is_latched)
        if len(offer.type_names) > 1:
            raise ValueError(f'its publishers disagree on the type '
                             f'({", ".join(offer.type_names)}); remap one of them')
        type_ = message_class(offer.type_names[0])
        self._subscribed[name] = self._subscribe(name, type_, offer), offer


def offer_of(node: Node, topic: str) -> Offer | None:
    """What the publishers of a topic offer together; None where there are none.

    Args:
        node: the one that asks; it need not have to do with the topic.
        topic: full name.
    """
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return None
    profiles = [publisher.qos_profile for publisher in publishers]
    return Offer(
        tuple(sorted({publisher.topic_type for publisher in publishers})),
        all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in profiles),
        all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in profiles))


def message_class(type_name: str) -> type:
    """The class of a message type.

    Args:
        type_name: e.g. tf2_msgs/msg/TFMessage.

    Raises:
        ImportError: its package is not installed; says how to install it.
    """
    package, _, name = type_name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(f'it is of type {type_name}, and the package {package} is not '
                          f'installed; {install_hint(package)}') from error
