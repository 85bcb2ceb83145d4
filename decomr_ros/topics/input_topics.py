"""The topics that belong to an image, as image_transport names them, wherever it is remapped to.

| topic | contents |
|---|---|
| `/camera/image_raw` | the image, to which `image` is remapped |
| `/camera/image_raw/compressed` | the same compressed |
| `/camera/camera_info` | the calibration, in the namespace of the image topic |

A remapping of one of the other two itself wins.
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
    """Full name of the topic of the images, or of the compressed ones.

    Args:
        node: whose remappings hold.
        is_compressed: of sensor_msgs/CompressedImage.
    """
    image = node.resolve_topic_name(IMAGE)
    if not is_compressed:
        return image
    expanded = node.resolve_topic_name(f'{IMAGE}{COMPRESSED}', only_expand=True)
    remapped = node.resolve_topic_name(f'{IMAGE}{COMPRESSED}')
    return f'{image}{COMPRESSED}' if remapped == expanded else remapped


def camera_info_beside(image_topic: str) -> str:
    """The topic of the calibration of an image topic; relative where that is relative.

    Args:
        image_topic: e.g. /camera/image_raw, or /camera/image_raw/compressed of image_transport.
    """
    namespace, slash, _ = image_topic.removesuffix(COMPRESSED).rpartition('/')
    return f'{namespace}{slash}{CAMERA_INFO}'


def camera_info_topic(node: Node, image_topic: str, words: Sequence[str] = ()) -> str:
    """The topic of the calibration that a node uses or publishes.

    That is the one to which `camera_info` is remapped, else the one beside the image.

    Args:
        node: whose remappings hold.
        image_topic: full name of the topic of the images, after remapping.
        words: the command line; only it tells of a remapping of camera_info to itself.

    Returns:
        The full name.
    """
    expanded = node.resolve_topic_name(CAMERA_INFO, only_expand=True)
    remapped = node.resolve_topic_name(CAMERA_INFO)
    if remapped != expanded or is_remapped(words, node.get_name(), CAMERA_INFO, expanded):
        return remapped
    return node.resolve_topic_name(camera_info_beside(image_topic))


def no_camera_info_text(node: Node, topic: str) -> str:
    """That no calibration has come, and on which other topics there is one.

    Args:
        node: it looks around.
        topic: full name of the topic that it listens to.
    """
    others = other_topics_text(node, topic, [CAMERA_INFO_TYPE])
    advice = f', but there is {others}: remap -r camera_info:=TOPIC' if others else ''
    return f'no camera_info on {topic} yet{advice}'
