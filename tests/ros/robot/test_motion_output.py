"""The topic `motion`, with a node that only records, and once in the node itself."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from decomr.msg import HumanMotion, HumanMotionArray
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import JOINT_NAMES, BodyModel
from decomr_core.people.smoothing import MeshSmoother
from decomr_core.people.velocity import PersonMotion, velocity_delay_s
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.messages.motion import HORIZONS_S
from decomr_ros.pipeline.frame_result import FrameResult
from decomr_ros.robot import motion as motion_module
from decomr_ros.robot.motion import MotionOutput
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.conftest import RosTest, make_mesh
from tests.ros.fake_node import FakeNode
from tests.ros.inner_node import HEIGHT, WIDTH, InnerNode

FPS = 30
IMAGE = np.zeros((48, 64, 3), np.uint8)
ODOM = NodeParameters(smoothing_frame='odom')
NUM_PARTS = len(JOINT_NAMES)
WALK = np.array([1.2, 0.0, 0.0])


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


@pytest.fixture
def node() -> FakeNode:
    node = FakeNode()
    node.subscribed = {'motion'}
    return node


def person_at(topology: Topology, root: np.ndarray, track_id: int = 0) -> HumanMesh:
    """An upright person whose root is at a position in the camera optical frame."""
    points = (topology.v_template * (1, -1, -1) + root).astype(np.float32)
    return dataclasses.replace(
        make_mesh(track_id, len(points)),
        vertices=points,
        joints=points[:NUM_PARTS],
        translation=np.asarray(root, np.float32),
    )


def without_position(mesh: HumanMesh) -> HumanMesh:
    move = mesh.translation
    return dataclasses.replace(
        mesh,
        vertices=mesh.vertices - move,
        joints=mesh.joints - move,
        translation=move * 0,
        is_metric=False,
    )


def header_at(time_s: float) -> Header:
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = divmod(round((100 + time_s) * 1e9), 10**9)
    return header


class Video:
    """The images of a video through the smoother and the output."""

    def __init__(
        self, node: FakeNode, topology: Topology, parameters: NodeParameters | None = None
    ) -> None:
        self.node = node
        self.smoother = MeshSmoother(measures_motion=True)
        self.output = MotionOutput(node, parameters or NodeParameters(), topology)

    def show(
        self, time_s: float, meshes: list[HumanMesh], pose: np.ndarray | None = None
    ) -> HumanMotionArray:
        """The message of one image."""
        smooth = self.smoother.smooth(meshes, time_s, pose)
        motions = {mesh.track_id: self.smoother.motion(mesh.track_id) for mesh in meshes}
        known = {track_id: motion for track_id, motion in motions.items() if motion is not None}
        self.output.publish(
            FrameResult(header_at(time_s), IMAGE, smooth, fixed_from_camera=pose, motions=known)
        )
        message = self.node.sent('motion')[-1]
        return deserialize_message(serialize_message(message), HumanMotionArray)


def vector(motion: HumanMotion) -> np.ndarray:
    return np.array([motion.velocity.x, motion.velocity.y, motion.velocity.z])


def rows(numbers: object) -> np.ndarray:
    return np.asarray(numbers).reshape(-1, 3)


def predicted(motion: HumanMotion) -> np.ndarray:
    return np.asarray(motion.predicted_joints).reshape(len(HORIZONS_S), -1, 3)


def test_a_walker_has_the_speed_of_walking_and_walks_on_in_the_prediction(
    node: FakeNode, topology: Topology
) -> None:
    video = Video(node, topology)
    for frame in range(FPS + 1):
        root = (0, 0, 4) + WALK * frame / FPS
        message = video.show(frame / FPS, [person_at(topology, root, 5)])
    (motion,) = message.motions
    assert (message.header, message.topology_hash) == (header_at(1.0), topology.hash)
    assert (motion.id, motion.is_metric) == (5, True)
    assert motion.observed_time == pytest.approx(1.0)
    np.testing.assert_allclose(vector(motion), WALK, atol=0.01)
    np.testing.assert_allclose(rows(motion.joint_velocities) - WALK, 0, atol=0.01)
    filled = np.unique(topology.vertex_parts)
    np.testing.assert_allclose(rows(motion.part_velocities)[filled] - WALK, 0, atol=0.01)
    np.testing.assert_allclose(message.horizons, HORIZONS_S)
    joints = person_at(topology, root).joints
    for horizon_s, ahead in zip(HORIZONS_S, predicted(motion), strict=True):
        assert np.linalg.norm(ahead - joints - WALK * horizon_s, axis=-1).max() < 0.07


def test_a_standing_person_has_no_velocity_in_the_fixed_frame_while_the_camera_moves(
    node: FakeNode, topology: Topology
) -> None:
    video = Video(node, topology, ODOM)
    root, pose = np.array([0.5, 0, 6]), np.eye(4)
    for frame in range(FPS):  # the camera drives forward, and turns
        angle = 0.5 * frame / FPS
        pose[:3, 3] = 0.3, 0, 0.8 * frame / FPS
        pose[0, [0, 2]] = math.cos(angle), math.sin(angle)
        pose[2, [0, 2]] = -math.sin(angle), math.cos(angle)
        person = person_at(topology, root)
        seen = {
            name: ((getattr(person, name) - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)
            for name in ('vertices', 'joints', 'translation')
        }
        message = video.show(frame / FPS, [dataclasses.replace(person, **seen)], pose)
    (motion,) = message.motions
    assert message.header.frame_id == 'odom'
    assert np.linalg.norm(vector(motion)) < 0.01
    for velocities in (motion.joint_velocities, motion.part_velocities):
        assert np.nanmax(np.abs(velocities)) < 0.01
    np.testing.assert_allclose(predicted(motion) - person.joints, 0, atol=0.01)
    # The position is least certain along the ray, in the axes of the fixed frame.
    ray = (root - pose[:3, 3]) / np.linalg.norm(root - pose[:3, 3])
    covariance = np.array(motion.position_covariance).reshape(3, 3)
    _, axes = np.linalg.eigh(covariance)
    assert abs(axes[:, -1] @ ray) > 0.999


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), is_metric=st.booleans())
def test_in_any_fixed_frame_the_message_describes_the_same_motion(
    topology: Topology, seed: int, is_metric: bool
) -> None:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(0, 3, 3)
    mesh = person_at(topology, np.array([*rng.uniform(-1, 1, 2), rng.uniform(1, 8)]), 1)
    mesh = mesh if is_metric else without_position(mesh)
    velocities = rng.normal(0, 1, (len(mesh.vertices), 3)).astype(np.float32)
    root = rng.normal(0, 1, 3) if is_metric else None
    found = []
    for fixed_from_camera, turn in ((None, np.eye(3)), (pose, pose[:3, :3])):
        moved = PersonMotion(
            (velocities @ turn.T)[:NUM_PARTS],
            velocities @ turn.T,
            None if root is None else turn @ root,
            is_metric,
            fixed_from_camera is not None,
            0.5,
        )
        node = FakeNode()
        node.subscribed = {'motion'}
        MotionOutput(node, ODOM, topology).publish(
            FrameResult(header_at(0), IMAGE, [mesh], None, None, fixed_from_camera, {1: moved})
        )
        found += node.sent('motion')
    (here,), (there,) = (message.motions for message in found)
    turn, origin = pose[:3, :3], pose[:3, 3] * is_metric
    np.testing.assert_allclose(predicted(there), predicted(here) @ turn.T + origin, atol=1e-4)
    for name in ('joint_velocities', 'part_velocities'):
        same = rows(getattr(here, name)) @ turn.T
        np.testing.assert_allclose(rows(getattr(there, name)), same, atol=1e-5)
    covariance = turn @ np.reshape(here.position_covariance, (3, 3)) @ turn.T
    np.testing.assert_allclose(
        np.reshape(there.position_covariance, (3, 3)), covariance, atol=1e-9
    )


def test_velocities_are_unknown_in_the_first_image(node: FakeNode, topology: Topology) -> None:
    message = Video(node, topology).show(0.0, [person_at(topology, np.array([0, 0, 4]))])
    (motion,) = message.motions
    assert motion.is_metric and motion.observed_time == 0
    assert np.isnan(vector(motion)).all() and math.isnan(message.delay)
    assert len(motion.joint_velocities) == len(motion.part_velocities) == 3 * NUM_PARTS
    assert len(motion.predicted_joints) == 3 * NUM_PARTS * len(HORIZONS_S)
    for name in ('joint_velocities', 'part_velocities', 'predicted_joints'):
        assert np.isnan(getattr(motion, name)).all()
    assert np.isfinite(motion.position_covariance).all()
    assert 0 < motion.visible_std < motion.hidden_std


def test_without_a_position_velocities_and_predictions_are_relative_to_the_root(
    node: FakeNode, topology: Topology
) -> None:
    video, wave = Video(node, topology), np.array([0, 0.6, 0])
    for frame in range(20):
        mesh = without_position(person_at(topology, np.array([0, 0, 4])))
        joints = mesh.joints.copy()
        joints[7] += (wave * frame / FPS).astype(np.float32)
        mesh = dataclasses.replace(mesh, joints=joints)
        (motion,) = video.show(frame / FPS, [mesh]).motions
    assert not motion.is_metric
    for unknown in (vector(motion), motion.position_covariance, motion.visible_std):
        assert np.isnan(unknown).all()
    expected = np.zeros((NUM_PARTS, 3))
    expected[7] = wave
    np.testing.assert_allclose(rows(motion.joint_velocities), expected, atol=1e-3)
    still = np.arange(NUM_PARTS) != 7
    np.testing.assert_allclose(predicted(motion)[:, still] - joints[still], 0, atol=1e-3)
    assert (np.diff(predicted(motion)[:, 7, 1]) > 0).all()


def test_every_person_of_the_image_is_in_the_message(node: FakeNode, topology: Topology) -> None:
    video = Video(node, topology)
    for frame in range(5):
        step = frame / FPS
        bad = person_at(topology, np.array([0, 0, 2]), 2)
        nowhere = without_position(person_at(topology, np.array([0, 0, 5]), 7))
        people = [
            person_at(topology, (1, 0, 4) + WALK * step, 3),
            person_at(topology, (-1, 0, 4) - WALK * step, 1),
            dataclasses.replace(bad, vertices=bad.vertices * np.nan),
            nowhere,
            person_at(topology, np.array([0, 0, 3]), -1),
        ]
        message = video.show(step, people)
    right, left, damaged, unplaced, untracked = message.motions
    assert [motion.id for motion in message.motions] == [3, 1, 2, 7, -1]
    np.testing.assert_allclose(vector(right), WALK, atol=0.01)
    np.testing.assert_allclose(vector(left), -WALK, atol=0.01)
    assert [motion.is_metric for motion in message.motions] == [True, True, False, False, True]
    assert np.isfinite(unplaced.joint_velocities).all()
    for motion in (damaged, untracked):
        assert motion.observed_time == 0 and np.isnan(motion.joint_velocities).all()
        assert np.isnan(vector(motion)).all() and np.isnan(motion.predicted_joints).all()
    assert np.isnan(damaged.position_covariance).all()
    assert np.isfinite(untracked.position_covariance).all()
    assert video.show(0.2, []).motions == []


def test_a_person_without_a_track_never_gets_the_uncertainty_of_another(
    node: FakeNode, topology: Topology
) -> None:
    far = person_at(topology, np.array([0, 0, 9]), 1)
    near = person_at(topology, np.array([0, 0, 2]), -1)  # its index is the id of the other
    message = Video(node, topology).show(0.0, [far, near])
    depths = [motion.position_covariance[8] for motion in message.motions if motion.is_metric]
    assert len(message.motions) == 2 and len(set(depths)) == len(depths)


def test_part_velocities_are_means_and_nan_for_a_part_without_vertices(
    node: FakeNode, topology: Topology
) -> None:
    parts = np.where(topology.vertex_parts == 4, 5, topology.vertex_parts)
    topology = dataclasses.replace(topology, vertex_parts=parts)
    mesh = person_at(topology, np.array([0, 0, 4]), 1)
    velocities = np.random.default_rng(0).normal(0, 1, mesh.vertices.shape).astype(np.float32)
    motion = PersonMotion(velocities[:NUM_PARTS], velocities, np.zeros(3), True, False, 1.0)
    MotionOutput(node, NodeParameters(), topology).publish(
        FrameResult(header_at(0), IMAGE, [mesh], motions={1: motion})
    )
    found = rows(node.sent('motion')[0].motions[0].part_velocities)
    assert np.isnan(found[4]).all()
    for part in np.unique(parts):
        np.testing.assert_allclose(found[part], velocities[parts == part].mean(0), atol=1e-6)


@pytest.mark.parametrize('fps', [10, 30])
def test_the_delay_is_that_of_the_measured_interval(
    node: FakeNode, topology: Topology, fps: int
) -> None:
    video = Video(node, topology)
    # A dropped image changes the mean interval little.
    times = [frame / fps for frame in range(30) if frame != 25]
    delays = [video.show(time_s, []).delay for time_s in times]
    assert math.isnan(delays[0])
    assert delays[1] == pytest.approx(velocity_delay_s(1.0, 1 / fps))
    assert delays[-1] == pytest.approx(velocity_delay_s(1.0, 1.1 / fps))
    assert delays[-1] > velocity_delay_s(1.0, 1 / fps)
    assert math.isnan(video.show(0.5, []).delay), 'the stamps jump back'
    assert math.isnan(video.show(5.0, []).delay), 'after a gap velocities start anew'
    assert video.show(-100.0, []).delay == pytest.approx(velocity_delay_s(1.0, 1 / 30)), 'stamp 0'


def test_nothing_is_computed_without_subscribers(
    node: FakeNode, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = MotionOutput(node, NodeParameters(), topology)
    assert output.needs_motion
    node.subscribed = set()
    for name in ('human_motion_message', 'human_motion_array_message'):
        monkeypatch.setattr(motion_module, name, lambda *_: pytest.fail('made for nobody'))
    output.publish(FrameResult(header_at(0), IMAGE, [person_at(topology, np.array([0, 0, 4]))]))
    assert not output.needs_motion
    node.subscribed = {'motion'}
    output.update(NodeParameters(publish_motion=False))
    output.publish(FrameResult(header_at(0), IMAGE, []))
    assert not output.needs_motion and node.sent('motion') == []


def test_the_fixed_frame_is_the_configured_one_until_the_node_is_configured_again(
    node: FakeNode, topology: Topology
) -> None:
    output = MotionOutput(node, ODOM, topology)
    output.update(NodeParameters(smoothing_frame='map'))
    for pose in (np.eye(4), None):  # None: the pose of the camera is unknown
        output.publish(FrameResult(header_at(0), IMAGE, [], fixed_from_camera=pose))
    assert [message.header.frame_id for message in node.sent('motion')] == ['odom', 'camera']
    output.destroy()
    assert node.publishers == {}


def test_the_node_measures_velocities_only_while_somebody_listens(
    ros: RosTest, inner: InnerNode
) -> None:
    camera = inner.activate()
    pipeline = inner.node._parts.pipeline
    camera.show_until_placed(HEIGHT, WIDTH)
    assert not pipeline.measures_motion and not pipeline._smoother.measures_motion
    seen: list[HumanMotionArray] = []
    subscription = ros.node.create_subscription(HumanMotionArray, 'motion', seen.append, 10)
    inner.wait_for_listeners('motion')
    meshes = camera.show(HEIGHT, WIDTH)
    ros.spin_until(lambda: seen)
    assert pipeline._smoother.measures_motion
    assert seen[0].header == meshes.header
    assert [motion.id for motion in seen[0].motions] == [mesh.id for mesh in meshes.meshes]
    assert len(seen[0].motions) == 2 and all(motion.is_metric for motion in seen[0].motions)
    ros.node.destroy_subscription(subscription)
    ros.spin_until(lambda: not inner.node._parts.robot_outputs.needs_motion)
    camera.show(HEIGHT, WIDTH)
    assert not pipeline._smoother.measures_motion


def test_a_recording_contains_the_topic_on_request_and_is_read_without_ros(
    ros: RosTest, node: FakeNode, topology: Topology
) -> None:
    video = Video(node, topology)
    for frame in range(3):
        message = video.show(frame / FPS, [person_at(topology, (0, 0, 4) + WALK * frame / FPS)])
    publisher = ros.node.create_publisher(HumanMotionArray, 'motion', 10)
    bag = ros.folder / 'bag'
    recorder = ros.start('-m', 'decomr_ros.recorder', '--out', bag, '--also', 'motion')
    ros.spin_until(publisher.get_subscription_count)
    for _ in range(10):
        publisher.publish(message)
        ros.spin(0.1)
    assert recorder.stop() == 0, recorder.output
    with AnyReader([bag]) as reader:
        connection, _, data = next(reader.messages())
        read = reader.deserialize(data, connection.msgtype)
    assert connection.topic == '/motion' and read.header.frame_id == 'camera'
    assert read.motions[0].velocity.x == pytest.approx(1.2, abs=0.01)
    np.testing.assert_array_equal(
        read.motions[0].predicted_joints, message.motions[0].predicted_joints
    )
