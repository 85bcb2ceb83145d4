"""The meshes of a bag with their topology and their camera.

Topics are found by type, so the node may be in any namespace. The camera's topics are those with
the frame id of the meshes. Stamps are those of the images, ns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from decomr_core.base.structures import HumanMesh
from decomr_ros.bags.mcap_reading import read_bag, read_topic_types
from decomr_ros.bags.rounded_meshes import MESHES
from decomr_ros.messages.images import rgb_from_image_message
from decomr_ros.messages.meshes import human_meshes_from_message, nanoseconds_from_stamp

__all__ = ['Latest', 'Recording', 'StampedMeshes', 'find_mesh_topics']

TOPOLOGY = 'decomr/msg/MeshTopology'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
# Compressed images first: if both were recorded, they are cheaper to read.
IMAGES = {'sensor_msgs/msg/CompressedImage': CompressedImage, 'sensor_msgs/msg/Image': Image}
# Image topics with the camera's frame id that are not camera images.
NOT_CAMERA_IMAGES = ('iuv', 'overlay')
Value = TypeVar('Value')


class StampedMeshes(NamedTuple):
    """The people of one image."""

    stamp_ns: int
    meshes: list[HumanMesh]
    latency_ms: float
    """From the image's stamp to the publication of its meshes."""


class Latest(Generic[Value]):
    """The last value at or before a time, from values in the order of their stamps."""

    def __init__(self, values: Iterator[tuple[int, Value]]) -> None:
        """Reads the first value.

        Args:
            values: stamps, ns, and the values valid from then on.
        """
        self._values = values
        self._shown: tuple[int, Value] | None = None
        self._following = next(values, None)

    @property
    def is_over(self) -> bool:
        """Whether the last value has been reached."""
        return self._following is None

    def at(self, stamp_ns: int) -> tuple[int, Value] | None:
        """Stamp and value; None before the first one. `stamp_ns` must not decrease."""
        while self._following is not None and self._following[0] <= stamp_ns:
            self._shown, self._following = self._following, next(self._values, None)
        return self._shown


