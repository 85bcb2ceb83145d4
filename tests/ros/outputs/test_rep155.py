"""REP-155 with fakes of hri_msgs, which is not among the wheels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.geometry.camera import project_perspective
from decomr_ros.messages.images import rgb_from_image_message
from decomr_ros.outputs import rep155
from decomr_ros.outputs.rep155 import Rep155Bodies, cut_out, skeleton_points
from tests.ros.conftest import make_mesh
from tests.ros.fake_node import HRI_MESSAGES, FakeNode, Skeleton2D, hide, stand_in

HEADER = Header(frame_id='camera')
HEADER.stamp.sec = 7
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
INTRINSICS = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])


def _person(track_id: int, **changes: object) -> HumanMesh:
    """A person whose joints are in view, 3 m away."""
    joints = np.random.default_rng(track_id).uniform(-1, 1, (24, 3)) + (0, 0, 3)
    return dataclasses.replace(make_mesh(track_id), joints=joints, **changes)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    stand_in(monkeypatch, 'hri_msgs', *HRI_MESSAGES)
    return FakeNode()


def test_bodies_have_topics_while_they_are_tracked(node: FakeNode) -> None:
    bodies = Rep155Bodies(node)
    tracked = '/humans/bodies/tracked'
    bodies.publish(HEADER, IMAGE, {1: _person(1), 2: _person(2)}, INTRINSICS)
    assert set(node.publishers) == {
        tracked,
        *(
            f'/humans/bodies/p{number}/{topic}'
            for number in (1, 2)
            for topic in ('roi', 'cropped', 'skeleton2d')
        ),
    }
    bodies.publish(HEADER, IMAGE, {2: _person(2), 5: _person(5)}, INTRINSICS)
    assert {topic.split('/')[3] for topic in node.publishers} == {'tracked', 'p2', 'p5'}
    assert len([made for made in node.made if '/p2/' in made.topic]) == 3, 'p2 stayed'
    bodies.clear(HEADER)
    assert set(node.publishers) == {tracked}
    assert [message.ids for message in node.sent(tracked)] == [['p1', 'p2'], ['p2', 'p5'], []]
    assert all(message.header == HEADER for message in node.sent(tracked))
    bodies.destroy()
    assert node.publishers == {}


def test_only_the_list_is_published_without_a_subscriber(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('cut_out', 'skeleton_points', 'image_message'):
        monkeypatch.setattr(rep155, name, lambda *_: pytest.fail('made for nobody'))
    bodies = Rep155Bodies(node)
    bodies.publish(HEADER, IMAGE, {1: _person(1)}, INTRINSICS)
    assert [made.topic for made in node.made if made.sent] == ['/humans/bodies/tracked']


def test_the_crop_is_the_box_cut_out_of_the_image(node: FakeNode) -> None:
    node.subscribed = {'/humans/bodies/p1/cropped', '/humans/bodies/p2/cropped'}
    people = {
        1: _person(1, box=np.array([9.5, 4.5, 29.5, 40.5])),
        2: _person(2, box=np.array([-30.0, -30, -10, -10])),
    }
    Rep155Bodies(node).publish(HEADER, IMAGE, people, None)
    (image,) = node.sent('/humans/bodies/p1/cropped')
    assert isinstance(image, Image)
    assert image.header == HEADER
    assert np.array_equal(rgb_from_image_message(image), IMAGE[5:41, 10:30])
    assert node.sent('/humans/bodies/p2/cropped') == [], 'wholly outside of the image'
    assert cut_out(IMAGE, np.array([-5.0, -5, 999, 999])).shape == IMAGE.shape


def test_the_region_is_a_share_of_the_image(node: FakeNode) -> None:
    node.subscribed = {'/humans/bodies/p1/roi'}
    mesh = _person(1, box=np.array([-4.0, 11.5, 31.5, 47.5]), score=0.75)
    Rep155Bodies(node).publish(HEADER, IMAGE, {1: mesh}, None)
    (region,) = node.sent('/humans/bodies/p1/roi')
    assert (region.xmin, region.ymin, region.xmax, region.ymax) == (0.0, 0.25, 0.5, 1.0)
    assert (region.c, region.header) == (0.75, HEADER)


def test_an_hri_msgs_without_normalized_regions_gets_plain_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(
        monkeypatch,
        'hri_msgs',
        *(type_ for type_ in HRI_MESSAGES if 'Region' not in type_.__name__),
    )
    node = FakeNode()
    node.subscribed = {'/humans/bodies/p1/roi'}
    mesh = _person(1, box=np.array([-4.0, 11.5, 31.5, 47.5]))
    Rep155Bodies(node).publish(HEADER, IMAGE, {1: mesh}, None)
    assert node.sent('/humans/bodies/p1/roi') == [
        RegionOfInterest(x_offset=0, y_offset=12, width=32, height=36)
    ]


def test_the_skeleton_has_the_joints_at_their_image_positions(node: FakeNode) -> None:
    node.subscribed = {'/humans/bodies/p1/skeleton2d'}
    mesh = _person(1)
    mesh.joints[JOINT_NAMES.index('left_wrist')] = 50.0, 0.0, 3.0  # beside the image
    Rep155Bodies(node).publish(HEADER, IMAGE, {1: mesh}, INTRINSICS)
    skeleton = node.sent('/humans/bodies/p1/skeleton2d')[0].skeleton
    assert len(skeleton) == 18
    for name, joint in (
        ('NECK', 'neck'),
        ('RIGHT_ANKLE', 'right_ankle'),
        ('LEFT_SHOULDER', 'left_shoulder'),
        ('RIGHT_HIP', 'right_hip'),
    ):
        point = skeleton[getattr(Skeleton2D, name)]
        x, y = project_perspective(mesh.joints[JOINT_NAMES.index(joint)], INTRINSICS)
        assert (point.x * 64 - 0.5, point.y * 48 - 0.5) == pytest.approx((x, y), abs=1e-3)
        assert point.c == 0.75
    for name in ('NOSE', 'LEFT_EYE', 'RIGHT_EAR', 'LEFT_WRIST'):
        point = skeleton[getattr(Skeleton2D, name)]
        assert (point.x, point.y, point.c) == (0, 0, 0)


def test_a_skeleton_without_a_calibration_follows_the_weak_camera() -> None:
    mesh = _person(
        1, is_metric=False, translation=np.zeros(3), weak_camera=np.array([0.5, 0.0, 0.0])
    )
    mesh.joints[JOINT_NAMES.index('neck')] = 0.0, 0.0, 0.0
    points = skeleton_points(
        mesh, 64, 48, None, dict.fromkeys(rep155.SKELETON_JOINTS, 0) | {'NECK': 1}
    )
    assert points[1, :2] * (64, 48) - 0.5 == pytest.approx(mesh.crop_center, abs=1e-3)


def test_the_joints_are_twelve_limbs_and_the_neck() -> None:
    assert len(rep155.SKELETON_JOINTS) == 13
    assert set(rep155.SKELETON_JOINTS.values()) <= set(JOINT_NAMES)
    assert all(hasattr(Skeleton2D, name) for name in rep155.SKELETON_JOINTS)


def test_without_hri_msgs_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, 'hri_msgs')
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    with pytest.raises(ImportError, match='sudo apt install ros-jazzy-hri-msgs'):
        Rep155Bodies(FakeNode())


def test_two_nodes_in_two_namespaces_name_their_bodies_differently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch, 'hri_msgs', *HRI_MESSAGES)
    node = FakeNode('/left')
    Rep155Bodies(node).publish(HEADER, IMAGE, {1: _person(1)}, None)
    assert node.sent('/humans/bodies/tracked')[0].ids == ['left_p1']
