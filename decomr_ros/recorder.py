"""`recorder`: records meshes, topology, calibration and status into a rosbag2 (MCAP).

It does the part of `ros2 bag record` that the demo and a robot's flight recorder need. Any other
topic can be recorded by name (`--also /tf /tf_static`). Subscriptions are raw: messages are
stored byte for byte as the publisher serialised them, except that the vertices of meshes are
rounded (`--max-error-mm`, see `bags/rounded_meshes.py`). Stop the recorder with SIGINT. After
SIGKILL the bag still opens and lacks at most the last half second (see `bags/mcap_writing.py`).
`--recover BAG` repairs a bag after the disk was full.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from decomr.msg import HumanMeshArray, MeshTopology
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from decomr_ros.bags.mcap_reading import recover_bag
from decomr_ros.bags.mcap_writing import COMPRESSIONS, BagWriter
from decomr_ros.bags.message_definitions import message_definition
from decomr_ros.bags.rounded_meshes import DEFAULT_MAX_ERROR_MM, MeshRounding, max_error_mm
from decomr_ros.bags.topics import BagTopic
from decomr_ros.node.qos import LATCHED
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.programs.command_line import node_parser, parse_arguments
from decomr_ros.programs.process import run_node
from decomr_ros.topics.input_topics import camera_info_topic, image_topic
from decomr_ros.topics.named_topics import QUEUE as LATCHED_QUEUE
from decomr_ros.topics.named_topics import NamedTopics, Offer
from decomr_ros.topics.silent_topics import (
    IMAGE_TYPES,
    other_topics_text,
    publishers_text,
    type_name,
)

__all__ = ['READY', 'Recorder', 'main']

# Messages are flushed to disk this often, s.
FLUSH_PERIOD_S = 0.5
# Publishers of topics recorded by name are discovered this often, s.
DISCOVERY_PERIOD_S = 0.1
# Requested topics without a publisher are reported this long after the start, s.
REPORT_AFTER_S = 5.0
# Queue depth of each subscription: about 2 s of camera images.
QUEUE = 60
# With simulated time: messages buffered until the first /clock.
MAX_EARLY = 1000

# Logged when all messages published from now on are recorded.
READY = 'ready'

RELIABLE = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE)
# Compatible with every camera driver; a reliable subscription receives nothing from a best effort
# publisher.
BEST_EFFORT = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT)

# What is always recorded: message type and QoS of the subscription.
TOPICS = {
    'human_meshes': (HumanMeshArray, RELIABLE),
    'topology': (MeshTopology, LATCHED),
    'camera_info': (CameraInfo, BEST_EFFORT),
    '/diagnostics': (DiagnosticArray, RELIABLE),
}
# Topics of `--also` that are subscribed to before they are published: the node publishes `iuv`
# only while it has a subscriber. Any other topic is subscribed to when its publisher appears.
MORE_TOPICS = {
    'iuv': (Image, RELIABLE),
    'image/compressed': (CompressedImage, BEST_EFFORT),
    'image': (Image, BEST_EFFORT),
}


class Recorder(Node):
    """Writes the messages on `TOPICS`, and on further topics on request, to a bag.

    Attributes:
        writer: the bag.
    """

    def __init__(
        self,
        folder: str | Path,
        also: Sequence[str] = (),
        arguments: Sequence[str] = (),
        max_error_mm: float = DEFAULT_MAX_ERROR_MM,
        compression: str | None = None,
    ) -> None:
        """Opens the bag and subscribes.

        Args:
            folder: the bag's folder; must not exist, or must be empty.
            also: further topics to record, relative or full names; see `MORE_TOPICS`.
            arguments: command-line arguments.
            max_error_mm: largest rounding error of recorded vertices, mm; 0: exact.
            compression: of the bag's chunks, as in `BagWriter`.

        Raises:
            InvalidTopicNameException: `also` has an invalid topic name.
        """
        super().__init__('recorder')
        self.exit_code: int | None = None
        topics = TOPICS | {name: MORE_TOPICS[name] for name in also if name in MORE_TOPICS}
        names = self._full_names((*topics, *also), arguments)
        known = [names[name] for name in topics]
        # Without duplicates: a name may be the full name of a topic above.
        found = [name for name in dict.fromkeys(names.values()) if name not in known]
        self._rounding = MeshRounding(max_error_mm, self.get_logger().warning)
        self.writer = BagWriter(
            folder,
            [
                self._bag_topic(names[name], type_, qos is LATCHED)
                for name, (type_, qos) in topics.items()
            ],
            compression,
        )
        # Requested topics without a message: full name -> publishers when last seen.
        self._silent = dict.fromkeys((names[name] for name in also), '')
        self._started_s = time.monotonic()
        # Requested topics that were reported to have no publisher.
        self._reported: list[str] = []
        self._has_reported = False
        self._image_topics = {names[name] for name in MORE_TOPICS if name in names}
        self._is_simulated = self.get_parameter('use_sim_time').value
        # Messages received before the first /clock: topic, data.
        self._early: deque[tuple[str, bytes]] = deque(maxlen=MAX_EARLY)
        for name, (type_, qos) in topics.items():
            self._subscribe(names[name], type_, qos)
        create_steady_timer(self, FLUSH_PERIOD_S, self._flush)
        if found:
            named = NamedTopics(self, found, self._record)
            create_steady_timer(self, DISCOVERY_PERIOD_S, named.update)
        self.get_logger().info(f'recording {", ".join([*known, *found])} to {folder}')

    def _full_names(self, names: Sequence[str], arguments: Sequence[str]) -> dict[str, str]:
        """The full name of each topic; the camera's topics follow the remapping of `image`."""
        compressed = image_topic(self, is_compressed=True)
        camera_topics = {
            'image/compressed': compressed,
            'camera_info': camera_info_topic(self, compressed, arguments),
        }
        return {name: camera_topics.get(name) or self.resolve_topic_name(name) for name in names}

    def close(self) -> None:
        """Closes the bag and logs the requested topics that had no message."""
        self._check_silent_topics()
        try:
            self.writer.close()
        except OSError as error:
            self._fail(error)
        counts = ', '.join(f'{name}: {count}' for name, count in self.writer.counts.items())
        self.get_logger().info(f'recorded {counts}')
        for name, seen in self._silent.items():
            self.get_logger().warning(
                f'no message on {name}, which --also requests: '
                f'{seen or self._no_publisher_text(name)}; pass another --also, or remap the '
                'topic: --ros-args -r NAME:=TOPIC'
            )

    def _flush(self) -> None:
        """Writes the buffered messages to disk."""
        try:
            self.writer.flush()
        except OSError as error:
            self._fail(error)
        self._check_silent_topics()

    def _fail(self, error: OSError) -> None:
        """Ends the process, before messages that cannot be written fill the memory."""
        if self.exit_code is None:
            self.get_logger().error(
                f'recording stopped: {error}. Free some disk space; to read '
                f'{self.writer.folder}, run python -m decomr_ros.recorder --recover '
                f'{self.writer.folder}'
            )
        self.exit_code = 1

    def _check_silent_topics(self) -> None:
        """Notes who publishes while a requested topic has no message.

        Not only at the end: what ends this process often ends the camera at the same time.
        """
        for name in [name for name in self._silent if self.writer.counts.get(name)]:
            del self._silent[name]
        for name, seen in self._silent.items():
            self._silent[name] = publishers_text(self, name, self._alternative_types(name)) or seen
        if not self._has_reported and time.monotonic() - self._started_s >= REPORT_AFTER_S:
            self._has_reported = True
            self._reported = [name for name in self._silent if not self.count_publishers(name)]
            for name in self._reported:
                self._warn_not_published(name)
        for name in [name for name in self._reported if name not in self._silent]:
            self._reported.remove(name)
            self.get_logger().info(f'{name} is recorded now')

    def _warn_not_published(self, name: str) -> None:
        """Warns early of a topic without a publisher: at the end it is too late."""
        others = other_topics_text(self, name, self._alternative_types(name))
        self.get_logger().warning(
            f'{name}, which --also requests, has no publisher {REPORT_AFTER_S:g} s after the '
            f'start{f"; published instead: {others}" if others else ""}. It is recorded as soon '
            'as it is published; otherwise pass another --also, or remap the topic: --ros-args '
            '-r NAME:=TOPIC'
        )

    def _alternative_types(self, name: str) -> tuple[str, ...]:
        """Types of the topics to suggest in place of a silent one."""
        return IMAGE_TYPES if name in self._image_topics else ()

    def _no_publisher_text(self, name: str) -> str:
        return f'no node publishes {"images" if name in self._image_topics else "it"}'

    def _bag_topic(
        self, name: str, type_: type, is_latched: bool, depth: int | None = None
    ) -> BagTopic:
        kind = type_name(type_)
        return BagTopic(
            name, kind, message_definition(kind), is_latched, depth, self._rounding.metadata(kind)
        )

    def _record(self, name: str, type_: type, offer: Offer) -> Subscription:
        """Subscribes to a topic whose publisher has appeared."""
        self.writer.add_topic(
            self._bag_topic(
                name, type_, offer.is_latched, LATCHED_QUEUE if offer.is_latched else None
            )
        )
        self.get_logger().info(
            f'recording {name} ({type_name(type_)}{", latched" if offer.is_latched else ""})'
        )
        return self._subscribe(name, type_, offer.qos)

    def _subscribe(self, name: str, type_: type, qos: QoSProfile) -> Subscription:
        def write(data: bytes, info: dict) -> None:
            """Records a serialised message with its times of reception and publication."""
            if qos is LATCHED and not self.writer.counts[name]:
                # Discovery between the node and these subscriptions is complete.
                self.get_logger().info(f'{READY}: {name} has arrived')
            data = self._rounding.rounded(type_name(type_), data)
            self._write(name, data, info.get('source_timestamp', 0))

        def write_without_info(data: bytes) -> None:
            """Records a serialised message whose time of publication is unknown."""
            write(data, {})

        # Humble's subscriptions do not provide the time of publication.
        has_info = hasattr(Subscription, 'CallbackType')
        return self.create_subscription(
            type_,
            name,
            write if has_info else write_without_info,  # type: ignore[arg-type]
            qos,
            raw=True,
        )  # rclpy's stubs lack callbacks with message info

    def _write(self, name: str, data: bytes, sent_ns: int) -> None:
        """Writes a message; simulated time, if used, replaces the middleware's timestamps."""
        now_ns = self.get_clock().now().nanoseconds
        if self._is_simulated:
            self._early.append((name, data))
            while now_ns and self._early:
                early_name, early = self._early.popleft()
                self.writer.write(early_name, early, now_ns, now_ns)
        else:
            self.writer.write(name, data, now_ns, sent_ns or now_ns)


