"""The topics that the node publishes: meshes always, pictures and markers while somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_core.drawing import compose_iuv, draw_meshes
from decomr_ros.images import image_message
from decomr_ros.markers import MeshMarkers
from decomr_ros.messages import human_mesh_array_message

if TYPE_CHECKING:
    from rclpy.duration import Duration
    from rclpy.lifecycle import LifecycleNode, LifecyclePublisher

    from decomr_core.structures import HumanMesh
    from decomr_ros.parameters import NodeParameters

__all__ = ['Outputs']

# Reliable reaches every kind of subscriber; a slow one loses the oldest, it blocks nobody.
MESH_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
PICTURE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Outputs:
    """The publishers, made when the node is configured and destroyed when it is cleaned up."""

    def __init__(self, node: LifecycleNode, parameters: NodeParameters,
                 topology: MeshTopology) -> None:
        """Makes the publishers.

        Args:
            node: their owner; they publish while it is active.
            parameters: which of them are wanted.
            topology: what is latched on `topology`.
        """
        self._node, self._topology = node, topology
        self._parameters = parameters
        self._faces = np.array(topology.faces, np.int64).reshape(-1, 3)
        make = node.create_lifecycle_publisher
        self._mesh_publisher = make(HumanMeshArray, 'human_meshes', MESH_QOS)
        self._topology_publisher = make(MeshTopology, 'topology', LATCHED_QOS)
        self._iuv_publisher = make(Image, 'iuv', PICTURE_QOS)
        self._overlay_publisher = make(Image, 'overlay', PICTURE_QOS)
        self._marker_publisher = make(MarkerArray, 'markers', PICTURE_QOS)
        self._markers = MeshMarkers(self._faces) if parameters.publish_markers else None

    def update(self, parameters: NodeParameters, header: Header) -> None:
        """Follows changed parameters from the next image on; not while one is published.

        Args:
            parameters: the present ones.
            header: of the present image, to take away the markers that are not wanted any more.

        Raises:
            RuntimeError: markers are wanted, but cannot be written for this ROS distribution.
        """
        if self._parameters.publish_markers and not parameters.publish_markers:
            self.clear_markers(header)
        if parameters.publish_markers and self._markers is None:
            self._markers = MeshMarkers(self._faces)
        self._parameters = parameters

    def publish_topology(self) -> None:
        """Latches the topology; stamped now."""
        self._topology.header.stamp = self._node.get_clock().now().to_msg()
        self._topology_publisher.publish(self._topology)

    def publish_meshes(self, header: Header, meshes: Sequence[HumanMesh]) -> None:
        """Publishes `human_meshes`, also if nobody is seen."""
        self._mesh_publisher.publish(
            human_mesh_array_message(header, meshes, self._topology.hash))

    def publish_pictures(self, header: Header, image: np.ndarray, meshes: Sequence[HumanMesh],
                         intrinsics: np.ndarray | None) -> None:
        """Publishes what is subscribed of `iuv`, `markers` and `overlay`.

        Args:
            header: stamp and frame of the image.
            image: (H, W, 3) uint8 RGB.
            meshes: the people in it.
            intrinsics: (3, 3) px, or None.
        """
        height, width = image.shape[:2]
        wanted, encoding = self._parameters, self._parameters.iuv_encoding
        if wanted.publish_iuv and _has_subscribers(self._iuv_publisher):
            picture = compose_iuv(meshes, height, width, encoding)
            self._iuv_publisher.publish(image_message(header, picture, encoding))
        if wanted.publish_markers and _has_subscribers(self._marker_publisher):
            vertices = {mesh.track_id if mesh.track_id >= 0 else index: mesh.vertices
                        for index, mesh in enumerate(meshes)}
            self._marker_publisher.publish(self._markers.serialize(header, vertices))
        if wanted.publish_overlay and _has_subscribers(self._overlay_publisher):
            picture = draw_meshes(image, meshes, self._faces, intrinsics)
            self._overlay_publisher.publish(image_message(header, picture, 'rgb8'))

    def clear_markers(self, header: Header) -> None:
        """Takes everybody out of RViz."""
        if self._markers is not None:
            self._marker_publisher.publish(self._markers.clear(header))

    def wait_until_sent(self, timeout: Duration) -> bool:
        """Whether every subscriber of `human_meshes` has got every message within the time."""
        return self._mesh_publisher.wait_for_all_acked(timeout)

    def destroy(self) -> None:
        """Destroys the publishers."""
        for publisher in (self._mesh_publisher, self._topology_publisher, self._iuv_publisher,
                          self._overlay_publisher, self._marker_publisher):
            self._node.destroy_lifecycle_publisher(publisher)


def _has_subscribers(publisher: LifecyclePublisher) -> bool:
    return publisher.get_subscription_count() > 0
