"""What a parameter does that is changed while the node is active: from the next image on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from decomr.msg import HumanMeshArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from decomr_ros.decomr_node import DecomrNode
from tests.ros.conftest import RosTest
from tests.ros.inner_node import BOXES, HEIGHT, WIDTH, InnerNode
from tests.ros.node_client import Camera

Show = Callable[[], HumanMeshArray]
# What is cropped stands still while a box moves a little.
HELD = 0.02


@pytest.fixture
def camera(inner: InnerNode) -> Camera:
    return inner.activate()


@pytest.fixture
def show(camera: Camera) -> Show:
    """Shows one image with its calibration; the answer."""
    return lambda: camera.show(HEIGHT, WIDTH)


def listen(ros: RosTest, inner: InnerNode, kind: type, topic: str) -> list:
    """The messages of a topic of the node, which knows of the subscription."""
    heard: list = []
    ros.node.create_subscription(kind, topic, heard.append, 10)
    inner.wait_for_listeners(topic)
    return heard


def test_min_score_removes_the_weak_person_immediately_and_readmits_it(
    inner: InnerNode, show: Show
) -> None:
    inner.set(detector_stride=1)
    assert [round(mesh.score, 1) for mesh in show().meshes] == [0.9, 0.4]
    inner.set(min_score=0.5)
    assert [round(mesh.score, 1) for mesh in show().meshes] == [0.9]
    inner.set(min_score=0.0)
    assert [round(mesh.score, 1) for mesh in show().meshes] == [0.9, 0.4]


def test_max_people_keeps_the_best(inner: InnerNode, show: Show) -> None:
    first, _ = show().meshes
    inner.set(max_people=1)
    for _ in range(2):
        (only,) = show().meshes
        assert only.id == first.id


def test_box_scale_widens_the_crop(inner: InnerNode, show: Show) -> None:
    inner.set(detector_stride=1)
    before = show().meshes[0]
    inner.set(box_scale=1.5)
    after = show().meshes[0]
    sides = [max(mesh.box[2] - mesh.box[0], mesh.box[3] - mesh.box[1]) for mesh in (before, after)]
    assert before.crop_side == pytest.approx(1.2 * sides[0], rel=HELD)
    assert after.crop_side == pytest.approx(1.5 * sides[1], rel=HELD)


def test_detector_stride_sets_how_often_the_detector_runs(inner: InnerNode, show: Show) -> None:
    inner.set(detector_period_s=0.0)
    show()
    assert inner.detector.num_calls == 1
    for stride, images, calls in ((100, 4, 0), (1, 3, 3), (2, 4, 2)):
        inner.set(detector_stride=stride)
        before = inner.detector.num_calls
        for _ in range(images):
            show()
        assert inner.detector.num_calls - before == calls


def test_detector_period_s_runs_the_detector_before_its_stride(
    inner: InnerNode, show: Show
) -> None:
    inner.set(detector_stride=1000, detector_period_s=60.0)
    show()
    # Stamps are further apart than the shortest period, and nearer than the longest.
    for period_s, calls in ((60.0, 0), (0.001, 3), (0.0, 0)):
        inner.set(detector_period_s=period_s)
        before = inner.detector.num_calls
        for _ in range(3):
            show()
        assert inner.detector.num_calls - before == calls


def test_several_changes_apply_from_the_same_image(inner: InnerNode, show: Show) -> None:
    show()
    inner.set(max_people=1, box_scale=1.4, detector_stride=1)
    (only,) = show().meshes
    assert only.crop_side == pytest.approx(1.4 * (only.box[3] - only.box[1]), rel=HELD)


def test_images_and_markers_are_switched_off_and_on(
    ros: RosTest, inner: InnerNode, camera: Camera, show: Show
) -> None:
    heard = {
        'iuv': listen(ros, inner, Image, 'iuv'),
        'overlay': listen(ros, inner, Image, 'overlay'),
        'markers': listen(ros, inner, MarkerArray, 'markers'),
    }
    answer = camera.show_until_placed(HEIGHT, WIDTH)
    ros.spin_until(
        lambda: all(
            messages and _header(messages[-1]) == answer.header for messages in heard.values()
        )
    )
    shown = {marker.id for marker in heard['markers'][-1].markers}
    assert {marker.action for marker in heard['markers'][-1].markers} == {Marker.ADD}
    for messages in heard.values():
        messages.clear()

    inner.set(publish_iuv=False, publish_overlay=False, publish_markers=False)
    show()
    show()
    ros.spin(0.2)
    assert heard['iuv'] == heard['overlay'] == []
    (cleared,) = heard['markers']
    assert {marker.id for marker in cleared.markers} == shown
    assert {marker.action for marker in cleared.markers} == {Marker.DELETE}

    inner.set(publish_iuv=True, publish_overlay=True, publish_markers=True, iuv_encoding='32FC3')
    heard['markers'].clear()
    show()
    ros.spin_until(lambda: all(heard.values()))
    assert heard['iuv'][-1].encoding == '32FC3'
    assert {marker.id for marker in heard['markers'][-1].markers} == shown


def _header(message: Image | MarkerArray) -> Header | None:
    """Of an image, or of the first marker."""
    if isinstance(message, Image):
        return message.header
    return message.markers[0].header if message.markers else None


def test_image_is_rectified_selects_the_other_matrix(
    ros: RosTest, inner: InnerNode, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = camera._infos.publish

    def longer_lens_when_rectified(info: CameraInfo) -> None:
        info.p[0], info.p[5] = 2 * info.k[0], 2 * info.k[4]
        publish(info)

    monkeypatch.setattr(camera._infos, 'publish', longer_lens_when_rectified)
    inner.set(detector_stride=1)
    near = camera.show_until_placed(HEIGHT, WIDTH).meshes[0].translation.z
    inner.set(image_is_rectified=True)
    far = camera.show(HEIGHT, WIDTH).meshes[0].translation.z
    assert far == pytest.approx(2 * near, rel=0.05)


def test_log_period_s_changes_how_often_the_rates_are_logged(
    ros: RosTest, inner: InnerNode, show: Show
) -> None:
    logged = ros.hear_log()

    def waits() -> list[str]:
        return [text for text in logged if 'no image on' in text]

    ros.spin(0.7)
    assert waits() == []  # 5 s
    inner.set(log_period_s=0.5)
    ros.spin_until(lambda: len(waits()) >= 2)
    assert 'for 0.5 s' in waits()[0]


def test_the_thresholds_of_the_frame_age_change_the_status(
    inner: InnerNode, camera: Camera
) -> None:
    camera.show_until_placed(HEIGHT, WIDTH)
    inner.set(frame_age_warn_s=3600.0, frame_age_error_s=3600.0)
    status = inner.status()
    assert status.level == DiagnosticStatus.OK, status.message
    inner.set(frame_age_warn_s=0.01)
    assert inner.status().level == DiagnosticStatus.WARN
    inner.set(frame_age_error_s=0.01)
    assert inner.status().level == DiagnosticStatus.ERROR


def test_parameters_changed_while_inactive_apply_after_the_activation(inner: InnerNode) -> None:
    inner.node.trigger_configure()
    inner.set(max_people=1)
    answer = inner.activate_configured().show(HEIGHT, WIDTH)
    assert len(answer.meshes) == 1
    assert len(BOXES) == 2


def test_an_initial_contradiction_does_not_block_other_changes(ros: RosTest) -> None:
    values = {'autostart': False, 'frame_age_warn_s': 5.0, 'frame_age_error_s': 1.0}
    node = DecomrNode(
        context=ros.context,
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
    )
    try:
        for name, value, is_taken in (
            ('detector_stride', 3, True),
            ('detector_stride', 0, False),
            ('frame_age_error_s', 6.0, True),
            ('frame_age_error_s', 1.0, False),
        ):
            result = node.set_parameters_atomically([Parameter(name, value=value)])
            assert result.successful == is_taken, (name, value, result.reason)
    finally:
        node.close()
        node.destroy_node()
