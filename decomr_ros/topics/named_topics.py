"""Topics that are recorded by name alone, as rosbag2 does.

Type and QoS are adopted from the publishers as soon as there are any. A subscription requests no
more than every publisher of its topic offers; otherwise it would not receive from all of them. It
is reliable if all publishers are, and transient local if all are (as those of /tf_static are).
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

# Queue depth. Latched messages of all publishers arrive at once.
QUEUE = 100


class Offer(NamedTuple):
    """The type and the QoS that all publishers of a topic offer."""

    type_names: tuple[str, ...]
    """E.g. sensor_msgs/msg/Image; several if publishers disagree."""
    is_reliable: bool
    is_latched: bool

    @property
    def qos(self) -> QoSProfile:
        """QoS of a subscription that is compatible with all of them."""
        return QoSProfile(
            depth=QUEUE,
            reliability=ReliabilityPolicy.RELIABLE
            if self.is_reliable
            else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if self.is_latched
            else DurabilityPolicy.VOLATILE,
        )


class NamedTopics:
    """Subscribes to topics as their publishers appear."""

    def __init__(
        self,
        node: Node,
        names: Sequence[str],
        subscribe: Callable[[str, type, Offer], Subscription],
    ) -> None:
        """Stores the names; nothing is subscribed before `update`.

        Args:
            node: the owner of the subscriptions.
            names: full names of the topics.
            subscribe: creates a subscription from topic, type and offer.
        """
        self._node, self._names, self._subscribe = node, list(names), subscribe
        self._subscribed: dict[str, tuple[Subscription, Offer]] = {}
        self._logged: dict[str, str] = {}

    def update(self) -> None:
        """Subscribes to the topics that are published now; call it periodically.

        Call it on the executor's thread. An error is logged once per topic.
        """
        for name in self._names:
            offer = offer_of(self._node, name)
            if offer is None:
                continue
            try:
                self._follow(name, offer)
            except (ImportError, ValueError) as error:
                if self._logged.get(name) != str(error):
                    self._node.get_logger().error(f'{name} is not recorded: {error}')
                self._logged[name] = str(error)

    def _follow(self, name: str, offer: Offer) -> None:
        """Subscribes, or subscribes again if a new publisher offers less.

        Raises:
            ImportError: the package of the type is not installed.
            ValueError: publishers disagree on the type.
        """
        if name in self._subscribed:
            subscription, present = self._subscribed[name]
            if present.is_reliable <= offer.is_reliable and (
                present.is_latched <= offer.is_latched
            ):
                return
            self._node.destroy_subscription(subscription)
            offer = Offer(
                present.type_names,
                present.is_reliable and offer.is_reliable,
                present.is_latched and offer.is_latched,
            )
        if len(offer.type_names) > 1:
            raise ValueError(
                f'its publishers disagree on the type '
                f'({", ".join(offer.type_names)}); remap one of them'
            )
        type_ = message_class(offer.type_names[0])
        self._subscribed[name] = self._subscribe(name, type_, offer), offer


def offer_of(node: Node, topic: str) -> Offer | None:
    """What the publishers of a topic offer in common; None if there are none.

    Args:
        node: any node; its graph is queried.
        topic: full name.
    """
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return None
    profiles = [publisher.qos_profile for publisher in publishers]
    return Offer(
        tuple(sorted({publisher.topic_type for publisher in publishers})),
        all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in profiles),
        all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in profiles),
    )


def message_class(type_name: str) -> type:
    """The class of a message type.

    Args:
        type_name: e.g. tf2_msgs/msg/TFMessage.

    Raises:
        ImportError: its package is not installed; the error says how to install it.
    """
    package, _, name = type_name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f'its type is {type_name}, but the package {package} is not '
            f'installed; {install_hint(package)}'
        ) from error
