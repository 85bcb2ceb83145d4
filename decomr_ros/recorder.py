"""`recorder`: the node that writes meshes, topology, calibration and status to a rosbag2 MCAP.

It does the part of `ros2 bag record` that the demo and a robot's flight recorder need. Any other
topic is recorded by its name (`--also /tf /tf_static`). Messages are subscribed raw: what the
publisher serialised is what lands in the file, byte for byte, except that the vertices of meshes
are rounded (`--max-error-mm`, see `rounded_meshes.py`). Stop it with SIGINT; after SIGKILL the bag
still opens, without the last half second (see `bags/mcap_bag.py`), and `--recover BAG` mends what
a full disk left.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from decomr.msg import HumanMeshArray, MeshTopology
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from decomr_ros.bags.mcap_bag import COMPRESSIONS, BagTopic, BagWriter, recover_bag
from decomr_ros.bags.message_definitions import message_definition
from decomr_ros.bags.rounded_meshes import DEFAULT_MAX_ERROR_MM, MeshRounding, max_error_mm
from decomr_ros.node.qos import LATCHED
from decomr_ros.programs.command_line import node_parser, parse_words
from decomr_ros.programs.process import run_node
from decomr_ros.topics.input_topics import camera_info_topic, image_topic
from decomr_ros.topics.named_topics import QUEUE as LATCHED_QUEUE
from decomr_ros.topics.named_topics import NamedTopics, Offer
from decomr_ros.topics.silent_topics import (
    PICTURE_TYPES,
    other_topics_text,
    publishers_text,
    type_name,
)

__all__ = ['READY', 'Recorder', 'main']

# Everything up to this old is safe on disk, s.
FLUSH_PERIOD_S = 0.5
# How long a publisher of a topic that is recorded by name may go unnoticed, s.
LOOK_PERIOD_S = 0.1
# What was asked for and nobody publishes so long after the start is told, s.
TOLD_AFTER_S = 5.0
# Messages that may wait for the recorder, per topic: about 2 s of camera frames.
QUEUE = 60
# Messages kept until the first /clock, where time is simulated.
MOST_EARLY = 1000

# In the log once nothing published from now on is missed.
READY = 'ready'

RELIABLE = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE)
# Hears every camera driver: reliable would hear nothing from a best effort one.
BEST_EFFORT = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT)

# What is recorded: message type, and how it is subscribed.
TOPICS = {
    'human_meshes': (HumanMeshArray, RELIABLE),
    'topology': (MeshTopology, LATCHED),
    'camera_info': (CameraInfo, BEST_EFFORT),
    '/diagnostics': (DiagnosticArray, RELIABLE),
}
# What is recorded besides if asked for, and known before it is published; the node makes `iuv`
# only while somebody subscribes. Anything else is found by its name.
MORE_TOPICS = {
    'iuv': (Image, RELIABLE),
    'image/compressed': (CompressedImage, BEST_EFFORT),
    'image': (Image, BEST_EFFORT),
}


class Recorder(Node):
    """Subscribes everything in `TOPICS`, and more if asked, and writes it to a bag.

    Attributes:
        writer: the bag.
    """

    def __init__(self, folder: str | Path, also: Sequence[str] = (), words: Sequence[str] = (),
                 max_error_mm: float = DEFAULT_MAX_ERROR_MM, compression: str | None = None
                 ) -> None:
        """Opens the bag and subscribes.

        Args:
            folder: of the bag; must not exist, or be empty.
            also: names of topics to record besides: of `MORE_TOPICS` or any, relative or full.
            words: the command line.
            max_error_mm: vertices may be recorded so far from where they are, mm; 0: exactly.
            compression: of the bag's chunks, as `BagWriter` takes it.

        Raises:
            InvalidTopicNameException: a name that no topic can have.
        """
        super().__init__('recorder')
        self.exit_code: int | None = None
        topics = TOPICS | {name: MORE_TOPICS[name] for name in also if name in MORE_TOPICS}
        names = self._full_names((*topics, *also), words)
        known = [names[name] for name in topics]
        # Once each: a name may also be the full one of a topic above.
        found = [name for name in dict.fromkeys(names.values()) if name not in known]
        self._rounding = MeshRounding(max_error_mm, self.get_logger().warning)
        self.writer = BagWriter(folder, [
            self._bag_topic(names[name], type_, qos is LATCHED)
            for name, (type_, qos) in topics.items()], compression)
        # What was asked for and has not come: full name, and who published what when last seen.
        self._silent = dict.fromkeys((names[name] for name in also), '')
        self._started_s = time.monotonic()
        # Of which it was told that nobody publishes them; None before it is time to.
        self._told: list[str] | None = None
        self._pictures = {names[name] for name in MORE_TOPICS if name in names}
        self._is_simulated = self.get_parameter('use_sim_time').value
        # What came before the first /clock: topic, data.
        self._early: deque[tuple[str, bytes]] = deque(maxlen=MOST_EARLY)
        for name, (type_, qos) in topics.items():
            self._subscribe(names[name], type_, qos)
        # Steady time: a simulated clock may stand still, and what came before must be safe then.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(FLUSH_PERIOD_S, self._flush, clock=clock)
        if found:
            named = NamedTopics(self, found, self._record)
            self.create_timer(LOOK_PERIOD_S, named.look, clock=clock)
        self.get_logger().info(f'recording {", ".join([*known, *found])} to {folder}')

    def _full_names(self, names: Sequence[str], words: Sequence[str]) -> dict[str, str]:
        """The full name of each topic; those of the camera follow the remapping of `image`."""
        pictures = image_topic(self, is_compressed=True)
        beside = {'image/compressed': pictures,
                  'camera_info': camera_info_topic(self, pictures, words)}
        return {name: beside.get(name) or self.resolve_topic_name(name) for name in names}

    def close(self) -> None:
        """Finishes the bag; says what was asked for and never came."""
        self._look_around()
        try:
            self.writer.close()
        except OSError as error:
            self._fail(error)
        counts = ', '.join(f'{name}: {count}' for name, count in self.writer.counts.items())
        self.get_logger().info(f'recorded {counts}')
        for name, seen in self._silent.items():
            self.get_logger().warning(
                f'nothing came on {name}, which --also asks for: '
                f'{seen or self._nobody(name)}; choose another --also, or give the '
                'topic by --ros-args -r NAME:=TOPIC')

    def _flush(self) -> None:
        """Brings the messages to the disk."""
        try:
            self.writer.flush()
        except OSError as error:
            self._fail(error)
        self._look_around()

    def _fail(self, error: OSError) -> None:
        """Ends the process, before it fills the memory with what the disk does not take."""
        if self.exit_code is None:
            self.get_logger().error(
                f'the recording ends: {error}. Make room; what is in {self.writer.folder} opens '
                f'after python -m decomr_ros.recorder --recover {self.writer.folder}')
        self.exit_code = 1

    def _look_around(self) -> None:
        """Keeps who publishes pictures while one that was asked for is silent.

        Not only at the end: what ends this process often ends the camera at the same time.
        """
        for name in [name for name in self._silent if self.writer.counts.get(name)]:
            del self._silent[name]
        for name, seen in self._silent.items():
            self._silent[name] = publishers_text(self, name, self._types_instead(name)) or seen
        if self._told is None and time.monotonic() - self._started_s >= TOLD_AFTER_S:
            self._told = [name for name in self._silent if not self.count_publishers(name)]
            for name in self._told:
                self._tell_silent(name)
        for name in [name for name in self._told or () if name not in self._silent]:
            self._told.remove(name)
            self.get_logger().info(f'{name} is recorded now')

    def _tell_silent(self, name: str) -> None:
        """Says early that nobody publishes a topic: the end is too late to mend it."""
        others = other_topics_text(self, name, self._types_instead(name))
        self.get_logger().warning(
            f'nobody publishes {name}, which --also asks for, {TOLD_AFTER_S:g} s after the start'
            f'{f"; there is {others}" if others else ""}. It is recorded once somebody does; '
            'else choose another --also, or give the topic by --ros-args -r NAME:=TOPIC')

    def _types_instead(self, name: str) -> tuple[str, ...]:
        """Types of the topics that could be meant where a topic is silent."""
        return PICTURE_TYPES if name in self._pictures else ()

    def _nobody(self, name: str) -> str:
        return f'nobody publishes {"pictures here" if name in self._pictures else "it"}'

    def _bag_topic(self, name: str, type_: type, is_latched: bool,
                   depth: int | None = None) -> BagTopic:
        kind = type_name(type_)
        return BagTopic(name, kind, message_definition(kind), is_latched, depth,
                        self._rounding.metadata(kind))

    def _record(self, name: str, type_: type, offer: Offer) -> Subscription:
        """Subscribes to a topic that was found by its name."""
        self.writer.add_topic(self._bag_topic(name, type_, offer.is_latched,
                                              LATCHED_QUEUE if offer.is_latched else None))
        self.get_logger().info(f'recording {name} ({type_name(type_)}'
                               f'{", latched" if offer.is_latched else ""})')
        return self._subscribe(name, type_, offer.qos)

    def _subscribe(self, name: str, type_: type, qos: QoSProfile) -> Subscription:
        def write(data: bytes, info: dict) -> None:
            """Records a serialised message with when it came and when it was sent."""
            if qos is LATCHED and not self.writer.counts[name]:
                # The node's publishers and these subscriptions have found each other.
                self.get_logger().info(f'{READY}: {name} has arrived')
            data = self._rounding.rounded(type_name(type_), data)
            self._write(name, data, info.get('source_timestamp', 0))

        # Humble's subscriptions never say when a message was sent.
        has_info = hasattr(Subscription, 'CallbackType')
        return self.create_subscription(
            type_, name, write if has_info else lambda data: write(data, {}), qos, raw=True)

    def _write(self, name: str, data: bytes, sent_ns: int) -> None:
        """Writes a message, by a simulated clock if there is one; the middleware knows none."""
        now_ns = self.get_clock().now().nanoseconds
        if self._is_simulated:
            self._early.append((name, data))
            while now_ns and self._early:
                early_name, early = self._early.popleft()
                self.writer.write(early_name, early, now_ns, now_ns)
        else:
            self.writer.write(name, data, now_ns, sent_ns or now_ns)


def main(argv: Sequence[str] | None = None) -> int:
    """Records until SIGINT or SIGTERM; ROS arguments (remappings) are understood.

    Returns:
        The exit code.
    """
    parser = node_parser('recorder', __doc__.partition('\n')[0])
    parser.add_argument('--out', default='decomr_bag', help='folder of the bag (decomr_bag)')
    parser.add_argument('--also', nargs='+', metavar='TOPIC', default=[],
                        help='record these besides: any topic by name, such as '
                             f'{", ".join(MORE_TOPICS)}, markers, /tf, /tf_static')
    parser.add_argument('--max-error-mm', type=max_error_mm, default=DEFAULT_MAX_ERROR_MM,
                        help='record vertices rounded, at most so far from where they are, mm '
                             f'({DEFAULT_MAX_ERROR_MM:g}); 0 records them exactly')
    parser.add_argument('--compression', choices=list(COMPRESSIONS),
                        help='of the bag (zstd where its Python package is installed, else lz4)')
    parser.add_argument('--recover', metavar='BAG', help='repair this bag, after a full disk or a '
                                                         'loss of power, and end')
    options = parse_words(parser, argv)
    if options.recover is not None:
        return _recover(options.recover)
    words = list(sys.argv[1:] if argv is None else argv)
    return run_node(lambda: Recorder(options.out, options.also, words, options.max_error_mm,
                                     options.compression), argv)


def _recover(bag: str) -> int:
    try:
        counts, mended = recover_bag(bag)
    except (OSError, ValueError) as error:
        sys.stderr.write(f'recorder: {error}\n')
        return 2
    sys.stdout.write(''.join(f'{name}: {count} messages\n' for name, count in counts.items()))
    sys.stdout.write(f'mended: {", ".join(mended)}\n' if mended else
                     f'nothing is wrong with {bag}; it is as it was\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
