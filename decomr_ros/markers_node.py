"""`decomr markers`: markers and body frames from recorded or remote meshes.

It subscribes to `human_meshes` and `topology`, from `ros2 bag play` or from a node on another
machine, and publishes `markers` and /tf like the live node. RViz and Foxglove can then show a
recording. Recordings contain meshes instead of markers, because a marker is ten times as large.
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
from decomr_ros.node.qos import LATCHED, MESH_QOS
from decomr_ros.outputs.body_frames import BodyFrames
from decomr_ros.outputs.mesh_scene import MeshScene
from decomr_ros.programs.command_line import node_parser, parse_arguments
from decomr_ros.programs.process import run_node

__all__ = ['FRAMES', 'MarkersNode', 'main', 'triangle_count']

# Frames that can be published on /tf.
FRAMES = ('none', 'bodies', 'joints')
# Repeated warnings are throttled to one in this time, s.
THROTTLE_S = 5.0
MARKER_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


class MarkersNode(Node):
    """Publishes markers and frames while they have subscribers."""

    def __init__(
        self, namespace: str = '', frames: str | None = None, num_triangles: int = 0
    ) -> None:
        """Subscribes.

        Args:
            namespace: of the node whose meshes are shown.
            frames: one of `FRAMES`; None: bodies if tf2_msgs is installed.
            num_triangles: approximate number of triangles per person; 0: all.

        Raises:
            RuntimeError: frames are requested, but tf2_msgs is not installed.
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
        meshes = self.create_subscription(
            HumanMeshArray, 'human_meshes', self._take_meshes, MESH_QOS, raw=True
        )
        self.get_logger().info(
            f'{meshes.topic_name} -> {self._publisher.topic_name}'
            f'{"" if self._frames is None else ", /tf"}'
        )

    def close(self) -> None:
        """Deletes all markers."""
        if self._scene is not None:
            self._publisher.publish(self._scene.markers(self._last_header, {}))

    def _body_frames(self, frames: str | None) -> BodyFrames | None:
        if frames == 'none':
            return None
        try:
            return BodyFrames(self)
        except ImportError as error:
            text = (
                'people are not published on /tf: the package tf2_msgs is not installed; '
                f'{install_hint("tf2_msgs")}, or pass --tf none'
            )
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
        """Publishes the people of one message; deserialises it only for subscribers."""
        has_subscriber = self._publisher.get_subscription_count() > 0
        if not has_subscriber and self._frames is None:
            return
        array = deserialize_message(data, HumanMeshArray)
        if self._scene is None:
            self.get_logger().warning(
                f'meshes arrive, but no topology on {self.resolve_topic_name("topology")}; '
                'record and play both topics',
                throttle_duration_sec=THROTTLE_S,
            )
            return
        try:
            people = self._scene.people(array)
        except ValueError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=THROTTLE_S)
            return
        self._last_header = array.header
        self._warn_once(len(array.meshes) - len(people))
        if has_subscriber:
            self._publisher.publish(self._scene.markers(array.header, people))
        if self._frames is not None:
            self._frames.publish(array.header, people, self._has_joints)

    def _warn_once(self, num_without_position: int) -> None:
        """Warns once of people who are left out, and once of people who are shown twice."""
        if num_without_position:
            self.get_logger().warning(
                'people without a position are left out of markers and /tf: there was no '
                'calibration (camera_info) for their images',
                once=True,
            )
        if self.count_publishers('markers') > 1:
            self.get_logger().warning(
                f'another node also publishes {self._publisher.topic_name}, so each person may '
                'be shown twice; stop that node, or play the bag without the topic',
                once=True,
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Publishes until SIGINT or SIGTERM; accepts ROS arguments such as remappings.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = node_parser('decomr markers', __doc__.partition('\n')[0])
    parser.add_argument(
        '--namespace', default='', help='namespace of the node whose meshes are shown'
    )
    parser.add_argument(
        '--tf',
        choices=FRAMES,
        help='frames on /tf: none, bodies, or bodies and joints (bodies if tf2_msgs is installed)',
    )
    parser.add_argument(
        '--triangles',
        type=triangle_count,
        default=0,
        metavar='N',
        help='approximate number of triangles per person, selected on the first '
        'person, which takes some seconds; 0: all (0)',
    )
    options = parse_arguments(parser, arguments)
    return run_node(
        lambda: MarkersNode(options.namespace, options.tf, options.triangles),
        ['markers', *arguments],
    )


def triangle_count(text: str) -> int:
    """Parses a number of triangles; 0 means all.

    Raises:
        argparse.ArgumentTypeError: it is not an integer of at least 0.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a number of triangles, expected an integer of at least 0'
        )
    return int(text)


if __name__ == '__main__':
    raise SystemExit(main())
