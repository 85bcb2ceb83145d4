"""`decomr bag markers`: a copy of a bag that also contains the markers and frames of its meshes.

Programs that open bags directly (Foxglove, Lichtblick) support markers and transforms, but not
this package's meshes. All other messages are copied byte for byte. tf2_msgs need not be
installed: its message is serialised here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decomr.msg import HumanMeshArray
from rclpy.serialization import deserialize_message

from decomr_ros.bags.copying import BagCopy, bag_copy
from decomr_ros.bags.mcap_reading import BagMessage, read_bag, read_topics
from decomr_ros.bags.message_definitions import SEPARATOR, message_definition
from decomr_ros.bags.recording import Recording
from decomr_ros.bags.topics import BagTopic
from decomr_ros.messages.cdr import CdrWriter
from decomr_ros.outputs.body_frames import body_transforms
from decomr_ros.outputs.mesh_scene import MeshScene

if TYPE_CHECKING:
    from geometry_msgs.msg import TransformStamped

__all__ = ['TF_MESSAGE', 'add_markers', 'serialized_transforms', 'tf_definition']

MARKER_ARRAY, TF_MESSAGE = 'visualization_msgs/msg/MarkerArray', 'tf2_msgs/msg/TFMessage'
TRANSFORM = 'geometry_msgs/msg/TransformStamped'


def add_markers(
    bag: Path,
    out: Path,
    namespace: str | None = None,
    num_triangles: int = 0,
    frames: str = 'bodies',
) -> dict[str, Any]:
    """Copies a bag and adds `markers` and /tf at the time of each mesh message.

    Args:
        bag: folder or .mcap file.
        out: folder of the copy; must not exist, or must be empty.
        namespace: of the node; required if the bag contains meshes of several nodes.
        num_triangles: approximate number of triangles per person; 0: all.
        frames: `none`, `bodies`, or `joints` (bodies and joints).

    Returns:
        out, markers (the topic), messages (mesh messages), with_markers (those with at least one
        person with a position), without_position (meshes left out), size_mb.

    Raises:
        FileNotFoundError: there is no bag.
        FileExistsError: the folder is not empty.
        ValueError: the bag is damaged, contains no meshes, or already contains markers.
    """
    recording = Recording(bag, namespace)
    mesh_namespace = recording.mesh_topic.rpartition('/')[0]
    markers = f'{mesh_namespace}/markers'
    if next(read_bag(bag, [markers]), None) is not None:
        raise ValueError(f'{bag} already contains messages on {markers}; open it directly')
    topics = list((_added_topics(markers, frames) | read_topics(bag)).values())
    with bag_copy(out, topics) as copy:
        marked = _MarkedCopy(
            copy, MeshScene(recording.topology, num_triangles), markers, mesh_namespace, frames
        )
        for message in read_bag(bag):
            marked.add(message, message.topic == recording.mesh_topic)
    return {
        'bag': str(bag),
        'out': str(out),
        'markers': markers,
        **marked.report(),
        'size_mb': round(sum(path.stat().st_size for path in out.iterdir()) / 1e6, 3),
    }


def _added_topics(markers: str, frames: str) -> dict[str, BagTopic]:
    added = [BagTopic(markers, MARKER_ARRAY, message_definition(MARKER_ARRAY), False)]
    if frames != 'none':
        added.append(BagTopic('/tf', TF_MESSAGE, tf_definition(), False, 100))
    return {topic.name: topic for topic in added}


class _MarkedCopy:
    """Copies messages and adds the markers and frames of meshes."""

    def __init__(
        self, copy: BagCopy, scene: MeshScene, markers: str, namespace: str, frames: str
    ) -> None:
        self._copy, self._scene, self._topic = copy, scene, markers
        self._namespace, self._frames = namespace, frames
        self._num_messages = self._num_with = self._num_without_position = 0

    def add(self, message: BagMessage, is_meshes: bool) -> None:
        """Copies a message; if it contains meshes, their markers and frames follow."""
        self._copy.write(message.topic, message.data, message)
        if not is_meshes:
            return
        array = deserialize_message(message.data, HumanMeshArray)
        people = self._scene.people(array)
        self._num_messages += 1
        self._num_with += bool(people)
        self._num_without_position += len(array.meshes) - len(people)
        self._copy.write(self._topic, self._scene.markers(array.header, people), message)
        if people and self._frames != 'none':
            self._copy.write(
                '/tf',
                serialized_transforms(
                    body_transforms(
                        array.header, self._namespace, people, self._frames == 'joints'
                    )
                ),
                message,
            )

    def report(self) -> dict[str, int]:
        """The numbers of messages and meshes."""
        return {
            'messages': self._num_messages,
            'with_markers': self._num_with,
            'without_position': self._num_without_position,
        }


def serialized_transforms(transforms: Sequence[TransformStamped]) -> bytes:
    """The serialised tf2_msgs/TFMessage of transforms."""
    writer = CdrWriter()
    writer.numbers('I', len(transforms))
    for message in transforms:
        writer.numbers('i', message.header.stamp.sec)
        writer.numbers('I', message.header.stamp.nanosec)
        writer.text(message.header.frame_id)
        writer.text(message.child_frame_id)
        position, rotation = message.transform.translation, message.transform.rotation
        writer.numbers(
            'd', position.x, position.y, position.z, rotation.x, rotation.y, rotation.z, rotation.w
        )
    return writer.joined()


def tf_definition() -> str:
    """The definition of tf2_msgs/TFMessage and of all nested messages."""
    return '\n'.join(
        [
            'geometry_msgs/TransformStamped[] transforms',
            SEPARATOR,
            'MSG: geometry_msgs/TransformStamped',
            message_definition(TRANSFORM),
        ]
    )
