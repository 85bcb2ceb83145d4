"""The topics that belong to an image topic, named as by image_transport, after remapping.

| topic | contents |
|---|---|
| `/camera/image_raw` | the image, to which `image` is remapped |
| `/camera/image_raw/compressed` | the compressed image |
| `/camera/camera_info` | the calibration, in the namespace of the image topic |

A direct remapping of one of the other two takes precedence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decomr_ros.programs.ros_arguments import is_remapped
from decomr_ros.topics.silent_topics import other_topics_text

if TYPE_CHECKING:
    from rclpy.node import Node

__all__ = ['camera_info_beside', 'camera_info_topic', 'image_topic', 'no_camera_info_text']

IMAGE, CAMERA_INFO = 'image', 'camera_info'
COMPRESSED = '/compressed'
CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'


def image_topic(node: Node, is_compressed: bool = False) -> str:
    """Full name of the image topic.

    Args:
        node: its remappings are applied.
        is_compressed: the topic of sensor_msgs/CompressedImage instead of sensor_msgs/Image.
    """
    image = node.resolve_topic_name(IMAGE)
    if not is_compressed:
        return image
    expanded = node.resolve_topic_name(f'{IMAGE}{COMPRESSED}', only_expand=True)
    remapped = node.resolve_topic_name(f'{IMAGE}{COMPRESSED}')
    return f'{image}{COMPRESSED}' if remapped == expanded else remapped


def camera_info_beside(image_topic: str) -> str:
    """The camera_info topic of an image topic; relative if the image topic is relative.

    Args:
        image_topic: e.g. /camera/image_raw, or /camera/image_raw/compressed of image_transport.
    """
    namespace, slash, _ = image_topic.removesuffix(COMPRESSED).rpartition('/')
    return f'{namespace}{slash}{CAMERA_INFO}'


def camera_info_topic(node: Node, image_topic: str, arguments: Sequence[str] = ()) -> str:
    """The camera_info topic that a node uses or publishes.

    The topic to which `camera_info` is remapped, otherwise the one beside the image.

    Args:
        node: its remappings are applied.
        image_topic: full name of the image topic, after remapping.
        arguments: command-line arguments; needed to detect a remapping of camera_info to itself.

    Returns:
        The full name.
    """
    expanded = node.resolve_topic_name(CAMERA_INFO, only_expand=True)
    remapped = node.resolve_topic_name(CAMERA_INFO)
    if remapped != expanded or is_remapped(arguments, node.get_name(), CAMERA_INFO, expanded):
        return remapped
    return node.resolve_topic_name(camera_info_beside(image_topic))


def no_camera_info_text(node: Node, topic: str) -> str:
    """The warning that no camera_info has arrived, with other topics of its type.

    Args:
        node: its graph is queried.
        topic: full name of the topic that it subscribes to.
    """
    others = other_topics_text(node, topic, [CAMERA_INFO_TYPE])
    advice = f'; published instead: {others}: remap -r camera_info:=TOPIC' if others else ''
    return f'no camera_info on {topic} yet{advice}'
