"""What the node subscribes to: images and what belongs to each of them.

Each subscription has a thread that only takes messages. An image is handed on as a `Frame`, which
decodes the picture and looks up calibration, boxes and depth when the worker asks for them: an
image that is skipped for a newer one costs nothing, and boxes and depth that come a little later
still count.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from decomr_core.people.detection import Detections
from decomr_ros.calibration.calibration import Calibration, CalibrationStore
from decomr_ros.calibration.calibration_checks import CALIBRATION_WARNINGS
from decomr_ros.calibration.calibration_wait import CalibrationWait
from decomr_ros.inputs.box_checks import BoxChecks
from decomr_ros.inputs.depth_checks import DepthChecks
from decomr_ros.inputs.depth_image import DepthImage, depth_from_message, place_by_depth
from decomr_ros.inputs.frame_ids import frame_id_problem, without_slash
from decomr_ros.inputs.picture_checks import PICTURE_WARNINGS, picture_remarks
from decomr_ros.inputs.stamp_checks import InfoStamps, distance_text
from decomr_ros.inputs.stamped_messages import StampedMessages
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.box_image import boxes_in_image
from decomr_ros.messages.boxes import (
    class_ids_from_text,
    detection_message_type,
    people_from_detections,
)
from decomr_ros.messages.compressed import rgb_from_compressed_message
from decomr_ros.messages.images import rgb_from_image_message
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.messages.serialized_image import SerializedImage, image_from_bytes
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.topics.box_subscription import BoxSubscription, first_box_message
from decomr_ros.topics.input_topics import camera_info_topic, image_topic, no_camera_info_text
from decomr_ros.topics.silent_topics import other_types_text, type_name
from decomr_ros.topics.subscriptions import MatchingSubscription

if TYPE_CHECKING:
    import numpy as np
    from rclpy.node import Node
    from rclpy.timer import Timer
    from std_msgs.msg import Header

    from decomr_core.base.structures import HumanMesh
    from decomr_ros.settings.parameters import NodeParameters

__all__ = ['Frame', 'Inputs']

# The mailbox decides which images are skipped, and counts them; this many may wait to be taken, so
# that none is lost uncounted while the processor is busy.
IMAGE_QUEUE = 5
# Where the content of a serialised message begins that begins with a stamp, bytes.
AFTER_STAMP = 12
# Publishers come and go; this often the subscriptions look who is there, s.
WATCH_PERIOD_S = 0.5
# The same problem is logged once in this time, s.
QUIET_S = 5.0
# Depth of another moment shows the wall where somebody walks now: three images at 30 Hz.
DEPTH_MAX_AGE_S = 0.1
# Messages kept to be found by their stamp: as many as arrive while the worker is busy.
BOXES_KEPT, DEPTH_KEPT = 10, 3


class Frame:
    """One image with what belongs to it, worked out when it is first asked for.

    Attributes:
        header: stamp and frame of the image; the frame's name is as tf2 takes it.
    """

    def __init__(self, message: Image | SerializedImage | CompressedImage, inputs: Inputs
                 ) -> None:
        """Takes an image message and where its surroundings are found."""
        self.header: Header = inputs.checked_header(message.header)
        self._message, self._inputs = message, inputs

    @cached_property
    def rgb(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB, undistorted where that is wanted.

        Raises:
            BadInput: the message cannot be read.
        """
        return self.calibration.undistort_picture(self._taken)

    @property
    def intrinsics(self) -> np.ndarray | None:
        """(3, 3) px, of `rgb`; None where the camera is not calibrated."""
        return self.calibration.intrinsics

    @cached_property
    def calibration(self) -> Calibration:
        """Of the camera, for this image's size; says why there is none."""
        height, width = self._taken.shape[:2]
        return self._inputs.calibration(width, height, self.header.stamp)

    @cached_property
    def boxes(self) -> Detections | None:
        """The people that another node found, in px of `rgb`; None: nothing fresh is known."""
        return self._inputs.boxes(self.header.stamp, self.calibration)

    @cached_property
    def depth(self) -> DepthImage | None:
        """The depth image of this moment; None where there is none."""
        return self._inputs.depth(self.header.stamp, self.calibration)

    @cached_property
    def _taken(self) -> np.ndarray:
        """The picture as the camera took it."""
        is_compressed = isinstance(self._message, CompressedImage)
        picture = (rgb_from_compressed_message if is_compressed else rgb_from_image_message)(
            self._message)
        self._inputs.warnings.update(PICTURE_WARNINGS, picture_remarks(self._message, picture))
        return picture


