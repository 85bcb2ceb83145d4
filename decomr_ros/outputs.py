"""What the node publishes: meshes with every image, the rest while it is wanted.

| output | switch | made while somebody subscribes |
|---|---|---|
| `human_meshes`, `topology` | none | always |
| `iuv`, `overlay` | `publish_iuv`, `publish_overlay` | pictures of everybody |
| `markers`, `vertices` | `publish_markers`, `publish_points` | people with a position only |
| `/tf` | `publish_tf`, `tf_joints` | people with a position only; needs tf2_msgs |
| `/humans/bodies/...` | `rep155` | everybody; needs hri_msgs |

Without a calibration a mesh has no position: put into space it would stand in the camera, where a
robot takes it for an obstacle.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_core.decimation import decimate_faces
from decomr_core.drawing import compose_iuv, draw_meshes
from decomr_ros.body_frames import BodyFrames
from decomr_ros.images import image_message
from decomr_ros.markers import MeshMarkers
from decomr_ros.messages import human_mesh_array_message, mesh_topology_message
from decomr_ros.points import point_cloud_message, points_of_meshes
from decomr_ros.rep155 import Rep155Bodies

if TYPE_CHECKING:
    from rclpy.duration import Duration
    from rclpy.lifecycle import LifecycleNode
    from rclpy.publisher import Publisher

    from decomr_core.structures import HumanMesh
    from decomr_core.topology import Topology
    from decomr_ros.parameters import NodeParameters

__all__ = ['Outputs', 'people_by_id', 'placed_people']

# Reliable reaches every kind of subscriber; a slow one loses the oldest, it blocks nobody.
MESH_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
PICTURE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Type and switch of each topic that comes and goes with a parameter.
SWITCHED = {'iuv': (Image, 'publish_iuv'), 'markers': (MarkerArray, 'publish_markers'),
            'vertices': (PointCloud2, 'publish_points'),
            'overlay': (Image, 'publish_overlay')}
FEWEST_TRIANGLES = 4
"""No closed surface has fewer."""


class Outputs:
    """The publishers, made when the node is configured and destroyed when it is cleaned up.

    The worker thread publishes, the executor's thread switches: both may at any time.
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
        """
        self._node, self._topology = node, mesh_topology_message(topology)
        self._faces, self._parts = topology.faces, topology.vertex_parts
        self._markers = MeshMarkers(_marker_faces(topology, parameters.marker_triangles))
        self._lock = threading.RLock()
        self._switched: dict[str, Publisher] = {}
        self._frames: BodyFrames | None = None
        self._bodies: Rep155Bodies | None = None
        make = node.create_lifecycle_publisher
        self._mesh_publisher = make(HumanMeshArray, 'human_meshes', MESH_QOS)
        self._topology_publisher = make(MeshTopology, 'topology', LATCHED_QOS)
        try:
            self._switch(parameters)
        except ImportError:
            self.destroy()
            raise

    def update(self, parameters: NodeParameters) -> None:
        """Takes changed switches into account, between two images; never raises.

        An output whose messages are not installed stays off, and the log says how to install
        them.
        """
        try:
            self._switch(parameters)
        except ImportError as error:
            self._node.get_logger().error(str(error))

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
        """Publishes everything else that is switched on and subscribed.

        Args:
            header: stamp and frame of the image.
            image: (H, W, 3) uint8 RGB.
            meshes: the people in it.
            intrinsics: (3, 3) px, or None.
        """
        with self._lock:
            self._publish_placed(header, meshes)
            if self._bodies is not None:
                self._bodies.publish(header, image, people_by_id(meshes), intrinsics)
            if self._is_wanted('iuv'):
                picture = compose_iuv(meshes, *image.shape[:2], self._iuv_encoding)
                self._switched['iuv'].publish(
                    image_message(header, picture, self._iuv_encoding))
            if self._is_wanted('overlay'):
                picture = draw_meshes(image, meshes, self._faces, intrinsics)
                self._switched['overlay'].publish(image_message(header, picture, 'rgb8'))

    def clear(self, header: Header) -> None:
        """Takes everybody out of RViz and out of the list of tracked bodies."""
        with self._lock:
            if 'markers' in self._switched:
                self._switched['markers'].publish(self._markers.clear(header))
            if self._bodies is not None:
                self._bodies.clear(header)

    def wait_until_sent(self, timeout: Duration) -> bool:
        """Whether every subscriber of `human_meshes` has got every message within the time."""
        return self._mesh_publisher.wait_for_all_acked(timeout)

    def destroy(self) -> None:
        """Destroys the publishers."""
        with self._lock:
            for publisher in (self._mesh_publisher, self._topology_publisher):
                self._node.destroy_lifecycle_publisher(publisher)
            for output in filter(None, (self._frames, self._bodies)):
                output.destroy()
            for publisher in self._switched.values():
                self._node.destroy_publisher(publisher)
            self._switched, self._frames, self._bodies = {}, None, None

    def _switch(self, parameters: NodeParameters) -> None:
        """Makes what is switched on and destroys what is switched off.

        Raises:
            ImportError: messages of an output are not installed; all others are switched.
        """
        with self._lock:
            self._iuv_encoding, self._has_joints = (parameters.iuv_encoding,
                                                    parameters.tf_joints)
            for name, (type_, switch) in SWITCHED.items():
                if getattr(parameters, switch) and name not in self._switched:
                    self._switched[name] = self._node.create_publisher(type_, name, PICTURE_QOS)
                elif not getattr(parameters, switch) and name in self._switched:
                    self._node.destroy_publisher(self._switched.pop(name))
            missing = []
            for name, make, is_on in (('_frames', BodyFrames, parameters.publish_tf),
                                      ('_bodies', Rep155Bodies, parameters.rep155)):
                output = getattr(self, name)
                try:
                    if is_on and output is None:
                        setattr(self, name, make(self._node))
                except ImportError as error:
                    missing.append(str(error))
                if not is_on and output is not None:
                    output.destroy()
                    setattr(self, name, None)
            if missing:
                raise ImportError('; '.join(missing))

    def _publish_placed(self, header: Header, meshes: Sequence[HumanMesh]) -> None:
        """`markers`, `vertices` and /tf: people whose position is known."""
        has_markers, has_points = self._is_wanted('markers'), self._is_wanted('vertices')
        if not (has_markers or has_points or self._frames is not None):
            return
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
            self._frames.publish(header, people, self._has_joints)

    def _is_wanted(self, name: str) -> bool:
        publisher = self._switched.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0


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
