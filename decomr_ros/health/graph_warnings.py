"""Warnings from the ROS graph and the middleware while the node is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decomr_ros.health.conflicting_publishers import conflict_texts
from decomr_ros.topics.lost_images import lost_images_text
from decomr_ros.topics.silent_topics import owner_name

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.health.diagnostics import FrameStatistics
    from decomr_ros.node.standing_warnings import StandingWarnings
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['update_graph_warnings']


def update_graph_warnings(
    node: Node,
    warnings: StandingWarnings,
    statistics: FrameStatistics,
    image_topic: str,
    parameters: NodeParameters,
) -> None:
    """Updates these warnings; call it periodically on the executor's thread.

    Args:
        node: the active node.
        warnings: to be updated.
        statistics: of the node's images.
        image_topic: full name of their topic.
        parameters: the node's parameters.
    """
    publishers = {owner_name(info) for info in node.get_publishers_info_by_topic(image_topic)}
    texts = {
        'lost_images': lost_images_text(*statistics.recent_losses(), image_topic, publishers),
        **conflict_texts(node, parameters),
    }
    for name, text in texts.items():
        warnings.set_if_lasting(name, text)
