"""`decomr view`: a web page with the live meshes, their distances, the camera and its image.

A node subscribes to meshes, distances and camera, and updates the page with the newest messages
ten times a second, which a browser shows smoothly over a network. Only the messages that are shown
are deserialised, so a fast camera costs little.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from decomr.msg import HumanMeshArray, MeshTopology, ProximityArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image

from decomr_core.base.structures import person_or_people
from decomr_ros.messages.images import rgb_from_image_message
from decomr_ros.messages.meshes import (
    human_meshes_from_message,
    intrinsics_from_camera_info,
    nanoseconds_from_stamp,
)
from decomr_ros.node.qos import LATCHED, NEWEST
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.programs.command_line import node_parser, parse_arguments
from decomr_ros.programs.process import run_node
from decomr_ros.topics.input_topics import camera_info_topic
from decomr_ros.topics.silent_topics import publishers_text, type_name
from decomr_ros.viewer.distances import ShownDistances, distances_to_show
from decomr_ros.viewer.newest_people import NewestPeople
from decomr_ros.viewer.view_scene import ViewScene

__all__ = ['Viewer', 'main']

RATE_HZ = 10.0
# People are removed from the page if no message arrived for this long, s.
STALE_S = 2.0
# An image topic without a message is reported this long after the start, s.
SILENT_S = 5.0
# Distances below this are red, m.
WARNING_M = 1.0


class Viewer(Node):
    """Subscribes to meshes, distances, topology, calibration and image; updates the page."""

    def __init__(self, options: argparse.Namespace, arguments: Sequence[str] = ()) -> None:
        """Starts the web server and subscribes.

        Args:
            options: parsed command line.
            arguments: command-line arguments.
        """
        super().__init__('decomr_view', namespace=options.namespace)
        self.exit_code: int | None = None
        self._scene = ViewScene(options.host, options.port)
        self._newest: dict[str, bytes] = {}
        self._people, self._warning_m = NewestPeople(), options.warning
        self._shown_frame: str | None = None  # of the meshes on the page; None: there are none
        self._hash: str | None = None
        self._latency_ms = self._rate_hz = 0.0
        # Monotonic times: people are removed and rates counted while a simulated clock is stopped.
        self._num_messages, self._received_s, self._counted_s = 0, -math.inf, time.monotonic()
        self._is_rectified = options.rectified
        camera_info = options.camera_info or camera_info_topic(
            self, self.resolve_topic_name(options.image), arguments
        )
        self.create_subscription(MeshTopology, 'topology', self._take_topology, LATCHED)
        self.create_subscription(
            HumanMeshArray, 'human_meshes', self._take_meshes, NEWEST, raw=True
        )
        self.create_subscription(
            ProximityArray, 'proximity', self._take_distances, NEWEST, raw=True
        )
        self._image_topic = self.resolve_topic_name(options.image)
        self._started_s, self._has_image, self._has_warned = time.monotonic(), False, False
        self._keep_newest(CameraInfo, camera_info)
        self._keep_newest(Image, options.image)
        create_steady_timer(self, 1 / options.rate, self._update)
        self.get_logger().info(
            f'open {self._scene.address} in a browser; meshes from '
            f'{self.resolve_topic_name("human_meshes")}, images from '
            f'{self._image_topic}'
        )

    def close(self) -> None:
        """Stops the web server."""
        self._scene.close()

    def _keep_newest(self, type_: type, topic: str) -> None:
        """Subscribes and keeps the newest serialised message."""

        def keep(data: bytes) -> None:
            """Replaces the previous message."""
            self._newest[type_.__name__] = data

        self.create_subscription(type_, topic, keep, NEWEST, raw=True)

    def _take_topology(self, message: MeshTopology) -> None:
        self._hash, self._shown_frame = message.hash, None
        self._scene.set_topology(
            np.array(message.faces, np.int64).reshape(-1, 3), message.joint_parents
        )

    def _take_meshes(self, data: bytes) -> None:
        self._people.add_meshes(data, self.get_clock().now().nanoseconds)
        self._num_messages += 1
        self._received_s = time.monotonic()

    def _take_distances(self, data: bytes) -> None:
        self._people.add_distances(data, time.monotonic())

    def _update(self) -> None:
        """Shows the messages that arrived since the last update."""
        info = self._take(CameraInfo)
        image = self._take(Image)
        try:
            if info is not None:
                self._show_camera(info)
            if image is not None:
                self._has_image = True
                self._scene.show_image(rgb_from_image_message(image))
        except ValueError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=10.0)
        if self._hash is not None:
            self._show_people()
        self._show_distances()
        self._show_statistics()
        self._log_missing_images()

    def _log_missing_images(self) -> None:
        """Logs once that no images arrive, and once that they do after all."""
        if self._has_image:
            if self._has_warned:
                self.get_logger().info(f'images arrive on {self._image_topic} now')
            self._has_warned = False
        elif not self._has_warned and time.monotonic() - self._started_s >= SILENT_S:
            self._has_warned = True
            seen = publishers_text(self, self._image_topic, [type_name(Image)])
            self.get_logger().warning(
                f'no image on {self._image_topic} yet: {seen or "no node publishes images"}. The '
                'page shows people without the image; choose the topic with --image TOPIC'
            )

    def _show_camera(self, info: CameraInfo) -> None:
        # Size of the published image: after the driver's region of interest and binning.
        region = info.roi
        width = (region.width or info.width) // max(1, info.binning_x)
        height = (region.height or info.height) // max(1, info.binning_y)
        intrinsics = intrinsics_from_camera_info(info, width, height, self._is_rectified)
        if intrinsics is not None and width and height:
            self._scene.show_camera(intrinsics, width, height)

    def _show_people(self) -> None:
        taken = self._people.take_meshes(time.monotonic())
        if taken is None:
            if self._scene.num_people and time.monotonic() - self._received_s > STALE_S:
                self._scene.show_people([])
                self._shown_frame = None
            return
        array, arrived_ns = taken
        self._shown_frame = None
        if array.topology_hash != self._hash:
            self.get_logger().warning(
                f'the meshes belong to the body {array.topology_hash[:12]}, the topology to '
                f'{(self._hash or "")[:12]}; check whether two nodes publish these topics',
                throttle_duration_sec=10.0,
            )
            return
        self._latency_ms = (arrived_ns - nanoseconds_from_stamp(array.header.stamp)) / 1e6
        try:
            self._scene.show_people(human_meshes_from_message(array))
        except ValueError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=10.0)
            return
        self._shown_frame = array.header.frame_id

    def _show_distances(self) -> None:
        """Draws the distances of the people on the page, or says why they are unknown."""
        distances = self._people.distances(time.monotonic())
        if not self._people.has_distances:
            shown = ShownDistances.unknown(
                f'no message on `{self.resolve_topic_name("proximity")}`'
            )
        elif distances is None or self._shown_frame is None:
            shown = ShownDistances.unknown('there is no recent message for these meshes')
        else:
            shown = distances_to_show(
                distances, self._shown_frame, self._scene.num_people, self._warning_m
            )
        self._scene.show_distances(shown)

    def _show_statistics(self) -> None:
        """Shows people, rate and latency; updates the rate once a second."""
        span_s = time.monotonic() - self._counted_s
        if span_s >= 1:
            self._rate_hz = self._num_messages / span_s
            self._num_messages, self._counted_s = 0, self._counted_s + span_s
        if self._received_s > -math.inf and self._hash is not None:
            count = self._scene.num_people
            self._scene.show_text(
                f'**{count}** {person_or_people(count)}, **{self._rate_hz:.0f}** Hz, '
                f'latency **{self._latency_ms:.0f}** ms'
            )
        elif self._received_s > -math.inf:
            self._scene.show_text('waiting for topology')

    def _take(self, type_: type) -> Any:
        """Removes and returns the newest message of a type; None if there is none."""
        data = self._newest.pop(type_.__name__, None)
        return None if data is None else deserialize_message(data, type_)


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page until SIGINT or SIGTERM; accepts ROS arguments such as remappings.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = node_parser('decomr view', __doc__.partition('\n')[0])
    parser.add_argument('--port', type=_port, default=8080, help='port of the web page (8080)')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on (127.0.0.1); 0.0.0.0 shows the page, without '
        'a password, to the whole network',
    )
    parser.add_argument(
        '--namespace', default='', help='namespace of the node whose meshes are shown'
    )
    parser.add_argument('--image', default='image', help='image topic (image)')
    parser.add_argument('--camera-info', help='camera_info topic; default: beside the image topic')
    parser.add_argument(
        '--rectified',
        action='store_true',
        help='the images are rectified: use P of camera_info instead of K',
    )
    parser.add_argument(
        '--warning',
        type=_distance,
        default=WARNING_M,
        metavar='METRES',
        help=f'distances from the robot below this are red, m ({WARNING_M:g})',
    )
    parser.add_argument(
        '--rate', type=_rate, default=RATE_HZ, help=f'updates of the page, Hz ({RATE_HZ:g})'
    )
    options = parse_arguments(parser, arguments)
    return run_node(lambda: Viewer(options, arguments), ['view', *arguments])


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f'{text!r} is not a port, expected 1 to 65535')
    return int(text)


def _distance(text: str) -> float:
    try:
        distance_m = float(text)
    except ValueError:
        distance_m = -1.0
    if not 0 <= distance_m <= 100:
        raise argparse.ArgumentTypeError(f'{text!r} is no distance, expected 0 to 100 m')
    return distance_m


def _rate(text: str) -> float:
    try:
        rate_hz = float(text)
    except ValueError:
        rate_hz = 0.0
    if not 0.1 <= rate_hz <= 60:
        raise argparse.ArgumentTypeError(f'{text!r} is not a rate, expected 0.1 to 60 Hz')
    return rate_hz


if __name__ == '__main__':
    raise SystemExit(main())
