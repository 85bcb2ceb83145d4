"""Why no message arrives on a topic: its publishers, their types, and similar topics."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.topic_endpoint_info import TopicEndpointInfo

__all__ = [
    'IMAGE_TYPES',
    'other_topics_text',
    'other_types_text',
    'owner_name',
    'publishers_text',
    'type_name',
]

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = (IMAGE, COMPRESSED)
COMPRESSED_SUFFIX = '/compressed'
# rcl's name for the node of a publisher while it is undiscovered, or if it is not a ROS 2 node.
UNKNOWN, NAMELESS = '_NODE_NAME_UNKNOWN_', 'a node of unknown name'
# A robot may have many cameras; at most this many topics are listed.
MAX_NAMED = 4


def type_name(type_: type) -> str:
    """A message type's name in the ROS graph, e.g. sensor_msgs/msg/Image."""
    return f'{type_.__module__.split(".")[0]}/msg/{type_.__name__}'


def owner_name(info: TopicEndpointInfo) -> str:
    """Full name of a publisher's node; briefly unknown after the node has started."""
    if info.node_name == UNKNOWN:
        return NAMELESS
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'


def publishers_text(node: Node, topic: str, types: Collection[str] = IMAGE_TYPES) -> str:
    """The publishers of a topic; if there are none, other topics of the given types.

    Args:
        node: its graph is queried.
        topic: full name.
        types: types of the other topics to list, e.g. sensor_msgs/msg/Image.

    Returns:
        A clause; empty if none of them is published.
    """
    if node.get_publishers_info_by_topic(topic):
        return f'it is published as {_described(node, topic)}, but no message arrived'
    others = other_topics_text(node, topic, types)
    return f'no node publishes it; published instead: {others}' if others else ''


def other_topics_text(node: Node, topic: str, types: Collection[str]) -> str:
    """The other published topics of some types, with their publishers.

    Args:
        node: its graph is queried; its own publications are left out.
        topic: full name of the silent topic.
        types: names of the types in the ROS graph.

    Returns:
        A list in words; empty if there are none.
    """
    own = node.get_fully_qualified_name()
    name = _image_name(topic)
    others = [
        other
        for other, found in node.get_topic_names_and_types()
        if other != topic
        and set(found) & set(types)
        and any(
            info.topic_type in types and owner_name(info) != own
            for info in node.get_publishers_info_by_topic(other)
        )
    ]
    # Topics of the same base name first: often only the namespace differs.
    others.sort(key=lambda other: (_image_name(other) != name, other))
    if not others:
        return ''
    more = f' and {len(others) - MAX_NAMED} more' if len(others) > MAX_NAMED else ''
    return f'{", ".join(_described(node, other) for other in others[:MAX_NAMED])}{more}'


def other_types_text(node: Node, name: str, topic: str, wanted: str) -> str:
    """The publishers of a topic whose type is not the subscribed one, and the remedy.

    The middleware does not connect different types and reports no error.

    Args:
        node: its graph is queried.
        name: of the input, e.g. image.
        topic: full name.
        wanted: the type that the node subscribes to.

    Returns:
        A sentence; empty if there is no such publisher.
    """
    found = sorted(
        {
            info.topic_type
            for info in node.get_publishers_info_by_topic(topic)
            if info.topic_type != wanted
        }
    )
    if not found:
        return ''
    return (
        f'{_described(node, topic)} is not of type {wanted}, which this node expects as '
        f'{name}: its messages are not received; {_remedy(name, topic, wanted, found)}'
    )


def _remedy(name: str, topic: str, wanted: str, found: list[str]) -> str:
    """What to do about a topic whose types differ from the wanted one."""
    if wanted == IMAGE and name == 'image' and COMPRESSED in found:
        plain = topic.removesuffix(COMPRESSED_SUFFIX)
        rule = f'image:={plain}' if plain != topic else f'image/compressed:={topic}'
        return f'set image_transport:=compressed and remap -r {rule}'
    if wanted == COMPRESSED and IMAGE in found:
        return f'set image_transport:=raw and remap -r image:={topic}'
    return f'remap -r {name}:=TOPIC to a topic of {wanted}'


def _image_name(topic: str) -> str:
    """The last part of a topic, whatever its transport: `image` of /front/image/compressed."""
    return topic.removesuffix(COMPRESSED_SUFFIX).rpartition('/')[2]


def _described(node: Node, topic: str) -> str:
    """E.g. /image (sensor_msgs/msg/Image from /camera)."""
    found = sorted(
        {(info.topic_type, owner_name(info)) for info in node.get_publishers_info_by_topic(topic)}
    )
    return f'{topic} ({", ".join(f"{type_} from {owner}" for type_, owner in found)})'
