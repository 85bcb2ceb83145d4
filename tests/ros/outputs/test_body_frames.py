from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from decomr_core.body_models.joints import JOINT_NAMES
from decomr_ros.outputs.body_frames import (
    BodyFrames,
    body_from_joints,
    body_name,
    joint_frame_name,
    quaternion,
)
from tests.ros.conftest import make_mesh
from tests.ros.fake_node import FakeNode, TFMessage, hide, stand_in

HEADER = Header(frame_id='camera')
HEADER.stamp.sec, HEADER.stamp.nanosec = 7, 9


def _facing_the_camera() -> np.ndarray:
    """Joints of a person 3 m away who faces the camera: the left is at the image's right."""
    joints = np.zeros((24, 3))
    joints[JOINT_NAMES.index('left_hip')] = 0.1, 0.1, 0.0
    joints[JOINT_NAMES.index('right_hip')] = -0.1, 0.1, 0.0
    joints[JOINT_NAMES.index('spine2')] = 0.0, -0.2, 0.0
    joints[JOINT_NAMES.index('left_hand')] = 0.7, -0.4, -0.2
    return joints + (0.0, 0.0, 3.0)


def _matrix(message: object) -> np.ndarray:
    """(4, 4) parent from child."""
    turn, place = message.transform.rotation, message.transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
    matrix[:3, 3] = place.x, place.y, place.z
    return matrix


def test_the_body_frame_looks_out_of_the_body_with_z_towards_the_head() -> None:
    origin, axes = body_from_joints(_facing_the_camera())
    assert origin == pytest.approx([0, 0.1, 3])
    forward, left, up = axes.T
    assert forward == pytest.approx([0, 0, -1]), 'towards the camera'
    assert left == pytest.approx([1, 0, 0])
    assert up == pytest.approx([0, -1, 0])


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-5, 5)] * 3))
def test_the_body_frame_turns_and_moves_with_the_body(turn: tuple, move: tuple) -> None:
    rotation = Rotation.from_rotvec(turn).as_matrix()
    joints = _facing_the_camera() @ rotation.T + move
    origin, axes = body_from_joints(joints)
    expected_origin, expected_axes = body_from_joints(_facing_the_camera())
    assert np.allclose(origin, rotation @ expected_origin + move)
    assert np.allclose(axes, rotation @ expected_axes)
    assert np.linalg.det(axes) == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(-3.2, 3.2)] * 3))
def test_the_quaternion_is_the_rotation(turn: tuple) -> None:
    rotation = Rotation.from_rotvec(turn)
    found = quaternion(rotation.as_matrix())
    assert np.linalg.norm(found) == pytest.approx(1)
    assert found[3] >= 0
    assert np.allclose(Rotation.from_quat(found).as_matrix(), rotation.as_matrix(), atol=1e-9)


@pytest.mark.parametrize('half_turn', [(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1)])
def test_half_turns_have_quaternions(half_turn: tuple) -> None:
    found = quaternion(np.diag(half_turn))
    assert np.allclose(Rotation.from_quat(found).as_matrix(), np.diag(half_turn))


def test_joints_without_a_direction_give_no_frame() -> None:
    joints = _facing_the_camera()
    assert body_from_joints(np.zeros((24, 3))) is None
    assert body_from_joints(np.full((24, 3), np.nan)) is None
    joints[JOINT_NAMES.index('spine2')] = joints[JOINT_NAMES.index('left_hip')]
    assert body_from_joints(joints) is None


def test_frames_have_stamp_and_parent_of_the_image_and_the_estimated_joints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch, 'tf2_msgs', TFMessage)
    node = FakeNode('/left')
    node.subscribed = {'/tf'}
    joints = Rotation.from_rotvec([0.3, -1.0, 0.2]).apply(_facing_the_camera())
    mesh = dataclasses.replace(make_mesh(12), joints=joints)
    BodyFrames(node).publish(HEADER, {12: mesh}, has_joints=True)
    (message,) = node.sent('/tf')
    frames = {entry.child_frame_id: entry for entry in message.transforms}
    assert len(frames) == 25
    body = frames.pop('body_left_p12')
    assert body.header == HEADER
    for name, joint in zip(JOINT_NAMES, joints, strict=True):
        entry = frames[joint_frame_name(name, 'left_p12')]
        assert entry.header.stamp == HEADER.stamp
        assert entry.header.frame_id == 'body_left_p12'
        assert np.allclose((_matrix(body) @ _matrix(entry))[:3, 3], joint)
        assert np.allclose(_matrix(entry)[:3, :3], np.eye(3))
    assert {'l_shoulder_left_p12', 'r_ankle_left_p12', 'head_left_p12'} <= frames.keys()


def test_without_joints_without_people_or_without_a_listener_little_or_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch, 'tf2_msgs', TFMessage)
    node = FakeNode()
    frames = BodyFrames(node)
    people = {1: dataclasses.replace(make_mesh(1), joints=_facing_the_camera())}
    frames.publish(HEADER, people, has_joints=False)
    node.subscribed = {'/tf'}
    frames.publish(HEADER, {}, has_joints=False)
    assert node.sent('/tf') == []
    frames.publish(HEADER, people, has_joints=False)
    assert [entry.child_frame_id for entry in node.sent('/tf')[0].transforms] == ['body_p1']
    frames.destroy()
    assert node.publishers == {}


def test_without_tf2_msgs_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, 'tf2_msgs')
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(ImportError, match='sudo apt install ros-humble-tf2-msgs'):
        BodyFrames(FakeNode())


def test_names_begin_with_a_letter_and_differ_between_cameras() -> None:
    assert body_name('/', 3) == 'p3'
    assert body_name('/robot/left', 3) == 'robot_left_p3'
