"""What the node publishes: meshes with every image, the rest while it is wanted.

| output | switch | made while somebody subscribes |
|---|---|---|
| `human_meshes`, `topology` | none | always |
| `iuv`, `overlay` | `publish_iuv`, `publish_overlay` | pictures of everybody |
| `iuv/compressed`, `overlay/compressed` | as those | the same as PNG and as JPEG |
| `markers`, `vertices` | `publish_markers`, `publish_points` | people with a position only |
| `/tf` | `publish_tf`, `tf_joints` | people with a position only; needs tf2_msgs |
| `/humans/bodies/...` | `rep155` | everybody; needs hri_msgs |

Without a calibration a mesh has no position: put into space it would stand in the camera, where a
robot takes it for an obstacle. Without a frame nobody knows where the camera is: what is only of
use in space, `markers`, `vertices` and /tf, is not published for an image with an empty frame_id.
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
from decomr_ros.node.qos import LATCHED, make_publisher
from decomr_ros.outputs.body_frames import BodyFrames
from decomr_ros.outputs.rep155 import Rep155Bodies

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from decomr_core.base.structures import HumanMesh
    from decomr_core.uv.topology import Topology
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['Outputs', 'people_by_id', 'placed_people']

# Reliable reaches every kind of subscriber; a slow one loses the oldest, it blocks nobody.
MESH_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
PICTURE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
# Type and switch of each topic that a parameter switches.
SWITCHED = {'iuv': (Image, 'publish_iuv'), 'markers': (MarkerArray, 'publish_markers'),
            'vertices': (PointCloud2, 'publish_points'),
            'overlay': (Image, 'publish_overlay'),
            'iuv/compressed': (CompressedImage, 'publish_iuv'),
            'overlay/compressed': (CompressedImage, 'publish_overlay')}
FEWEST_TRIANGLES = 4
"""No closed surface has fewer."""


class Outputs:
    """The publishers, made when the node is configured and destroyed when it is cleaned up.

    Not thread-safe: `update` is for the time between two images.

    Attributes:
        missing: why an output that was switched on after the start is not there; empty: all are.
    """

    def __init__(self, node: LifecycleNode, parameters: NodeParameters,
                 topology: Topology) -> None:
        """Makes the publishers; with `marker_triangles` this takes some seconds.

        Args:
            node: their owner; they publish while it is active.
            parameters: which of them are wanted.
            topology: what is latched on `topology`.

        Raises:
            ImportError: messages of an output that is switched on are not installed.
            RuntimeError: markers are wanted, but cannot be written for this ROS distribution.
        """
        self._node, self._parameters = node, parameters
        self._last_header = Header()
        self._placed_header = Header()  # of the markers that are shown
        self.missing = ''
        self._topology = mesh_topology_message(topology)
        self._faces, self._parts = topology.faces, topology.vertex_parts
        self._marker_faces = _marker_faces(topology, parameters.marker_triangles)
        self._markers: MeshMarkers | None = None
        self._frames: BodyFrames | None = None
        self._bodies: Rep155Bodies | None = None
        self._mesh_publisher = make_publisher(node, HumanMeshArray, 'human_meshes', MESH_QOS)
        self._topology_publisher = make_publisher(node, MeshTopology, 'topology', LATCHED)
        self._switched = {name: make_publisher(node, type_, _topic(node, name), PICTURE_QOS)
                          for name, (type_, _) in SWITCHED.items()}
        try:
            self._make_wanted()
        except (ImportError, RuntimeError):
            self.destroy()
            raise

    def update(self, parameters: NodeParameters) -> None:
        """Follows changed parameters from the next image on; never raises.

        People disappear from what is switched off. An output that cannot be made stays off, and
        the log says why and what helps.
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
            self._make_wanted()
        except (ImportError, RuntimeError) as error:
            missing = str(error)
        if missing and missing != self.missing:  # not again with changes of anything else
            self._node.get_logger().error(missing)
        self.missing = missing

    def publish_topology(self) -> None:
        """Latches the topology; stamped now."""
        self._topology.header.stamp = self._node.get_clock().now().to_msg()
        self._topology_publisher.publish(self._topology)

    def publish_meshes(self, header: Header, meshes: Sequence[HumanMesh]) -> None:
        """Publishes `human_meshes`, also if nobody is seen."""
        self._last_header = header
        self._mesh_publisher.publish(
            serialized_human_meshes(header, meshes, self._topology.hash))

    def publish_pictures(self, header: Header, image: np.ndarray, meshes: Sequence[HumanMesh],
                         intrinsics: np.ndarray | None) -> None:
        """Publishes everything else that is switched on and subscribed.

        Args:
            header: stamp and frame of the image.
            image: (H, W, 3) uint8 RGB.
            meshes: the people in it.
            intrinsics: (3, 3) px, or None.
        """
        self._publish_placed(header, meshes)
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
                ('overlay/compressed', lambda: compressed_message(
                    header, overlay(), 'jpeg', parameters.overlay_jpeg_quality))):
            if self._is_wanted(name):
                self._switched[name].publish(message())

    def clear(self, header: Header) -> None:
        """Takes everybody out of RViz and out of the list of tracked bodies."""
        self._clear_markers(header)
        if self._bodies is not None:
            self._bodies.clear(header)

    def wait_until_sent(self, timeout: Duration) -> bool:
        """Whether subscribers have all meshes, and know what is cleared, within the time."""
        deadline_s = time.monotonic() + timeout.nanoseconds / 1e9
        return all(publisher.wait_for_all_acked(
            Duration(seconds=max(0.0, deadline_s - time.monotonic())))
            for publisher in (self._mesh_publisher, self._switched['markers']))

    def destroy(self) -> None:
        """Destroys the publishers."""
        for publisher in (self._mesh_publisher, self._topology_publisher,
                          *self._switched.values()):
            self._node.destroy_lifecycle_publisher(publisher)
        for output in (self._frames, self._bodies):
            if output is not None:
                output.destroy()
        self._frames = self._bodies = None

    def _make_wanted(self) -> None:
        """Makes what is switched on and not there yet.

        Raises:
            ImportError: messages of an output are not installed; all others are made.
            RuntimeError: markers cannot be written for this ROS distribution.
        """
        wanted, missing = self._parameters, []
        for name, make, is_on in (('_frames', BodyFrames, wanted.publish_tf),
                                  ('_bodies', Rep155Bodies, wanted.rep155)):
            if is_on and getattr(self, name) is None:
                try:
                    setattr(self, name, make(self._node))
                except ImportError as error:
                    missing.append(str(error))
        if wanted.publish_markers and self._markers is None:
            self._markers = MeshMarkers(self._marker_faces)
        if missing:
            raise ImportError('; '.join(missing))

    def _clear_markers(self, header: Header) -> None:
        if self._markers is not None:
            self._switched['markers'].publish(self._markers.clear(header))

    def _publish_placed(self, header: Header, meshes: Sequence[HumanMesh]) -> None:
        """`markers`, `vertices` and /tf: people whose position is known, in a frame."""
        has_markers = self._markers is not None and self._is_wanted('markers')
        has_points = self._is_wanted('vertices')
        if not (has_markers or has_points or self._frames is not None):
            return
        if not header.frame_id:  # `Inputs` has stated that
            if self._placed_header.frame_id:
                self._clear_markers(self._placed_header)
                self._placed_header = Header()
            return
        self._placed_header = header
        people = placed_people(meshes)
        if len(people) < len(meshes):
            self._node.get_logger().warning(
                'people without a position are left out of markers, vertices and /tf; they have '
                'one as soon as camera_info brings a calibration', once=True)
        if has_markers:
            self._switched['markers'].publish(self._markers.serialize(
                header, {track_id: mesh.vertices for track_id, mesh in people.items()}))
        if has_points:
            self._switched['vertices'].publish(
                point_cloud_message(header, points_of_meshes(people, self._parts)))
        if self._frames is not None:
            self._frames.publish(header, people, self._parameters.tf_joints)

    def _is_wanted(self, name: str) -> bool:
        return (getattr(self._parameters, SWITCHED[name][1])
                and self._switched[name].get_subscription_count() > 0)


def _topic(node: LifecycleNode, name: str) -> str:
    """The topic of an output; a compressed one follows the remapping of its picture."""
    base, slash, transport = name.partition('/')
    return f'{node.resolve_topic_name(base)}/{transport}' if slash else name


def people_by_id(meshes: Sequence[HumanMesh]) -> dict[int, HumanMesh]:
    """The people by their id; by their place in the list where they are not tracked."""
    return {mesh.track_id if mesh.track_id >= 0 else index: mesh
            for index, mesh in enumerate(meshes)}


def placed_people(meshes: Sequence[HumanMesh]) -> dict[int, HumanMesh]:
    """Those whose position is known, by id; a mesh that is not finite is left out."""
    return {track_id: mesh for track_id, mesh in people_by_id(meshes).items()
            if mesh.is_metric and np.isfinite(mesh.vertices).all()}


def _marker_faces(topology: Topology, num_triangles: int) -> np.ndarray:
    """(F, 3) the faces that RViz gets: about so many, 0 for all."""
    if num_triangles == 0:
        return topology.faces
    return decimate_faces(topology.v_template, topology.faces,
                          max(num_triangles, FEWEST_TRIANGLES))
