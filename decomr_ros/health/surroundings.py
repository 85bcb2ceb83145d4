"""What the graph and the middleware say of an active node, stated as warnings until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decomr_ros.health.rival_publishers import rival_texts
from decomr_ros.topics.lost_images import lost_images_text
from decomr_ros.topics.silent_topics import owner_name

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.health.diagnostics import FrameStatistics
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['look_around']


def look_around(node: Node, warnings: StandingWarnings, statistics: FrameStatistics,
                image_topic: str, settings: NodeParameters) -> None:
    """States what holds now; to be called now and then on the executor's thread.

    Args:
        node: active.
        warnings: where it is stated.
        statistics: of its images.
        image_topic: full name of the topic that they come on.
        settings: its parameters.
    """
    publishers = {owner_name(info) for info in node.get_publishers_info_by_topic(image_topic)}
    texts = {'lost_images': lost_images_text(*statistics.recent_losses(), image_topic, publishers),
             **rival_texts(node, settings)}
    for name, text in texts.items():
        warnings.hold_if_lasting(name, text)