def main(argv: Sequence[str] | None = None) -> int:
    """Records until SIGINT or SIGTERM; accepts ROS arguments such as remappings.

    Returns:
        The exit code.
    """
    parser = node_parser('recorder', __doc__.partition('\n')[0])
    parser.add_argument('--out', default='decomr_bag', help='folder of the bag (decomr_bag)')
    parser.add_argument(
        '--also',
        nargs='+',
        metavar='TOPIC',
        default=[],
        help='further topics to record, by name, such as '
        f'{", ".join(MORE_TOPICS)}, markers, /tf, /tf_static',
    )
    parser.add_argument(
        '--max-error-mm',
        type=max_error_mm,
        default=DEFAULT_MAX_ERROR_MM,
        help='largest rounding error of recorded vertices, mm '
        f'({DEFAULT_MAX_ERROR_MM:g}); 0: exact',
    )
    parser.add_argument(
        '--compression',
        choices=list(COMPRESSIONS),
        help='compression of the bag (zstd if the Python package zstandard is '
        'installed, otherwise lz4)',
    )
    parser.add_argument(
        '--recover',
        metavar='BAG',
        help='repair this bag after a full disk or a power failure, then exit',
    )
    options = parse_arguments(parser, argv)
    if options.recover is not None:
        return _recover(options.recover)
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_node(
        lambda: Recorder(
            options.out, options.also, arguments, options.max_error_mm, options.compression
        ),
        argv,
    )


def _recover(bag: str) -> int:
    try:
        counts, repaired = recover_bag(bag)
    except (OSError, ValueError) as error:
        sys.stderr.write(f'recorder: {error}\n')
        return 2
    sys.stdout.write(''.join(f'{name}: {count} messages\n' for name, count in counts.items()))
    sys.stdout.write(
        f'repaired: {", ".join(repaired)}\n'
        if repaired
        else f'{bag} is intact; nothing was changed\n'
    )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
