"""The node's outputs: meshes with every image, the others while they have subscribers.

| output | switch | content |
|---|---|---|
| `human_meshes`, `topology` | none, always published | all people |
| `iuv`, `overlay` | `publish_iuv`, `publish_overlay` | images of all people |
| `iuv/compressed`, `overlay/compressed` | the same | the same as PNG and JPEG |
| `markers`, `vertices` | `publish_markers`, `publish_points` | people with a position |
| `/tf` | `publish_tf`, `tf_joints` | people with a position; needs tf2_msgs |
| `/humans/bodies/...` | `rep155` | all people; needs hri_msgs |

Without a calibration a mesh has no position. In space it would appear at the camera, where a
robot would take it for an obstacle. Without a frame the position of the camera is unknown.
Therefore `markers`, `vertices` and /tf are not published for images with an empty frame_id.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_core.drawing import compose_iuv, draw_meshes
from decomr_core.geometry.decimation import decimate_faces
from decomr_ros.messages.compressed import compressed_message
from decomr_ros.messages.images import image_message
from decomr_ros.messages.markers import MeshMarkers
from decomr_ros.messages.meshes import mesh_topology_message, serialized_human_meshes
from decomr_ros.messages.points import point_cloud_message, points_of_meshes
from decomr_ros.node.qos import LATCHED, MESH_QOS, make_publisher, topic_below
from decomr_ros.outputs.body_frames import BodyFrames
from decomr_ros.outputs.rep155 import Rep155Bodies
from decomr_ros.pipeline.frame_result import people_by_id

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from decomr_core.base.structures import HumanMesh
    from decomr_core.uv.topology import Topology
    from decomr_ros.pipeline.frame_result import FrameResult
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['Outputs']

IMAGE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
# Type and parameter of each topic that a parameter switches.
SWITCHED = {
    'iuv': (Image, 'publish_iuv'),
    'markers': (MarkerArray, 'publish_markers'),
    'vertices': (PointCloud2, 'publish_points'),
    'overlay': (Image, 'publish_overlay'),
    'iuv/compressed': (CompressedImage, 'publish_iuv'),
    'overlay/compressed': (CompressedImage, 'publish_overlay'),
}
FEWEST_TRIANGLES = 4
"""The smallest number of triangles of a closed surface."""


class Outputs:
    """The publishers, created when the node is configured and destroyed when it is cleaned up.

    Not thread-safe: call `update` between two images.

    Attributes:
        missing: why an output that was switched on later is not available; empty if all are.
    """

    def __init__(
        self, node: LifecycleNode, parameters: NodeParameters, topology: Topology
    ) -> None:
        """Creates the publishers; with `marker_triangles` this takes some seconds.

        Args:
            node: their owner; they publish while it is active.
            parameters: the switches of the outputs.
            topology: to be published on `topology`.

        Raises:
            ImportError: the message package of an enabled output is not installed.
            RuntimeError: markers are enabled, but not supported for this ROS distribution.
        """
        self._node, self._parameters = node, parameters
        self._last_header = Header()
        self._placed_header = Header()  # of the last published markers
        self.missing = ''
        self._topology = mesh_topology_message(topology)
        self._faces, self._parts = topology.faces, topology.vertex_parts
        self._marker_faces = _marker_faces(topology, parameters.marker_triangles)
        self._markers: MeshMarkers | None = None
        self._frames: BodyFrames | None = None
        self._bodies: Rep155Bodies | None = None
        self._mesh_publisher = make_publisher(node, HumanMeshArray, 'human_meshes', MESH_QOS)
        self._topology_publisher = make_publisher(node, MeshTopology, 'topology', LATCHED)
        self._switched = {
            name: make_publisher(node, type_, topic_below(node, name), IMAGE_QOS)
            for name, (type_, _) in SWITCHED.items()
        }
        try:
            self._create_enabled()
        except (ImportError, RuntimeError):
            self.destroy()
            raise

    def update(self, parameters: NodeParameters) -> None:
        """Applies changed parameters from the next image on; never raises.

        People are removed from outputs that are switched off. An output that is not available
        stays off, and the log gives the reason and the remedy.
        """
        before, self._parameters = self._parameters, parameters
        if before.publish_markers and not parameters.publish_markers:
            self._clear_markers(self._last_header)
        if self._frames is not None and not parameters.publish_tf:
            self._frames.destroy()
            self._frames = None
        if self._bodies is not None and not parameters.rep155:
            self._bodies.clear(self._last_header)
            self._bodies.destroy()
            self._bodies = None
        missing = ''
        try:
            self._create_enabled()
        except (ImportError, RuntimeError) as error:
            missing = str(error)
        if missing and missing != self.missing:  # not again after changes of other parameters
            self._node.get_logger().error(missing)
        self.missing = missing

    def publish_topology(self) -> None:
        """Publishes the topology, stamped with the current time."""
        self._topology.header.stamp = self._node.get_clock().now().to_msg()
        self._topology_publisher.publish(self._topology)

    def publish_meshes(self, header: Header, meshes: Sequence[HumanMesh]) -> None:
        """Publishes `human_meshes`, also without people."""
        self._last_header = header
        self._mesh_publisher.publish(serialized_human_meshes(header, meshes, self._topology.hash))

    def publish_other_outputs(self, result: FrameResult) -> None:
        """Publishes the other outputs that are enabled and have subscribers.

        Args:
            result: the people in the image.
        """
        header, image, meshes = result.header, result.image, result.meshes
        intrinsics = result.intrinsics
        self._publish_placed(result)
        if self._bodies is not None:
            self._bodies.publish(header, image, people_by_id(meshes), intrinsics)
        size, parameters = image.shape[:2], self._parameters
        iuv = cache(partial(compose_iuv, meshes, *size))
        overlay = cache(partial(draw_meshes, image, meshes, self._faces, intrinsics))
        encoding = parameters.iuv_encoding
        for name, message in (
            ('iuv', lambda: image_message(header, iuv(encoding), encoding)),
            ('iuv/compressed', lambda: compressed_message(header, iuv('rgb8'), 'png')),
            ('overlay', lambda: image_message(header, overlay(), 'rgb8')),
            (
                'overlay/compressed',
                lambda: compressed_message(
                    header, overlay(), 'jpeg', parameters.overlay_jpeg_quality
                ),
            ),
        ):
            if self._is_wanted(name):
                self._switched[name].publish(message())

    def clear(self, header: Header) -> None:
        """Deletes all markers and clears the list of tracked bodies."""
        self._clear_markers(header)
        if self._bodies is not None:
            self._bodies.clear(header)

    def wait_until_sent(self, timeout: Duration) -> bool:
        """Waits until subscribers have received all meshes and markers; False after a timeout."""
        deadline_s = time.monotonic() + timeout.nanoseconds / 1e9
        return all(
            publisher.wait_for_all_acked(Duration(seconds=max(0.0, deadline_s - time.monotonic())))
            for publisher in (self._mesh_publisher, self._switched['markers'])
        )

    def destroy(self) -> None:
        """Destroys the publishers."""
        for publisher in (
            self._mesh_publisher,
            self._topology_publisher,
            *self._switched.values(),
        ):
            self._node.destroy_lifecycle_publisher(publisher)
        for output in (self._frames, self._bodies):
            if output is not None:
                output.destroy()
        self._frames = self._bodies = None

    def _create_enabled(self) -> None:
        """Creates outputs that are enabled and do not exist yet.

        Raises:
            ImportError: the message package of an output is not installed; all others are created.
            RuntimeError: markers are not supported for this ROS distribution.
        """
        parameters, missing = self._parameters, []
        try:
            if parameters.publish_tf and self._frames is None:
                self._frames = BodyFrames(self._node)
        except ImportError as error:
            missing.append(str(error))
        try:
            if parameters.rep155 and self._bodies is None:
                self._bodies = Rep155Bodies(self._node)
        except ImportError as error:
            missing.append(str(error))
        if parameters.publish_markers and self._markers is None:
            self._markers = MeshMarkers(self._marker_faces)
        if missing:
            raise ImportError('; '.join(missing))

    def _clear_markers(self, header: Header) -> None:
        if self._markers is not None:
            self._switched['markers'].publish(self._markers.clear(header))

    def _publish_placed(self, result: FrameResult) -> None:
        """Publishes people with a position on `markers`, `vertices` and /tf."""
        header, meshes = result.header, result.meshes
        markers = self._markers if self._is_wanted('markers') else None
        has_points = self._is_wanted('vertices')
        if markers is None and not has_points and self._frames is None:
            return
        if not header.frame_id:  # `Inputs` has warned of it
            if self._placed_header.frame_id:
                self._clear_markers(self._placed_header)
                self._placed_header = Header()
            return
        self._placed_header = header
        people = result.people
        if len(people) < len(meshes):
            self._node.get_logger().warning(
                'people without a position are left out of markers, vertices and /tf; people '
                'have a position as soon as camera_info provides a calibration',
                once=True,
            )
        if markers is not None:
            self._switched['markers'].publish(
                markers.serialize(
                    header, {track_id: mesh.vertices for track_id, mesh in people.items()}
                )
            )
        if has_points:
            self._switched['vertices'].publish(
                point_cloud_message(header, points_of_meshes(people, self._parts))
            )
        if self._frames is not None:
            self._frames.publish(header, people, self._parameters.tf_joints)

    def _is_wanted(self, name: str) -> bool:
        return (
            getattr(self._parameters, SWITCHED[name][1])
            and self._switched[name].get_subscription_count() > 0
        )


def _marker_faces(topology: Topology, num_triangles: int) -> np.ndarray:
    """The faces of the markers, (F, 3): approximately `num_triangles`; 0: all."""
    if num_triangles == 0:
        return topology.faces
    return decimate_faces(
        topology.v_template, topology.faces, max(num_triangles, FEWEST_TRIANGLES)
    )
