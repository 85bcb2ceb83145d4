"""The node's subscriptions: images, and the calibration, boxes and depth that belong to them.

Each subscription has a thread that only takes messages. An image is handed over as a `Frame`,
which finds what belongs to it when the worker asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from decomr_ros.inputs import depth_input
from decomr_ros.inputs.box_input import BoxInput
from decomr_ros.inputs.calibration_input import CalibrationInput
from decomr_ros.inputs.depth_input import DepthInput
from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.frame_ids import frame_id_problem, without_slash
from decomr_ros.messages.bad_input import BadInput, BadInputCounts
from decomr_ros.messages.serialized_image import SerializedImage, image_from_bytes
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.node.timing import create_steady_timer
from decomr_ros.topics.box_subscription import BoxSubscription
from decomr_ros.topics.input_topics import camera_info_topic, image_topic
from decomr_ros.topics.silent_topics import other_types_text, type_name
from decomr_ros.topics.subscriptions import MatchingSubscription

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.timer import Timer

    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['Inputs']

# Depth of the subscriptions. The mailbox decides which images are skipped, and counts them; the
# queue only has to be long enough that none is lost uncounted while the processor is busy.
QUEUE_DEPTH = 5
# Period at which the subscriptions adapt to the publishers, s.
WATCH_PERIOD_S = 0.5


class Inputs:
    """The subscriptions, and the messages that have arrived.

    Attributes:
        parameters: the parameters; may be replaced at any time.
        image_topic: full name of the image topic.
        camera_info_topic: full name of the calibration topic: beside the images unless it is
            remapped itself.
        calibrations: the calibrations that have arrived.
        boxes: the detections that have arrived.
        depths: the depth images that have arrived.
        warnings: what is ignored or guessed.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        deliver: Callable[[Frame], None],
        lost: Callable[[Any], None] | None = None,
        warnings: StandingWarnings | None = None,
        command_line: Sequence[str] = (),
    ) -> None:
        """Prepares the inputs; `subscribe` follows.

        Args:
            node: owner of the subscriptions.
            parameters: the parameters.
            deliver: called with each image, on the thread that takes it; must not block.
            lost: called with rclpy's event, on the same thread, when images were lost in transit.
            warnings: states problems until they end; None: they are only logged.
            command_line: the command-line arguments of the node, which may remap topics.

        Raises:
            RuntimeError: `use_boxes` is set and the package of the message type is missing.
        """
        self.parameters = parameters
        self._node, self._deliver, self._lost = node, deliver, lost
        self.warnings = warnings or StandingWarnings.of_node(node)
        self.image_topic = image_topic(node, parameters.image_transport != 'raw')
        self.camera_info_topic = camera_info_topic(node, self.image_topic, command_line)
        self._bad = BadInputCounts(self.warnings)
        self.calibrations = CalibrationInput(
            node, self.camera_info_topic, self._current_parameters, self.warnings, self._bad
        )
        self.boxes = BoxInput(node, self._current_parameters, self.warnings, self._bad)
        self.depths = DepthInput(node, parameters.use_depth, self.warnings, self._bad)
        self._images: MatchingSubscription | None = None
        self._subscriptions: list[MatchingSubscription | BoxSubscription] = []
        self._types: dict[str, tuple[str, str]] = {}  # topic and type by input
        self._timer: Timer | None = None

    @property
    def is_subscribed(self) -> bool:
        """Whether images can arrive."""
        return self._images is not None

    @property
    def reliability(self) -> str:
        """`reliable` or `best_effort`: present QoS of the image subscription."""
        return self.parameters.reliability if self._images is None else self._images.reliability

    @property
    def are_losses_counted(self) -> bool:
        """Whether the middleware reports images that were lost in transit."""
        return self._images is not None and self._images.are_losses_counted

    @property
    def bad(self) -> dict[str, int]:
        """Number of unusable messages so far by cause, undecodable images excluded."""
        return self._bad.by_cause

    def subscribe(self) -> None:
        """Subscribes to everything that the parameters ask for; images last."""
        self.calibrations.restart_wait()
        self._add(
            CameraInfo,
            'camera_info',
            self.camera_info_topic,
            self.calibrations.add,
            from_bytes=self.calibrations.read,
        )
        boxes = self.boxes.subscribe(
            lambda message_type, take: MatchingSubscription(
                self._node, message_type, 'boxes', take, QUEUE_DEPTH, self.parameters.reliability
            )
        )
        if boxes is not None:
            self._subscriptions.append(boxes)
        if self.depths.is_used:
            self._add(
                Image, 'depth', depth_input.TOPIC, self.depths.add, depth_input.MESSAGES_KEPT
            )
        is_raw = self.parameters.image_transport == 'raw'
        self._images = self._add(
            Image if is_raw else CompressedImage,
            'image',
            self.image_topic,
            self._take_image,
            lost=self._lost,
            from_bytes=self._read_image if is_raw else None,
        )
        self._timer = create_steady_timer(self._node, WATCH_PERIOD_S, self.watch)

    def close(self) -> None:
        """Unsubscribes from everything; `subscribe` may follow."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            subscription.close()
        self._timer = self._images = None
        self._subscriptions = []

    def watch(self) -> None:
        """Adapts the subscriptions to the publishers; called by a timer of the executor."""
        for subscription in self._subscriptions:
            subscription.check()
        for name, (topic, wanted) in self._types.items():
            self.warnings.set_if_lasting(
                f'{name}_type', other_types_text(self._node, name, topic, wanted)
            )

    def values(self) -> dict[str, str]:
        """Details for /diagnostics, as text by name."""
        return {'image_reliability': self.reliability, **self._bad.values(), **self.boxes.values()}

    def _current_parameters(self) -> NodeParameters:
        return self.parameters

    def _read_image(self, serialized: bytes) -> SerializedImage | Image | None:
        """Reads a serialised image; None for a damaged one, which is counted."""
        try:
            image = image_from_bytes(serialized)
            self.warnings.end_soon('bad_damaged')
            return image
        except Exception as error:  # noqa: BLE001 - rclpy raises several kinds
            self._bad.add(
                BadInput(
                    'damaged',
                    f'an image message of {len(serialized)} bytes that cannot be read: {error}',
                )
            )
            return None

    def _take_image(self, message: Image | SerializedImage | CompressedImage) -> None:
        """Delivers an image; warns of a frame_id that tf2 refuses, and removes its slash."""
        given = message.header.frame_id
        message.header.frame_id = without_slash(given)
        is_good = given and message.header.frame_id == given
        self.warnings.set(
            'frame_id', '' if is_good else frame_id_problem(given, self.image_topic), 1
        )
        self._deliver(Frame(message, self.calibrations, self.boxes, self.depths, self.warnings))

    def _add(
        self,
        message_type: type,
        name: str,
        topic: str,
        callback: Callable[[Any], None],
        depth: int = QUEUE_DEPTH,
        lost: Callable[[Any], None] | None = None,
        from_bytes: Callable[[bytes], Any] | None = None,
    ) -> MatchingSubscription:
        """Adds one subscription.

        Args:
            message_type: ROS type.
            name: name of the input in warnings.
            topic: name of the topic.
            callback: takes the messages.
            depth: queue depth.
            lost: see `MatchingSubscription`.
            from_bytes: see `MatchingSubscription`.
        """
        subscription = MatchingSubscription(
            self._node,
            message_type,
            topic,
            callback,
            depth,
            self.parameters.reliability,
            lost,
            from_bytes,
        )
        self._subscriptions.append(subscription)
        self._types[name] = subscription.topic, type_name(message_type)
        return subscription
