"""The inputs of an image, with a node that only records subscriptions; QoS with a real one."""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_ros.inputs import box_input, calibration_input
from decomr_ros.inputs.frame import Frame
from decomr_ros.inputs.inputs import Inputs
from decomr_ros.inputs.stamped_messages import StampedMessages
from decomr_ros.messages.bad_input import BadInput
from decomr_ros.messages.images import image_message
from decomr_ros.messages.meshes import camera_info_message
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.pipeline.depth_correction import DepthCorrection
from decomr_ros.settings.parameters import NodeParameters
from decomr_ros.topics import subscriptions
from decomr_ros.topics.subscriptions import MatchingSubscription
from tests.ros.conftest import RosTest
from tests.ros.inputs.test_depth_image import _flat_person
from tests.ros.messages.test_boxes import detection

BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Notes:
    """A node that records its calls; `callbacks` by topic."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable] = {}
        self.log: list[str] = []
        self.remapped: dict[str, str] = {}

    def create_subscription(
        self,
        message_type: type,
        topic: str,
        callback: Callable,
        qos_profile: QoSProfile,
        raw: bool = False,
        **kwargs: object,
    ) -> str:
        self.callbacks[topic] = (
            (lambda message: callback(bytes(serialize_message(message)))) if raw else callback
        )
        return topic

    def destroy_subscription(self, topic: str) -> None:
        self.callbacks.pop(topic, None)  # in a handover there are two of a topic

    def create_timer(self, *arguments: object, **kwargs: object) -> object:
        return object()

    def destroy_timer(self, timer: object) -> None:
        pass

    def get_publishers_info_by_topic(self, topic: str) -> list[object]:
        return []

    def get_topic_names_and_types(self) -> list[object]:
        return []

    def get_name(self) -> str:
        return 'decomr'

    def get_fully_qualified_name(self) -> str:
        return '/decomr'

    def resolve_topic_name(self, topic: str, only_expand: bool = False) -> str:
        full = topic if topic.startswith('/') else f'/{topic}'
        return full if only_expand else self.remapped.get(full, full)

    def get_logger(self) -> Notes:
        return self

    def info(self, text: str, **kwargs: object) -> None:
        self.log.append(text)

    warning = error = info


class NoThread:
    """Replaces the thread that takes the messages of a subscription."""

    def __init__(self, *arguments: object) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Notes:
    monkeypatch.setattr(subscriptions, 'TakingThread', NoThread)
    return Notes()


def header(seconds: float) -> Header:
    made = Header(frame_id='camera')
    made.stamp.sec, made.stamp.nanosec = int(seconds), round(seconds % 1 * 1e9)
    return made


def start(node: Notes, **parameters: object) -> tuple[Inputs, list[Frame]]:
    frames: list[Frame] = []
    inputs = Inputs(node, NodeParameters(**parameters), frames.append)
    inputs.subscribe()
    return inputs, frames


def gray(seconds: float = 1.0, size: int = 64) -> Image:
    return image_message(header(seconds), np.full((size, size, 3), 90, np.uint8), 'bgr8')


def info(seconds: float = 1.0, size: int = 64, d: tuple[float, ...] = ()) -> CameraInfo:
    return camera_info_message(header(seconds), intrinsics_from_fov(size, size, 60), size, size, d)


def test_a_frame_has_the_latest_calibration_at_its_first_use(node: Notes) -> None:
    inputs, frames = start(node)
    node.callbacks['/image'](gray())
    node.callbacks['/image'](gray(2))
    first, second = frames
    assert first.header.stamp.sec == 1
    assert first.intrinsics is None
    assert first.boxes is None
    assert first.depth is None
    node.callbacks['/camera_info'](info())
    np.testing.assert_array_equal(second.intrinsics, intrinsics_from_fov(64, 64, 60))
    assert second.rgb.shape == (64, 64, 3)
    assert [text for text in node.log if 'no camera_info on /camera_info yet' in text]
    inputs.close()
    assert node.callbacks == {}
    assert not inputs.is_subscribed


def test_a_reason_for_relative_meshes_is_logged_once(node: Notes) -> None:
    _, frames = start(node)
    for second in range(5):
        node.callbacks['/image'](gray(second))
        assert frames[-1].intrinsics is None
    assert len(node.log) == 1


def test_a_bad_camera_info_is_counted_by_its_cause(node: Notes) -> None:
    inputs, frames = start(node)
    broken = info()
    broken.k[4] = -1.0
    node.callbacks['/camera_info'](broken)
    node.callbacks['/image'](gray())
    assert frames[0].intrinsics is None
    assert inputs.bad == {'camera_info': 1}
    assert inputs.values()['bad_camera_info'] == '1'


def test_an_unchanged_camera_info_is_not_deserialised_again(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, _ = start(node)
    read = []
    monkeypatch.setattr(
        calibration_input,
        'deserialize_message',
        lambda data, kind: read.append(data) or deserialize_message(data, kind),
    )
    for seconds in (1, 2, 3):
        node.callbacks['/camera_info'](info(seconds))
    assert len(read) == 1
    node.callbacks['/camera_info'](info(4, 32))
    assert len(read) == 2
    for size in (32, 64):
        assert inputs.calibrations.at(size, size).intrinsics is not None


def test_a_bad_image_raises_when_it_is_decoded(node: Notes) -> None:
    _, frames = start(node)
    message = gray()
    message.encoding = 'nonsense'
    node.callbacks['/image'](message)
    with pytest.raises(BadInput, match='nonsense'):
        frames[0].rgb  # noqa: B018 - the image is decoded here


def test_compressed_images_follow_the_remapping_of_image(node: Notes) -> None:
    node.remapped = {'/image': '/front/image_raw'}
    inputs, frames = start(node, image_transport='compressed')
    assert inputs.image_topic == '/front/image_raw/compressed'
    data = cv2.imencode('.png', np.full((48, 64, 3), (10, 20, 30), np.uint8))[1].tobytes()
    node.callbacks['/front/image_raw/compressed'](
        CompressedImage(header=header(3), format='png', data=array.array('B', data))
    )
    assert frames[0].rgb[0, 0].tolist() == [30, 20, 10]
    assert frames[0].header.stamp.sec == 3


def test_a_remapping_of_the_compressed_topic_itself_wins(node: Notes) -> None:
    node.remapped = {'/image': '/a', '/image/compressed': '/jpegs'}
    inputs, _ = start(node, image_transport='compressed')
    assert inputs.image_topic == '/jpegs'


def test_undistorted_frames_have_undistorted_boxes(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: SimpleNamespace)
    _, frames = start(node, undistort=True, use_boxes=True)
    node.callbacks['/camera_info'](info(d=(-0.3, 0.1, 0.0, 0.0, 0.0)))
    node.callbacks['/boxes'](
        SimpleNamespace(
            header=header(1), detections=[detection(x=10.0, y=30.0, size=(20.0, 40.0))]
        )
    )
    image = np.full((64, 64, 3), 90, np.uint8)
    image[:, 0] = image[0] = 255  # an ideal camera does not see that far
    node.callbacks['/image'](image_message(header(1), image, 'bgr8'))
    assert frames[0].boxes.boxes[0, 0] < -0.5
    assert np.array_equal(frames[0].rgb[32, 32], [90, 90, 90])
    assert frames[0].rgb.max() == 90


def test_boxes_of_the_same_stamp_are_preferred_then_the_nearest_in_time(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: SimpleNamespace)
    inputs, frames = start(
        node,
        use_boxes=True,
        boxes_max_age_s=0.5,
        max_people=2,
        min_score=0.3,
        person_class_ids='person, 0',
    )
    for seconds, scores in ((1.0, (0.4,)), (1.2, (0.5, 0.9, 0.2, 0.7)), (1.4, (0.6,))):
        node.callbacks['/boxes'](
            SimpleNamespace(
                header=header(seconds), detections=[detection('0', score) for score in scores]
            )
        )
    for seconds in (1.2, 1.8, 2.5):
        node.callbacks['/image'](gray(seconds))
    exact, near, late = frames
    # All that may be used: the tracker decides who is left out, and counts them.
    np.testing.assert_allclose(exact.boxes.scores, [0.9, 0.7, 0.5])
    np.testing.assert_allclose(near.boxes.scores, [0.6])
    assert late.boxes is None
    assert 'no boxes on /boxes within 0.5 s' in node.log[-1]
    node.callbacks['/boxes'](
        SimpleNamespace(header=header(3), detections=[detection(score=float('nan'))])
    )
    assert inputs.bad == {'boxes': 1}


def test_an_empty_message_of_boxes_means_no_people(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: SimpleNamespace)
    _, frames = start(node, use_boxes=True)
    node.callbacks['/boxes'](SimpleNamespace(header=header(1), detections=[detection('dog')]))
    node.callbacks['/image'](gray())
    assert frames[0].boxes.boxes.shape == (0, 4)


def test_use_boxes_without_vision_msgs_is_rejected(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('decomr_ros.messages.boxes.Detection2DArray', None)
    with pytest.raises(RuntimeError, match='vision-msgs'):
        Inputs(node, NodeParameters(use_boxes=True), print)


def test_a_depth_image_of_the_same_time_corrects_the_meshes(node: Notes) -> None:
    inputs, frames = start(node, use_depth=True)
    node.callbacks['/camera_info'](info())
    far = image_message(header(1), np.full((64, 64), 2000, '<u2'), '16UC1')
    node.callbacks['/depth'](far)
    for seconds in (1.05, 1.2):
        node.callbacks['/image'](gray(seconds))
    stage = DepthCorrection('/depth', inputs.warnings, node.info)
    (corrected,) = stage.correct([_flat_person()], frames[0].depth)
    assert corrected.translation[2] == pytest.approx(2, abs=1e-3)
    assert stage.num_corrected == 1
    assert sum('corrected by /depth' in text for text in node.log) == 1
    (late,) = stage.correct([_flat_person()], frames[1].depth)
    assert late.translation[2] == 3
    assert stage.num_corrected == 1
    node.callbacks['/depth'](image_message(header(5), np.zeros((8, 64), '<u2'), '16UC1'))
    node.callbacks['/image'](gray(5))
    assert frames[-1].depth is None
    assert inputs.bad == {'depth': 1}


def test_missing_depth_and_boxes_are_warnings_until_they_arrive(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_input, 'detection_message_type', lambda: SimpleNamespace)
    warnings = StandingWarnings(node.log.append)
    frames: list[Frame] = []
    inputs = Inputs(
        node, NodeParameters(use_depth=True, use_boxes=True), frames.append, warnings=warnings
    )
    inputs.subscribe()
    node.callbacks['/camera_info'](info())
    for seconds in (1, 2, 3):
        node.callbacks['/image'](gray(seconds))
        assert (frames[-1].depth, frames[-1].boxes) == (None, None)
    assert len(node.log) == 2
    values = warnings.values()
    assert (values['warnings'], values['warning_depth_count']) == ('2', '3')
    assert 'no depth image on /depth within 0.1 s' in values['warning_depth']
    assert 'no boxes on /boxes within 0.5 s' in values['warning_boxes']
    node.callbacks['/depth'](image_message(header(4), np.full((64, 64), 2000, '<u2'), '16UC1'))
    node.callbacks['/boxes'](SimpleNamespace(header=header(4), detections=[]))
    node.callbacks['/image'](gray(4))
    assert frames[-1].depth is not None
    assert frames[-1].boxes is not None
    assert warnings.values() == {'warnings': '0'}


def test_of_messages_of_one_stamp_the_newest_is_found() -> None:
    messages = StampedMessages(3)
    for name in 'abcd':
        messages.add(header(0).stamp, name)
    assert messages.at(header(0).stamp, 0.0) == 'd'
    assert messages.at(header(1).stamp, 0.5) is None


def test_a_handover_keeps_the_order_without_repetition_and_counts_losses_once(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = ['best_effort']
    monkeypatch.setattr(MatchingSubscription, '_offered', lambda self: offered[0])
    losses: list[str] = []
    lost: list[Callable] = []
    monkeypatch.setattr(
        subscriptions,
        'SubscriptionEventCallbacks',
        lambda **callbacks: lost.append(callbacks['message_lost']),
    )
    seen: list[float] = []
    subscription = MatchingSubscription(
        node,
        Image,
        'image',
        lambda message: seen.append(message.header.stamp.sec),
        5,
        lost=losses.append,
    )
    old = node.callbacks['/image']
    old(gray(5))
    offered[0] = 'reliable'
    subscription.check()
    new = node.callbacks['/image']
    old(gray(7))  # it has missed the sixth, which the reliable one brings late
    for seconds in (6, 7, 8):
        new(gray(seconds))
    old(gray(9))
    for seconds in (9, 3, 4):  # the camera's clock starts anew
        new(gray(seconds))
    assert seen == [5, 7, 8, 9, 3, 4]
    for tell in lost:
        tell('one')
    assert losses == ['one']
    subscription.close()


def test_cameras_without_a_clock_lose_nothing_in_a_handover(
    node: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = ['best_effort']
    monkeypatch.setattr(MatchingSubscription, '_offered', lambda self: offered[0])
    seen: list[Image] = []
    subscription = MatchingSubscription(node, Image, 'image', seen.append, 5)
    node.callbacks['/image'](gray(0))
    offered[0] = 'reliable'
    subscription.check()
    node.callbacks['/image'](gray(0))
    assert len(seen) == 2


def test_a_damaged_camera_info_is_counted(ros: RosTest) -> None:
    heard: list[Frame] = []
    inputs = Inputs(ros.node, NodeParameters(), heard.append)
    assert inputs.calibrations.read(b'\0\1\0\0 too short') is None
    assert inputs.bad == {'camera_info': 1}


def _send(
    subscription: MatchingSubscription, publisher: Publisher, seen: list[int], second: int
) -> None:
    """Sends an image of this second while the subscription follows the publishers.

    It has the time to arrive, or to get lost: nobody tells of that.
    """
    subscription.check()
    publisher.publish(image_message(header(second), np.zeros((1, 1, 3), np.uint8), 'rgb8'))
    deadline = time.monotonic() + 0.05
    while seen[-1:] != [second] and time.monotonic() < deadline:
        time.sleep(0.001)


def test_auto_becomes_reliable_with_the_publisher_and_loses_and_repeats_nothing(
    ros: RosTest,
) -> None:
    seen: list[int] = []
    with closing(
        MatchingSubscription(
            ros.node, Image, 'image', lambda message: seen.append(message.header.stamp.sec), 10
        )
    ) as subscription:
        _follow_publishers(ros, subscription, seen)


def _follow_publishers(ros: RosTest, subscription: MatchingSubscription, seen: list[int]) -> None:
    assert subscription.reliability == 'best_effort'
    publisher = ros.node.create_publisher(Image, 'image', RELIABLE)
    ros.spin_until(lambda: publisher.get_subscription_count())
    for last in range(1, 1000):
        _send(subscription, publisher, seen, last)
        # The new subscription has taken over in between.
        if len(seen) > 30 and subscription.reliability == 'reliable' and not subscription._before:
            break
    assert subscription.reliability == 'reliable'
    ros.spin_until(lambda: seen[-1] == last)
    assert seen == list(range(seen[0], last + 1))
    assert len(seen) > 30
    # Somebody joins who is best effort: both must be heard.
    other = ros.node.create_publisher(Image, 'image', BEST_EFFORT)
    ros.spin_until(lambda: subscription.check() or subscription.reliability == 'best_effort')
    ros.spin_until(lambda: other.get_subscription_count() and publisher.get_subscription_count())
    for sender, stamps in ((other, range(1000, 1020)), (publisher, range(2000, 2020))):
        for second in stamps:
            _send(subscription, sender, seen, second)
        ros.spin_until(lambda stamps=stamps: seen[-1] == stamps[-1])
    assert len(seen) == len(set(seen))


def test_a_wrong_reliability_is_reported_with_the_remedy(ros: RosTest) -> None:
    logged = ros.hear_log()
    with closing(
        MatchingSubscription(ros.node, Image, 'image', print, 10, 'reliable')
    ) as subscription:
        ros.node.create_publisher(Image, 'image', BEST_EFFORT)
        remedy = 'Set the parameter reliability to auto or best_effort'
        ros.spin_until(lambda: any(remedy in text for text in logged))
        subscription.check()
        assert subscription.reliability == 'reliable'  # it was asked for
