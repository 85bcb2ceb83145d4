"""Why a topic that was asked for stays silent: who publishes it, as what, and what else."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.topic_endpoint_info import TopicEndpointInfo

__all__ = ['PICTURE_TYPES', 'other_topics_text', 'other_types_text', 'owner_name',
           'publishers_text', 'type_name']

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
PICTURE_TYPES = (IMAGE, COMPRESSED)
COMPRESSED_SUFFIX = '/compressed'
# What rcl says of a publisher whose node it does not know, or that is no node of ROS 2.
UNKNOWN, NAMELESS = '_NODE_NAME_UNKNOWN_', 'a node without a name'
# A robot may have many cameras; so many topics are named.
MAX_NAMED = 4


def type_name(type_: type) -> str:
    """A message type as the graph calls it, e.g. sensor_msgs/msg/Image."""
    return f'{type_.__module__.split(".")[0]}/msg/{type_.__name__}'


def owner_name(info: TopicEndpointInfo) -> str:
    """Full name of the node of a publisher; not known for a moment after it has started."""
    if info.node_name == UNKNOWN:
        return NAMELESS
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def publishers_text(node: Node, topic: str, types: Collection[str] = PICTURE_TYPES) -> str:
    """Who publishes a topic, else which others of the same types there are.

    Args:
        node: it looks around.
        topic: full name.
        types: that other topics must have to be named, e.g. sensor_msgs/msg/Image.

    Returns:
        A part of a sentence; empty where nobody publishes any of them.
    """
    if node.get_publishers_info_by_topic(topic):
        return f'published is {_described(node, topic)}, but no message came'
    others = other_topics_text(node, topic, types)
    return f'nobody publishes it, but there is {others}' if others else ''


def other_topics_text(node: Node, topic: str, types: Collection[str]) -> str:
    """The other topics of some types that somebody publishes, with their publishers.

    Args:
        node: it looks around; what it publishes itself is left out.
        topic: full name of the one that is silent.
        types: as the graph calls them.

    Returns:
        A list in words; empty where there are none.
    """
    own = node.get_fully_qualified_name()
    name = _picture_name(topic)
    others = [other for other, found in node.get_topic_names_and_types()
              if other != topic and set(found) & set(types)
              and any(info.topic_type in types and owner_name(info) != own
                      for info in node.get_publishers_info_by_topic(other))]
    # Those of the same name first: often it is the namespace that differs.
    others.sort(key=lambda other: (_picture_name(other) != name, other))
    if not others:
        return ''
    more = f' and {len(others) - MAX_NAMED} more' if len(others) > MAX_NAMED else ''
    return f'{", ".join(_described(node, other) for other in others[:MAX_NAMED])}{more}'


def other_types_text(node: Node, name: str, topic: str, wanted: str) -> str:
    """Who publishes a topic as another type than the node subscribes to, and what to do.

    The middleware connects neither, and tells neither.

    Args:
        node: it looks around.
        name: of the input, e.g. image.
        topic: full name.
        wanted: the type that the node subscribes to.

    Returns:
        A sentence; empty where nobody does.
    """
    found = sorted({info.topic_type for info in node.get_publishers_info_by_topic(topic)
                    if info.topic_type != wanted})
    if not found:
        return ''
    return (f'{_described(node, topic)} is not {wanted}, which this node reads as {name}: '
            f'nothing arrives from there; {_remedy(name, topic, wanted, found)}')


def _remedy(name: str, topic: str, wanted: str, found: list[str]) -> str:
    """What to do where a topic has other types than the wanted one."""
    if wanted == IMAGE and name == 'image' and COMPRESSED in found:
        plain = topic.removesuffix(COMPRESSED_SUFFIX)
        rule = f'image:={plain}' if plain != topic else f'image/compressed:={topic}'
        return f'set image_transport:=compressed and remap -r {rule}'
    if wanted == COMPRESSED and IMAGE in found:
        return f'set image_transport:=raw and remap -r image:={topic}'
    return f'remap -r {name}:=TOPIC to a topic of {wanted}'


def _picture_name(topic: str) -> str:
    """The last part of a topic, whatever its transport: `image` of /front/image/compressed."""
    return topic.removesuffix(COMPRESSED_SUFFIX).rpartition('/')[2]


def _described(node: Node, topic: str) -> str:
    """E.g. /image (sensor_msgs/msg/Image of /camera)."""
    found = sorted({(info.topic_type, owner_name(info))
                    for info in node.get_publishers_info_by_topic(topic)})
    return f'{topic} ({", ".join(f"{type_} of {owner}" for type_, owner in found)})'
