"""A topic of a recording and the QoS with which `ros2 bag play` publishes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

__all__ = ['QOS_KEY', 'BagTopic', 'qos_text', 'topic_of_channel']

# Transient local in the QoS of a channel: a number up to metadata version 8, then a name.
LATCHED_IN_QOS = ('1', 'transient_local')
# Key of the QoS in rosbag2's channel metadata.
QOS_KEY = 'offered_qos_profiles'


class BagTopic(NamedTuple):
    """One topic of a recording."""

    name: str
    """Absolute name."""
    type_name: str
    """E.g. sensor_msgs/msg/Image."""
    definition: str
    """Text of the .msg file and of all nested definitions, concatenated as by rosbag2."""
    is_latched: bool
    """Transient local: `ros2 bag play` must also deliver it to late subscribers."""
    depth: int | None = None
    """QoS depth; None: 1 if latched, otherwise 10."""
    metadata: Mapping[str, str] = MappingProxyType({})
    """Channel metadata besides the QoS; other readers ignore it."""


def qos_text(topic: BagTopic) -> str:
    """The offered QoS as rosbag2 writes it up to metadata version 8: enums as numbers."""
    forever = {'sec': 9223372036, 'nsec': 854775807}
    # history 1: keep last; reliability 1: reliable; durability 1: transient local, 2: volatile;
    # liveliness 1: automatic.
    return yaml.safe_dump(
        [
            {
                'history': 1,
                'depth': topic.depth or (1 if topic.is_latched else 10),
                'reliability': 1,
                'durability': 1 if topic.is_latched else 2,
                'deadline': forever,
                'lifespan': forever,
                'liveliness': 1,
                'liveliness_lease_duration': forever,
                'avoid_ros_namespace_conventions': False,
            }
        ],
        sort_keys=False,
    )


def topic_of_channel(channel: Any, schema: Any) -> BagTopic:
    """The topic of a channel of an MCAP file.

    Args:
        channel: mcap.records.Channel.
        schema: mcap.records.Schema of its messages.
    """
    metadata = dict(channel.metadata)
    qos = metadata.pop(QOS_KEY, '')
    is_latched = any(f'durability: {word}' in qos for word in LATCHED_IN_QOS)
    # One entry per recorded publisher; late subscribers receive the messages of all of them.
    depth = sum(int(number) for number in re.findall(r'\bdepth: (\d+)', qos))
    return BagTopic(
        channel.topic, schema.name, schema.data.decode(), is_latched, depth or None, metadata
    )
