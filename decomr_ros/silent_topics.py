"""Why a topic that was asked for stays silent: who publishes it, or pictures elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

__all__ = ['publishers_text']

PICTURE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
# A robot may have many cameras; so many topics are named.
MAX_NAMED = 4


def publishers_text(node: Node, topic: str) -> str:
    """Who publishes a topic of pictures, else which others there are.

    Args:
        node: it looks around.
        topic: full name.

    Returns:
        A part of a sentence; empty where nobody publishes any pictures.
    """
    if node.get_publishers_info_by_topic(topic):
        return f'published is {_described(node, topic)}, but no message came'
    name = topic.rpartition('/')[2]
    others = [other for other, types in node.get_topic_names_and_types()
              if set(types) & set(PICTURE_TYPES) and node.get_publishers_info_by_topic(other)]
    # Those of the same name first: often it is the namespace that differs.
    others.sort(key=lambda other: (other.rpartition('/')[2] != name, other))
    if not others:
        return ''
    more = f' and {len(others) - MAX_NAMED} more' if len(others) > MAX_NAMED else ''
    return (f'nobody publishes it, but there is '
            f'{", ".join(_described(node, other) for other in others[:MAX_NAMED])}{more}')


def _described(node: Node, topic: str) -> str:
    """E.g. /image (sensor_msgs/msg/Image of /camera)."""
    found = sorted({(info.topic_type, f'{info.node_namespace.rstrip("/")}/{info.node_name}')
                    for info in node.get_publishers_info_by_topic(topic)})
    return f'{topic} ({", ".join(f"{type_} of {owner}" for type_, owner in found)})'