class Recording:
    """The part of a bag that belongs to one node.

    Attributes:
        bag: folder or .mcap file.
        types: the type of every topic by name.
        mesh_topic: e.g. /human_meshes.
        topology: message from the same namespace.
        faces: (F, 3) int64.
        frame_id: of the meshes: the camera's optical frame.
    """

    def __init__(self, bag: Path, namespace: str | None = None) -> None:
        """Finds the topics.

        Args:
            bag: folder or .mcap file.
            namespace: of the node; required if the bag contains meshes of several nodes.

        Raises:
            FileNotFoundError: there is no bag.
            ValueError: it is damaged, or contains no meshes or no topology for them.
        """
        self.bag, self.types = bag, read_topic_types(bag)
        self.mesh_topic = _choose(bag, find_mesh_topics(bag, self.types), namespace)
        self.topology = self._read_topology()
        self.faces = np.array(self.topology.faces, np.int64).reshape(-1, 3)
        first = next(read_bag(bag, [self.mesh_topic]))
        self.frame_id = deserialize_message(first.data, HumanMeshArray).header.frame_id

    def stamped_meshes(self) -> Iterator[StampedMeshes]:
        """The meshes of each image.

        Raises:
            ValueError: they belong to another body than the topology.
        """
        for message in read_bag(self.bag, [self.mesh_topic]):
            array = deserialize_message(message.data, HumanMeshArray)
            if array.topology_hash != self.topology.hash:
                raise ValueError(
                    f'{self.bag}: the meshes on {self.mesh_topic} belong to the body '
                    f'{array.topology_hash[:12]}, the topology to {self.topology.hash[:12]}; '
                    'record both topics of one node'
                )
            stamp_ns = nanoseconds_from_stamp(array.header.stamp)
            yield StampedMeshes(
                stamp_ns, human_meshes_from_message(array), (message.publish_ns - stamp_ns) / 1e6
            )

    def camera_infos(self) -> Iterator[tuple[int, CameraInfo]]:
        """Stamp and message of each calibration of the meshes' camera."""
        for topic in self._topics_of(CAMERA_INFO):
            if self._has_frame(topic, CameraInfo):
                yield from self._messages(topic, CameraInfo)
                return

    def camera_image_topic(self) -> str | None:
        """The topic with images of the meshes' camera; None if there is none."""
        for type_name, type_ in IMAGES.items():
            for topic in self._topics_of(type_name):
                name = topic.removesuffix('/compressed').rpartition('/')[2]
                if (
                    name not in NOT_CAMERA_IMAGES
                    and 'depth' not in topic.lower()
                    and self._has_frame(topic, type_)
                ):
                    return topic
        return None

    def images(self, topic: str) -> Iterator[tuple[int, np.ndarray]]:
        """Stamp and pixels, (H, W, 3) uint8 RGB, of each image of a topic.

        Raises:
            ValueError: an image cannot be decoded, or the topic has no images.
        """
        type_ = IMAGES.get(self.types.get(topic, ''))
        if type_ is None:
            raise ValueError(
                f'{self.bag} contains no images on {topic}; its topics: '
                f'{", ".join(sorted(self.types))}'
            )
        for stamp_ns, message in self._messages(topic, type_):
            yield (
                stamp_ns,
                (
                    _decoded(message, topic)
                    if type_ is CompressedImage
                    else rgb_from_image_message(message)
                ),
            )

    def _read_topology(self) -> MeshTopology:
        namespace = self.mesh_topic.rpartition('/')[0]
        topics = [
            topic for topic in self._topics_of(TOPOLOGY) if topic.rpartition('/')[0] == namespace
        ]
        message = next(read_bag(self.bag, topics), None) if topics else None
        if message is None:
            raise ValueError(
                f'{self.bag} contains no topology for {self.mesh_topic}; record it '
                'with ros2 bag record --qos-profile-overrides-path '
                'config/node/rosbag2_qos.yaml, which requests latched topics'
            )
        return deserialize_message(message.data, MeshTopology)

    def _topics_of(self, type_name: str) -> list[str]:
        return sorted(topic for topic, found in self.types.items() if found == type_name)

    def _has_frame(self, topic: str, type_: type) -> bool:
        message = next(read_bag(self.bag, [topic]), None)
        return (
            message is not None
            and deserialize_message(message.data, type_).header.frame_id == self.frame_id
        )

    def _messages(self, topic: str, type_: type) -> Iterator[tuple[int, Any]]:
        for message in read_bag(self.bag, [topic]):
            decoded = deserialize_message(message.data, type_)
            yield nanoseconds_from_stamp(decoded.header.stamp), decoded


def find_mesh_topics(bag: Path, types: dict[str, str]) -> list[str]:
    """The topics with at least one mesh message.

    Args:
        bag: folder or .mcap file.
        types: the type of every topic by name.

    Raises:
        ValueError: there are none.
    """
    found = [
        topic
        for topic, type_name in sorted(types.items())
        if type_name == MESHES and next(read_bag(bag, [topic]), None) is not None
    ]
    if not found:
        has = f'its topics: {", ".join(sorted(types))}' if types else 'it is empty'
        raise ValueError(
            f'{bag} contains no mesh messages ({has}); record human_meshes while the '
            'node is active and receives images'
        )
    return found


def _choose(bag: Path, topics: list[str], namespace: str | None) -> str:
    if namespace is None and len(topics) == 1:
        return topics[0]
    wanted = f'/{(namespace or "").strip("/")}'.rstrip('/')
    chosen = [
        topic for topic in topics if namespace is not None and topic.rpartition('/')[0] == wanted
    ]
    if len(chosen) != 1:
        raise ValueError(
            f'{bag} contains meshes on {", ".join(topics)}; choose one with --namespace'
        )
    return chosen[0]


def _decoded(message: CompressedImage, topic: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f'{topic} contains an image of format {message.format!r} that OpenCV '
            'cannot decode; record jpeg or png'
        )
    return np.ascontiguousarray(image[..., ::-1])
