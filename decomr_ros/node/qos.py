"""Quality of service: latched topics, QoS overrides, and event classes of all distributions."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
    from rclpy.node import Node

__all__ = [
    'LATCHED',
    'MESH_QOS',
    'NEWEST',
    'PublisherEventCallbacks',
    'SubscriptionEventCallbacks',
    'UnsupportedEventTypeError',
    'make_publisher',
    'topic_below',
]

LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
"""For the topology, which is published once and also delivered to later subscribers."""

MESH_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""For meshes. Reliable is compatible with every subscriber. A slow subscriber loses the oldest
messages; it does not block the node."""

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""For subscribers that need only the newest message; compatible with every publisher."""


def make_publisher(
    node: LifecycleNode, message_type: type, topic: str, qos: QoSProfile
) -> LifecyclePublisher:
    """A lifecycle publisher whose history, depth and reliability can be overridden by parameters.

    Args:
        node: its owner.
        message_type: of its messages.
        topic: relative name.
        qos: default values; not modified.

    Raises:
        ValueError: an override is not a valid value of its policy.
    """
    try:
        return node.create_lifecycle_publisher(
            message_type,
            topic,
            copy.copy(qos),  # rclpy writes the overrides into it
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
    except RuntimeError as error:
        if 'QoS override' not in str(error):
            raise
        name = f'qos_overrides.{node.resolve_topic_name(topic)}.publisher'
        raise ValueError(
            f'{error}; start the node with {name}.reliability as reliable or '
            f'best_effort, {name}.history as keep_last or keep_all'
        ) from error


def topic_below(node: Node, name: str) -> str:
    """The topic to publish on; one below another, as iuv/compressed, follows its remapping.

    Args:
        node: its owner.
        name: relative name.
    """
    base, slash, rest = name.partition('/')
    return f'{node.resolve_topic_name(base)}/{rest}' if slash else name
