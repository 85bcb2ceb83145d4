"""A topic of a recording and the QoS that `ros2 bag play` offers it with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

__all__ = ['QOS_KEY', 'BagTopic', 'qos_text', 'topic_of_channel']

# How transient local is written in the QoS of a channel: as a number up to metadata version 8.
LATCHED_IN_QOS = ('1', 'transient_local')
# Where rosbag2 keeps the QoS in the metadata of a channel.
QOS_KEY = 'offered_qos_profiles'


class BagTopic(NamedTuple):
    """One topic of a recording."""

    name: str
    """Absolute name."""
    type_name: str
    """E.g. sensor_msgs/msg/Image."""
    definition: str
    """Text of the .msg file and of all it needs, as rosbag2 concatenates them."""
    is_latched: bool
    """Transient local: `ros2 bag play` must offer it to late subscribers again."""
    depth: int | None = None
    """Messages that late subscribers get of a latched topic; None: 1 if latched, otherwise 10."""
    metadata: Mapping[str, str] = MappingProxyType({})
    """What the channel in the file says besides its QoS; other readers pass over it."""


def qos_text(topic: BagTopic) -> str:
    """The offered QoS as rosbag2 writes it up to metadata version 8: enums as numbers."""
    forever = {'sec': 9223372036, 'nsec': 854775807}
    # history 1: keep last; reliability 1: reliable; durability 1: transient local, 2: volatile;
    # liveliness 1: automatic.
    return yaml.safe_dump([{
        'history': 1, 'depth': topic.depth or (1 if topic.is_latched else 10), 'reliability': 1,
        'durability': 1 if topic.is_latched else 2, 'deadline': forever, 'lifespan': forever,
        'liveliness': 1, 'liveliness_lease_duration': forever,
        'avoid_ros_namespace_conventions': False}], sort_keys=False)


def topic_of_channel(channel: Any, schema: Any) -> BagTopic:
    """The topic that a channel of an MCAP file holds.

    Args:
        channel: mcap.records.Channel.
        schema: mcap.records.Schema of its messages.
    """
    metadata = dict(channel.metadata)
    qos = metadata.pop(QOS_KEY, '')
    is_latched = any(f'durability: {word}' in qos for word in LATCHED_IN_QOS)
    # One entry for each publisher that rosbag2 recorded; late subscribers get those of all.
    depth = sum(int(number) for number in re.findall(r'\bdepth: (\d+)', qos))
    return BagTopic(channel.topic, schema.name, schema.data.decode(), is_latched,
                    depth or None, metadata)