class Inputs:
    """The subscriptions, and what has arrived on them.

    Attributes:
        settings: the parameters; may be replaced at any time.
        bad: messages other than images that could not be used, by cause.
        depth_corrected: meshes whose distance a depth image has corrected.
        warnings: what is ignored or guessed.
    """

    def __init__(self, node: Node, settings: NodeParameters,
                 deliver: Callable[[Frame], None],
                 lost: Callable[[Any], None] | None = None,
                 warnings: StandingWarnings | None = None, words: Sequence[str] = ()) -> None:
        """Subscribes to nothing yet.

        Args:
            node: owner of the subscriptions.
            settings: the parameters.
            deliver: called with each image on the thread that takes them; must not block.
            lost: called likewise with rclpy's event when images were lost on their way.
            warnings: where problems are stated until they end; None: they are logged only.
            words: the command line of the node.

        Raises:
            RuntimeError: `use_boxes` without the package of the boxes' type.
        """
        self.settings = settings
        self.bad: Counter[str] = Counter()
        self.depth_corrected = 0
        self._node, self._deliver, self._lost = node, deliver, lost
        self._boxes_type = first_box_message(settings.boxes_type, detection_message_type
                                             ) if settings.use_boxes else None
        self._subscriptions: list[MatchingSubscription] = []
        self._types: dict[str, tuple[str, str]] = {}  # topic and type by input
        self._timer: Timer | None = None
        self._words = words
        self.warnings = warnings or StandingWarnings(
            lambda text: node.get_logger().warning(text),
            lambda text: node.get_logger().info(text))
        self._last_info, self._info_stamps = b'', InfoStamps(self.warnings)
        self._box_checks = BoxChecks(self.warnings, node.resolve_topic_name('boxes'))
        self._depth_checks = DepthChecks(self.warnings, node.resolve_topic_name('depth'))
        self._lock = threading.Lock()
        self._calibrations = CalibrationStore(
            lambda text: node.get_logger().info(text, throttle_duration_sec=QUIET_S))
        self._calibration_wait = CalibrationWait()
        self._boxes = StampedMessages(BOXES_KEPT)
        self._depths = StampedMessages(DEPTH_KEPT)

    @property
    def is_subscribed(self) -> bool:
        """Whether images can arrive."""
        return bool(self._subscriptions)

    @property
    def image_topic(self) -> str:
        """Full name of the topic that the images come on."""
        return image_topic(self._node, self.settings.image_transport != 'raw')

    @property
    def camera_info_topic(self) -> str:
        """Full name of the topic of the calibration: beside the images unless remapped itself."""
        return camera_info_topic(self._node, self.image_topic, self._words)

    @property
    def reliability(self) -> str:
        """`reliable` or `best_effort`: how images are subscribed to at present."""
        images = self._subscriptions[-1:]
        return images[0].reliability if images else self.settings.reliability

    @property
    def are_losses_counted(self) -> bool:
        """Whether the middleware tells of images that were lost on their way."""
        return any(images.are_losses_counted for images in self._subscriptions[-1:])

    def subscribe(self) -> None:
        """Subscribes to everything that the parameters ask for; images last."""
        is_raw = self.settings.image_transport == 'raw'
        self._calibration_wait = CalibrationWait()
        self._add(CameraInfo, 'camera_info', self.camera_info_topic, self._take_camera_info,
                  from_bytes=self._read_camera_info)
        if self._boxes_type is not None:
            self._subscribe_to_boxes()
        if self.settings.use_depth:
            self._add(Image, 'depth', 'depth', lambda message: self._depths.add(
                message.header.stamp, message), DEPTH_KEPT)
        self._add(Image if is_raw else CompressedImage, 'image', self.image_topic,
                  lambda message: self._deliver(Frame(message, self)), lost=self._lost,
                  from_bytes=self._read_image if is_raw else None)
        # Steady time: with use_sim_time and no clock yet, ROS time stands still.
        self._timer = self._node.create_timer(WATCH_PERIOD_S, self._watch, clock=Clock(
            clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Unsubscribes from everything; `subscribe` may follow."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._timer = None
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions = []

    def values(self) -> dict[str, str]:
        """What is worth telling on /diagnostics, as text by name."""
        with self._lock:
            bad = dict(self.bad)
        values = {f'bad_{cause}': str(count) for cause, count in sorted(bad.items())}
        if self.settings.use_depth:
            values['depth_corrected'] = str(self.depth_corrected)
        return {'image_reliability': self.reliability, **values, **self._box_checks.values()}

    # What belongs to an image; asked by the worker

    def calibration(self, width: int, height: int, stamp: Any = None) -> Calibration:
        """Of images of this size; what is wrong with it, or with its stamps, is a warning."""
        made = self._calibrations.for_image(width, height, self.settings.image_is_rectified,
                                            self.settings.undistort)
        if made.intrinsics is None:
            problem = made.problem or no_camera_info_text(self._node, self.camera_info_topic)
            if problem == self._calibrations.refused:  # which has a warning of its own
                problem = f'no usable camera_info on {self.camera_info_topic} yet'
            problem += '; until then meshes are relative to the root, without a position'
            if count := self._calibration_wait.count(not made.problem):
                self.warnings.hold('camera_info', problem, count)
        else:
            self.warnings.end('camera_info')
            if self._calibration_wait.is_over():
                self.warnings.note('camera_info', f'camera_info has come on '
                                   f'{self.camera_info_topic}: people have positions from now on')
        found = {**made.remarks, 'lens': made.warning} if made.warning else made.remarks
        self.warnings.update((*CALIBRATION_WARNINGS, 'lens'), found)
        if stamp is not None:
            self._info_stamps.compare(nanoseconds_from_stamp(stamp))
        return made

    def checked_header(self, header: Header) -> Header:
        """The header of an image, its frame's name as tf2 takes it; a wrong one is stated."""
        given = header.frame_id
        header.frame_id = without_slash(given)
        is_good = given and header.frame_id == given
        self.warnings.hold(
            'frame_id', '' if is_good else frame_id_problem(given, self.image_topic), 1)
        return header

    def boxes(self, stamp: Any, calibration: Calibration) -> Detections | None:
        """The people of that moment, in px of the picture."""
        if self._boxes_type is None:
            return None
        settings = self.settings
        people = self._boxes.at(stamp, settings.boxes_max_age_s)
        if people is None:
            topic = self._node.resolve_topic_name('boxes')
            self.warnings.hold('boxes', (
                f'no boxes on {topic} within {settings.boxes_max_age_s:g} s of the image '
                f'(boxes_max_age_s){distance_text(self._boxes.nearest_s(stamp))}: the detector '
                f'{settings.detector} looks for people'), 1)
            return None
        self.warnings.end('boxes')
        size = calibration.width, calibration.height
        people = Detections(boxes_in_image(
            people.boxes, settings.boxes_fit, (settings.boxes_width, settings.boxes_height), size),
            people.scores)
        people = self._box_checks.usable(people, *size, settings)
        return Detections(calibration.undistort_boxes(people.boxes), people.scores)

    def depth(self, stamp: Any, calibration: Calibration) -> DepthImage | None:
        """The depth image of that moment; one that does not fit is counted and logged."""
        if not self.settings.use_depth:
            return None
        message = self._depths.at(stamp, DEPTH_MAX_AGE_S)
        if message is None:
            topic = self._node.resolve_topic_name('depth')
            self.warnings.hold('depth', (
                f'no depth image on {topic} within {DEPTH_MAX_AGE_S:g} s of the image'
                f'{distance_text(self._depths.nearest_s(stamp))}: distances are not corrected'), 1)
            return None
        self.warnings.end('depth')
        try:
            depth = depth_from_message(message, calibration)
        except BadInput as error:
            self._count(error)
            return None
        self._depth_checks.look(message, depth)
        return depth

    def place(self, meshes: Sequence[HumanMesh], frame: Frame) -> list[HumanMesh]:
        """The meshes of a frame, at their measured distance where depth is known."""
        if frame.depth is None:
            return list(meshes)
        placed, corrected = place_by_depth(meshes, frame.depth)
        if corrected and not self.depth_corrected:
            self._node.get_logger().info(
                f'distances are corrected by {self._node.resolve_topic_name("depth")}')
        self.depth_corrected += corrected
        self._depth_checks.count(meshes, corrected)
        return placed

    # Messages; on the thread that takes them

    def _read_image(self, serialized: bytes) -> SerializedImage | Image | None:
        """The image; None, counted, where it is damaged: nothing else would keep the node up."""
        try:
            image = image_from_bytes(serialized)
            self.warnings.end_soon('bad_damaged')
            return image
        except Exception as error:  # noqa: BLE001 - rclpy raises several kinds
            self._count(BadInput('damaged', f'an image message of {len(serialized)} bytes that '
                                            f'cannot be read: {error}'))
            return None

    def _read_camera_info(self, serialized: bytes) -> CameraInfo | None:
        """The calibration; None where it is the one before: cameras send it with each image."""
        content = serialized[AFTER_STAMP:]
        self._info_stamps.take(serialized)
        if content == self._last_info:
            return None
        try:
            message = deserialize_message(serialized, CameraInfo)
        except Exception as error:  # noqa: BLE001 - rclpy raises several kinds
            self._count(BadInput('camera_info', f'a camera_info of {len(serialized)} bytes that '
                                                f'cannot be read: {error}'))
            return None
        self._last_info = content
        return message

    def _take_camera_info(self, message: CameraInfo) -> None:
        try:
            self._calibrations.add(message)
            self.warnings.end_soon('bad_camera_info')
        except BadInput as error:
            self._last_info = b''  # to be counted each time
            self._count(error)

    def _take_boxes(self, message: Any) -> None:
        class_ids = self.settings.person_class_ids
        try:
            found = people_from_detections(message, class_ids_from_text(class_ids))
        except BadInput as error:
            self._count(error)
            return
        self._box_checks.look(found, class_ids)
        self._boxes.add(message.header.stamp, found.people)

    def _subscribe_to_boxes(self) -> None:
        topic, reliability = self._node.resolve_topic_name('boxes'), self.settings.reliability
        self._subscriptions.append(BoxSubscription(
            self._node, topic, self.settings.boxes_type, self._boxes_type, detection_message_type,
            lambda message_type, take: MatchingSubscription(
                self._node, message_type, 'boxes', take, IMAGE_QUEUE, reliability),
            self._take_boxes, lambda text: self.warnings.hold_if_lasting('boxes_type', text)))

    def _add(self, message_type: type, name: str, topic: str, callback: Callable[[Any], None],
             depth: int = IMAGE_QUEUE, lost: Callable[[Any], None] | None = None,
             from_bytes: Callable[[bytes], Any] | None = None) -> None:
        self._subscriptions.append(MatchingSubscription(
            self._node, message_type, topic, callback, depth, self.settings.reliability, lost,
            from_bytes))
        self._types[name] = self._subscriptions[-1].topic, type_name(message_type)

    def _watch(self) -> None:
        for subscription in self._subscriptions:
            subscription.check()
        for name, (topic, wanted) in self._types.items():
            self.warnings.hold_if_lasting(
                f'{name}_type', other_types_text(self._node, name, topic, wanted))

    def _count(self, error: BadInput) -> None:
        with self._lock:
            self.bad[error.cause] += 1
        self.warnings.hold(f'bad_{error.cause}', f'left out: {error}', 1)
