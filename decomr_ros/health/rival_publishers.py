"""Other nodes that publish what this node publishes: on its topics, its frames, REP-155's list.

Their messages mix: a reader of /human_meshes sees the people of two cameras in turn, a frame on
/tf jumps between two places, and each list of /humans/bodies/tracked takes the people of the
other node off it.
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

__all__ = ['RIVAL_WARNINGS', 'rival_texts']

OUTPUTS = ('human_meshes', 'topology', 'iuv', 'markers', 'vertices', 'overlay')
TF, TRACKED = '/tf', f'{BODIES}/tracked'
RIVAL_WARNINGS = ('shared_topics', 'shared_frames', 'shared_rep155')


def rival_texts(node: Node, settings: NodeParameters) -> dict[str, str]:
    """What other nodes publish too, as the graph shows it now.

    Args:
        node: has made its publishers.
        settings: whether it publishes /tf and REP-155.

    Returns:
        A sentence by each of `RIVAL_WARNINGS`; empty where nobody does.
    """
    return {'shared_topics': _topics_text(node),
            'shared_frames': _frames_text(node) if settings.publish_tf else '',
            'shared_rep155': _tracked_text(node) if settings.rep155 else ''}


def _topics_text(node: Node) -> str:
    """Who else publishes on the topics of this node."""
    others = {topic: found for name in OUTPUTS
              if (found := _others(node, topic := node.resolve_topic_name(name)))}
    if not others:
        return ''
    rivals = set().union(*others.values())
    return (f'{_listed(rivals)} publishes on {", ".join(others)} as this node, '
            f'{node.get_fully_qualified_name()}, does: readers take the messages of both for '
            'those of one; give each node a namespace of its own (-r __ns:=/NAME) or other topics '
            '(-r human_meshes:=TOPIC), or end one of them')


def _frames_text(node: Node) -> str:
    """Who else publishes the frames of this node."""
    rivals = _frame_rivals(node)
    if not rivals:
        return ''
    return (f'{_listed(rivals)} publishes the same frames on {TF} as this node, '
            f'{node.get_fully_qualified_name()}, does ({_first_body(node.get_namespace())} and so '
            'on): each frame jumps between two people; give each node a namespace of its own '
            '(-r __ns:=/NAME), or set publish_tf to false in all but one')


def _tracked_text(node: Node) -> str:
    """Who else publishes the list of bodies."""
    rivals = _others(node, TRACKED)
    if not rivals:
        return ''
    return (f'{_listed(rivals)} publishes {TRACKED} as this node, '
            f'{node.get_fully_qualified_name()}, does: each takes the people of the other off the '
            'list; set rep155 to false in all but one')


def _frame_rivals(node: Node) -> set[str]:
    """Other nodes of this kind that publish /tf and call their people as this node does."""
    publishers = _publishers(node, TF)
    prefix = _first_body(node.get_namespace())
    mesh_type, rivals = type_name(HumanMeshArray), set()
    own = node.get_fully_qualified_name()
    for topic, types in node.get_topic_names_and_types():
        if mesh_type not in types:
            continue
        for info in node.get_publishers_info_by_topic(topic):
            name = owner_name(info)
            if (info.topic_type == mesh_type and name != own and name in publishers
                    and _first_body(info.node_namespace) == prefix):
                rivals.add(name)
    # A node of the same name as this one is known by its second publisher alone.
    return rivals | ({own} if publishers.count(own) > 1 else set())


def _others(node: Node, topic: str) -> set[str]:
    """The other nodes that publish a topic; another one of the same name has that name."""
    names = _publishers(node, topic)
    own = node.get_fully_qualified_name()
    if own in names:
        names.remove(own)
    return set(names)


def _publishers(node: Node, topic: str) -> list[str]:
    """Full name of the node of each publisher."""
    return [owner_name(info) for info in node.get_publishers_info_by_topic(topic)]


def _first_body(namespace: str) -> str:
    """What the first person of a node in this namespace is called on /tf."""
    return f'body_{body_name(namespace, 1)}'


def _listed(names: set[str]) -> str:
    return ' and '.join(sorted(names))
