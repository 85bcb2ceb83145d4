"""Detects other nodes that publish the same topics, /tf frames or REP-155 list as this node.

Their messages mix. A subscriber of /human_meshes receives the people of two cameras in turn, a
frame on /tf jumps between two positions, and each message on /humans/bodies/tracked removes the
people of the other node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decomr.msg import HumanMeshArray

from decomr_ros.outputs.body_frames import body_name
from decomr_ros.outputs.rep155 import BODIES
from decomr_ros.topics.silent_topics import owner_name, type_name

if TYPE_CHECKING:
    from rclpy.node import Node

    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['CONFLICT_WARNINGS', 'conflict_texts']

OUTPUTS = ('human_meshes', 'topology', 'iuv', 'markers', 'vertices', 'overlay')
TF, TRACKED = '/tf', f'{BODIES}/tracked'
CONFLICT_WARNINGS = ('shared_topics', 'shared_frames', 'shared_rep155')


def conflict_texts(node: Node, parameters: NodeParameters) -> dict[str, str]:
    """Warnings about nodes that publish the same, from the current ROS graph.

    Args:
        node: this node, with its publishers.
        parameters: its parameters, which switch /tf and REP-155.

    Returns:
        A sentence for each of `CONFLICT_WARNINGS`; empty if there is no such node.
    """
    return {
        'shared_topics': _topics_text(node),
        'shared_frames': _frames_text(node) if parameters.publish_tf else '',
        'shared_rep155': _tracked_text(node) if parameters.rep155 else '',
    }


def _topics_text(node: Node) -> str:
    """A warning about other publishers of this node's topics."""
    others = {
        topic: found
        for name in OUTPUTS
        if (found := _others(node, topic := node.resolve_topic_name(name)))
    }
    if not others:
        return ''
    conflicting = set().union(*others.values())
    return (
        f'{_listed(conflicting)} publishes on {", ".join(others)} like this node '
        f'({node.get_fully_qualified_name()}): subscribers cannot distinguish their messages; '
        'give each node its own namespace (-r __ns:=/NAME) or other topics '
        '(-r human_meshes:=TOPIC), or stop one of them'
    )


def _frames_text(node: Node) -> str:
    """A warning about other publishers of this node's frames."""
    conflicting = _conflicting_nodes(node)
    if not conflicting:
        return ''
    return (
        f'{_listed(conflicting)} publishes the same frames on {TF} as this node '
        f'({node.get_fully_qualified_name()}), such as {_first_body(node.get_namespace())}: '
        'each frame jumps between two people; give each node its own namespace '
        '(-r __ns:=/NAME), or set publish_tf to false in all but one'
    )


def _tracked_text(node: Node) -> str:
    """A warning about other publishers of the list of bodies."""
    conflicting = _others(node, TRACKED)
    if not conflicting:
        return ''
    return (
        f'{_listed(conflicting)} publishes {TRACKED} like this node '
        f'({node.get_fully_qualified_name()}): each removes the people of the other from the '
        'list; set rep155 to false in all but one'
    )


def _conflicting_nodes(node: Node) -> set[str]:
    """Other nodes of this kind that publish /tf with the same frame names."""
    publishers = _publishers(node, TF)
    prefix = _first_body(node.get_namespace())
    mesh_type, conflicting = type_name(HumanMeshArray), set()
    own = node.get_fully_qualified_name()
    for topic, types in node.get_topic_names_and_types():
        if mesh_type not in types:
            continue
        for info in node.get_publishers_info_by_topic(topic):
            name = owner_name(info)
            if (
                info.topic_type == mesh_type
                and name != own
                and name in publishers
                and _first_body(info.node_namespace) == prefix
            ):
                conflicting.add(name)
    # A node of the same name as this one shows only as a second publisher.
    return conflicting | ({own} if publishers.count(own) > 1 else set())


def _others(node: Node, topic: str) -> set[str]:
    """The other nodes that publish a topic, including one with the name of this node."""
    names = _publishers(node, topic)
    own = node.get_fully_qualified_name()
    if own in names:
        names.remove(own)
    return set(names)


def _publishers(node: Node, topic: str) -> list[str]:
    """The full name of each publisher's node."""
    return [owner_name(info) for info in node.get_publishers_info_by_topic(topic)]


def _first_body(namespace: str) -> str:
    """The frame of the first person of a node in this namespace."""
    return f'body_{body_name(namespace, 1)}'


def _listed(names: set[str]) -> str:
    return ' and '.join(sorted(names))
