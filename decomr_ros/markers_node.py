"""`decomr markers`: markers and body frames of meshes that are played or come from elsewhere.

It subscribes to `human_meshes` and `topology`, of `ros2 bag play` or of a node on another machine,
and publishes `markers` and /tf as the live node does. RViz and Foxglove then show a recording,
which holds meshes and no markers: a marker is ten times as large as its mesh.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from decomr.msg import HumanMeshArray, MeshTopology
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from decomr_ros.node.installation import install_hint
from decomr_ros.node.qos import LATCHED
from decomr_ros.outputs.body_frames import BodyFrames
from decomr_ros.outputs.mesh_scene import MeshScene
from decomr_ros.programs.command_line import node_parser, parse_words
from decomr_ros.programs.process import run_node

__all__ = ['FRAMES', 'MarkersNode', 'main', 'triangle_count']

# What is published on /tf.
FRAMES = ('none', 'bodies', 'joints')
# The same problem is logged once in this time, s.
QUIET_S = 5.0
MESH_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
MARKER_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class MarkersNode(Node):
    """Publishes markers and frames while somebody subscribes to them."""

    def __init__(self, namespace: str = '', frames: str | None = None,
                 num_triangles: int = 0) -> None:
        """Subscribes.

        Args:
            namespace: of the node whose meshes are shown.
            frames: one of `FRAMES`; None: bodies where tf2_msgs is installed.
            num_triangles: about how many triangles a person is shown with; 0: all.

        Raises:
            RuntimeError: frames are asked for, and tf2_msgs is not installed.
        """
        super().__init__('decomr_markers', namespace=namespace)
        self.exit_code: int | None = None
        self._num_triangles = num_triangles
        self._scene: MeshScene | None = None
        self._last_header = Header()
        self._publisher = self.create_publisher(MarkerArray, 'markers', MARKER_QOS)
        self._has_joints = frames == 'joints'
        self._frames = self._body_frames(frames)
        self.create_subscription(MeshTopology, 'topology', self._take_topology, LATCHED)
        meshes = self.create_subscription(HumanMeshArray, 'human_meshes', self._take_meshes,
                                          MESH_QOS, raw=True)
        self.get_logger().info(f'{meshes.topic_name} -> {self._publisher.topic_name}'
                               f'{"" if self._frames is None else ", /tf"}')

    def close(self) -> None:
        """Takes everybody out of RViz."""
        if self._scene is not None:
            self._publisher.publish(self._scene.markers(self._last_header, {}))

    def _body_frames(self, frames: str | None) -> BodyFrames | None:
        if frames == 'none':
            return None
        try:
            return BodyFrames(self)
        except ImportError as error:
            text = ('people are not published on /tf: the package tf2_msgs is not installed; '
                    f'{install_hint("tf2_msgs")}, or give --tf none')
            if frames is not None:
                raise RuntimeError(text) from error
            self.get_logger().warning(text)
            return None

    def _take_topology(self, message: MeshTopology) -> None:
        if self._scene is None or self._scene.hash != message.hash:
            try:
                self._scene = MeshScene(message, self._num_triangles)
            except ValueError as error:
                self.get_logger().error(str(error))

    def _take_meshes(self, data: bytes) -> None:
        """Publishes the people of one message; it stays serialised while nobody listens."""
        has_listener = self._publisher.get_subscription_count() > 0
        if not has_listener and self._frames is None:
            return
        array = deserialize_message(data, HumanMeshArray)
        if self._scene is None:
            self.get_logger().warning(
                f'meshes come, but no topology on {self.resolve_topic_name("topology")}; record '
                'and play both', throttle_duration_sec=QUIET_S)
            return
        try:
            people = self._scene.people(array)
        except ValueError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=QUIET_S)
            return
        self._last_header = array.header
        self._tell(len(array.meshes) - len(people))
        if has_listener:
            self._publisher.publish(self._scene.markers(array.header, people))
        if self._frames is not None:
            self._frames.publish(array.header, people, self._has_joints)

    def _tell(self, num_without_position: int) -> None:
        """Logs once what makes the picture incomplete or doubled."""
        if num_without_position:
            self.get_logger().warning(
                'people without a position are left out of markers and /tf: they were seen '
                'without a calibration (camera_info)', once=True)
        if self.count_publishers('markers') > 1:
            self.get_logger().warning(
                f'another node publishes {self._publisher.topic_name} too: each person may be '
                'shown twice; end it, or play the bag without that topic', once=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Publishes until SIGINT or SIGTERM; ROS arguments (remappings) are understood.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = node_parser('decomr markers', __doc__.partition('\n')[0])
    parser.add_argument('--namespace', default='', help='of the node whose meshes are shown')
    parser.add_argument('--tf', choices=FRAMES,
                        help='frames on /tf: none, bodies, or joints too (bodies, where tf2_msgs '
                             'is installed)')
    parser.add_argument('--triangles', type=triangle_count, default=0, metavar='N',
                        help='per person, about; chosen on the first person, within seconds; 0: '
                             'all (0)')
    options = parse_words(parser, words)
    return run_node(lambda: MarkersNode(options.namespace, options.tf, options.triangles),
                    ['markers', *words])


def triangle_count(text: str) -> int:
    """A number of triangles from the command line; 0 stands for all.

    Raises:
        argparse.ArgumentTypeError: it is not a whole number from 0 on.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of triangles: 0 or more')
    return int(text)


if __name__ == '__main__':
    raise SystemExit(main())
