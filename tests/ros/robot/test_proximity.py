"""What `proximity` says about people and robot, and what it says when something is unknown."""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from decomr.msg import ProximityArray
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header, String
from visualization_msgs.msg import Marker

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.body_models.joints import JOINT_NAMES
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.messages.meshes import nanoseconds_from_stamp
from decomr_ros.node import standing_warnings
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.pipeline.frame_result import FrameResult
from decomr_ros.pipeline.transforms import FoundTransform, Transforms, TransformUnknown
from decomr_ros.robot import proximity as proximity_module
from decomr_ros.robot import robot_description
from decomr_ros.robot.proximity import ProximityOutput
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.conftest import make_mesh
from tests.ros.fake_node import FakeNode

FPS = 30
IMAGE = np.zeros((48, 64, 3), np.uint8)
LATENCY_S = 0.25


class FakeTransforms:
    """Poses of frames in the camera frame, as functions of the time."""

    is_available = True

    def __init__(self) -> None:
        self.age_s = 0.0
        self.camera_from: dict[str, object] = {'tool': lambda time_s: pose(0, 0, 1)}

    def lookup(self, target: str, source: str, header: Header) -> FoundTransform:
        time_s = nanoseconds_from_stamp(header.stamp) / 1e9 - self.age_s
        matrices = []
        for frame in (target, source):
            if frame == 'camera':
                matrices.append(np.eye(4))
            elif frame in self.camera_from:
                matrices.append(self.camera_from[frame](time_s))
            else:
                raise TransformUnknown(f'frame {frame} does not exist')
        return FoundTransform(np.linalg.inv(matrices[0]) @ matrices[1], self.age_s)


class Scene:
    """A proximity output with a fake node and fake transforms."""

    def __init__(self, topology: Topology, **parameters: object) -> None:
        self.node, self.log = FakeNode(), []
        self.node.subscribed = {'proximity', 'proximity/markers'}
        self.transforms = FakeTransforms()
        self.node.get_clock = lambda: SimpleNamespace(
            now=lambda: SimpleNamespace(nanoseconds=round((self.time_s + LATENCY_S) * 1e9))
        )
        self.time_s = 10.0
        self.topology = topology
        self.warnings = StandingWarnings(self.log.append)
        self.output = ProximityOutput(
            self.node,
            NodeParameters(**{'robot_parts': 'tool 0.1', **parameters}),
            topology,
            self.transforms,
            self.warnings,
        )

    def person(self, x: float, y: float, z: float, track_id: int = 4) -> HumanMesh:
        """A person in T-pose whose template's origin is at a place in the camera frame."""
        vertices = self.topology.v_template * (1, -1, -1) + (x, y, z)
        return dataclasses.replace(
            make_mesh(track_id, len(vertices)),
            vertices=vertices.astype(np.float32),
            joints=np.zeros((24, 3), np.float32) + (x, y, z),
            translation=np.array([x, y, z], np.float32),
            visibility=np.ones(len(vertices), bool),
        )

    def show(self, *people: HumanMesh, **header: object) -> None:
        """Publishes an image at the present time."""
        seconds = math.floor(self.time_s)
        stamp = Time(sec=seconds, nanosec=round((self.time_s - seconds) * 1e9))
        result = FrameResult(
            Header(**{'stamp': stamp, 'frame_id': 'camera', **header}), IMAGE, list(people)
        )
        self.output.publish(result)

    @property
    def arrays(self) -> list[ProximityArray]:
        return self.node.sent('proximity')


def pose(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


@pytest.fixture
def scene(topology: Topology) -> Scene:
    return Scene(topology)


def test_each_person_and_part_has_its_nearest_points(topology: Topology) -> None:
    scene = Scene(topology, robot_parts='tool 0.1; elbow 0.05 0 0 0.2')
    scene.transforms.camera_from['elbow'] = lambda time_s: pose(2, 0, 1)
    people = scene.person(0, 0, 3, 4), scene.person(0.5, 0, 5, 7)
    scene.show(*people)
    (array,) = scene.arrays
    array = deserialize_message(serialize_message(array), ProximityArray)
    assert array.header == Header(stamp=Time(sec=10), frame_id='camera')
    assert array.age == pytest.approx(LATENCY_S)
    assert (array.unplaced_people, array.unknown_frames) == (0, [])
    assert {(one.id, one.robot_frame) for one in array.proximities} == {
        (4, 'tool'),
        (4, 'elbow'),
        (7, 'tool'),
        (7, 'elbow'),
    }
    distances = [one.distance for one in array.proximities]
    assert distances == sorted(distances)
    nearest = array.proximities[0]
    assert (nearest.id, nearest.robot_frame) == (4, 'tool')
    expected = np.linalg.norm(people[0].vertices - (0, 0, 1), axis=1)
    assert nearest.distance == pytest.approx(expected.min() - 0.1, abs=0.02)
    body, robot = (
        np.array([point.x, point.y, point.z])
        for point in (nearest.body_point, nearest.robot_point)
    )
    assert np.linalg.norm(body - robot) == pytest.approx(nearest.distance, abs=1e-5)
    assert np.linalg.norm(robot - (0, 0, 1)) == pytest.approx(0.1, abs=1e-6)
    assert nearest.body_part in JOINT_NAMES and nearest.is_visible
    assert 0 <= nearest.distance_low < nearest.distance < nearest.distance_high
    assert math.isnan(nearest.approach_rate), 'there was one image so far'


def test_the_rate_of_approach_is_that_of_person_and_robot_together(scene: Scene) -> None:
    """The person comes at 1.2 m/s, the robot goes towards the person at 0.5 m/s."""
    scene.transforms.camera_from['tool'] = lambda time_s: pose(0, 0, 0.5 * (time_s - 10))
    for image in range(30):
        scene.time_s = 10 + image / FPS
        scene.show(scene.person(0, 0, 6 - 1.2 * image / FPS))
    last = scene.arrays[-1].proximities[0]
    assert last.approach_rate == pytest.approx(1.7, abs=0.05)
    assert scene.arrays[-1].motion_delay == pytest.approx(0.16 + 0.5 / FPS, abs=0.01)
    assert not scene.output.needs_motion


def test_the_points_are_in_the_wanted_frame(topology: Topology) -> None:
    scene = Scene(topology, proximity_frame='base')
    scene.transforms.camera_from['base'] = lambda time_s: pose(1, 2, 3)
    scene.show(scene.person(0, 0, 3))
    (array,) = scene.arrays
    assert array.header.frame_id == 'base'
    robot = array.proximities[0].robot_point
    np.testing.assert_allclose([robot.x, robot.y, robot.z], [-1, -2, -2], atol=0.11)
    scene.transforms.camera_from.pop('base')
    scene.show(scene.person(0, 0, 3))
    assert len(scene.arrays) == 1, 'nothing is published in a frame that is unknown'
    assert 'proximity_frame base from camera is unknown' in scene.log[-1]


def test_a_robot_inside_a_body_is_at_distance_0(scene: Scene, topology: Topology) -> None:
    middle = (topology.v_template * (1, -1, -1)).mean(0)
    scene.transforms.camera_from['tool'] = lambda time_s: pose(*(middle + (0, 0, 3)))
    scene.show(scene.person(0, 0, 3))
    (nearest,) = scene.arrays[0].proximities
    assert nearest.distance == nearest.distance_low == 0 < nearest.distance_high
    assert nearest.body_point == nearest.robot_point


def test_a_frame_that_is_missing_is_listed_and_has_no_distance(topology: Topology) -> None:
    scene = Scene(topology, robot_parts='tool 0.1; hand 0.1')
    scene.show(scene.person(0, 0, 3))
    (array,) = scene.arrays
    assert array.unknown_frames == ['hand']
    assert [one.robot_frame for one in array.proximities] == ['tool']
    assert 'the distance to hand is unknown' in scene.log[0]
    assert scene.output.values()['nearest'].endswith('others are unknown')
    scene.transforms.camera_from.clear()
    scene.show(scene.person(0, 0, 3))
    assert scene.arrays[1].unknown_frames == ['tool', 'hand'] and not scene.arrays[1].proximities


def test_many_frames_that_are_missing_are_one_warning_that_is_logged_once(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f'link_{letter}' for letter in 'abcdefgh']
    scene = Scene(topology, robot_parts=';'.join(f'{name} 0.1' for name in names))
    now_s = [0.0]
    monkeypatch.setattr(standing_warnings.time, 'monotonic', lambda: now_s[0])
    for _ in range(200):
        now_s[0] += 1.0
        scene.time_s += 1.0
        scene.show(scene.person(0, 0, 3))
    assert scene.arrays[-1].unknown_frames == names
    (text,) = scene.log
    assert 'link_a, link_b, link_c, link_d, link_e and 3 more is unknown' in text


def test_people_without_a_position_are_counted_and_have_no_distance(scene: Scene) -> None:
    lost = dataclasses.replace(scene.person(0, 0, 0, 5), is_metric=False)
    broken = scene.person(0, 0, 2, 6)
    broken.vertices[3] = np.nan
    scene.show(lost, broken)
    (array,) = scene.arrays
    assert array.unplaced_people == 2 and not array.proximities
    assert 'people without a position is unknown' in scene.log[0]
    assert scene.output.values()['nearest'] == 'unknown'


def test_a_late_transform_widens_the_interval_by_the_way_of_the_robot(scene: Scene) -> None:
    scene.transforms.camera_from['tool'] = lambda time_s: pose(0, 0, 1 * (time_s - 10))
    for image in range(10):
        scene.time_s = 10 + image / FPS
        scene.show(scene.person(0, 0, 3))
    scene.time_s = 10 + 10 / FPS
    on_time = scene.arrays[-1].proximities[0]
    scene.transforms.age_s = 0.08
    scene.show(scene.person(0, 0, 3))
    late = scene.arrays[-1].proximities[0]
    assert late.distance_std == pytest.approx(on_time.distance_std + 0.08, abs=0.01)
    assert late.distance - late.distance_low == pytest.approx(
        on_time.distance - on_time.distance_low + 0.08, abs=0.01
    )


def test_a_late_transform_of_a_robot_of_unknown_velocity_says_nothing_certain(
    scene: Scene,
) -> None:
    scene.transforms.age_s = 0.08
    scene.show(scene.person(0, 0, 3))
    (nearest,) = scene.arrays[0].proximities
    assert nearest.distance_low == 0 and math.isinf(nearest.distance_high)


@pytest.mark.parametrize(
    ('header', 'reason'), [({'stamp': Time()}, 'no stamp'), ({'frame_id': ''}, 'no frame_id')]
)
def test_images_without_stamp_or_frame_have_no_distances(
    scene: Scene, header: dict, reason: str
) -> None:
    scene.show(scene.person(0, 0, 3), **header)
    assert scene.arrays == [] and reason in scene.log[0]
    assert scene.output.values() == {'nearest': 'unknown'}


def test_a_clock_that_jumps_back_makes_the_rate_unknown(scene: Scene) -> None:
    for time_s in (10.0, 10.1, 5.0, 5.1):
        scene.time_s = time_s
        scene.show(scene.person(0, 0, 3))
    known = [not math.isnan(array.proximities[0].approach_rate) for array in scene.arrays]
    assert known == [False, True, False, True]


def test_nobody_is_an_empty_message(scene: Scene) -> None:
    scene.show()
    (array,) = scene.arrays
    assert not (array.proximities or array.unknown_frames or array.unplaced_people)
    assert scene.output.values() == {'nearest': 'nobody'}


def test_nothing_is_computed_without_subscribers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('nearest_pairs', 'SurfaceSearch'):
        monkeypatch.setattr(proximity_module, name, lambda *_: pytest.fail('made for nobody'))
    monkeypatch.setattr(scene.transforms, 'lookup', lambda *_: pytest.fail('looked up'))
    scene.node.subscribed = set()
    scene.show(scene.person(0, 0, 3))
    assert scene.output.values() == {} and scene.log == []
    scene.node.subscribed = {'proximity'}
    scene.output.update(NodeParameters(publish_proximity=False))
    scene.show(scene.person(0, 0, 3))


def test_without_a_robot_the_reason_is_stated(topology: Topology) -> None:
    scene = Scene(topology, robot_parts='')
    scene.show(scene.person(0, 0, 3))
    assert scene.arrays == [] and 'set robot_parts or use_robot_description' in scene.log[0]


def test_without_tf2_ros_only_parts_in_the_frame_of_the_image_have_distances(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    scene = Scene(topology, robot_parts='camera 0.1; tool 0.1')
    scene.output._transforms = Transforms(object())
    scene.show(scene.person(0, 0, 3))
    (array,) = scene.arrays
    assert [one.robot_frame for one in array.proximities] == ['camera']
    assert array.unknown_frames == ['tool']
    assert 'tf2_ros is not installed; ' in scene.log[0]


def test_the_robot_may_come_as_a_urdf(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    received = []
    monkeypatch.setattr(
        FakeNode,
        'create_subscription',
        lambda node, type_, topic, callback, qos: received.append(callback),
        raising=False,
    )
    destroyed = []
    monkeypatch.setattr(
        FakeNode, 'destroy_subscription', lambda node, one: destroyed.append(one), raising=False
    )
    scene = Scene(topology, robot_parts='', use_robot_description=True, robot_links='tool, elbow')
    (receive,) = received
    scene.show(scene.person(0, 0, 3))
    assert scene.arrays == [] and 'robot_state_publisher' in scene.log[0]

    def links(*names: str) -> String:
        geometry = '<collision><geometry><sphere radius="0.1"/></geometry></collision>'
        return String(
            data='<robot name="r">'
            + ''.join(f'<link name="{name}">{geometry}</link>' for name in names)
            + '</robot>'
        )

    def wait() -> None:
        for thread in threading.enumerate():
            if thread.name == robot_description.TOPIC:
                thread.join(5)

    receive(links('tool'))
    wait()
    scene.show(scene.person(0, 0, 3))
    assert scene.arrays == []
    problem = scene.warnings.values()['warning_proximity_robot']
    assert 'no link elbow with collision geometry' in problem
    receive(links('tool', 'elbow', 'base'))
    wait()
    scene.show(scene.person(0, 0, 3))
    (array,) = scene.arrays
    assert [one.robot_frame for one in array.proximities] == ['tool']
    assert array.unknown_frames == ['elbow']
    scene.output.destroy()
    assert len(destroyed) == 1


def test_markers_show_the_nearest_line_of_each_person(topology: Topology) -> None:
    scene = Scene(topology, robot_parts='tool 0.1; tool2 0.1', proximity_warning_m=3.0)
    scene.transforms.camera_from['tool2'] = lambda time_s: pose(2, 0, 1)
    scene.show(scene.person(0, 0, 3, 4), scene.person(0, 0, 9, 7))
    (markers,) = scene.node.sent('proximity/markers')
    first, *lines = markers.markers
    assert first.action == Marker.DELETEALL
    assert [(one.ns, one.id) for one in lines] == [
        ('proximity', 4),
        ('proximity/text', 4),
        ('proximity', 7),
        ('proximity/text', 7),
    ]
    near, near_text, far, _ = lines
    assert near.color.r > near.color.g and far.color.g > far.color.r
    distance = scene.arrays[0].proximities[0].distance
    assert near_text.text.startswith(f'{distance:.2f} m (')
    assert all(one.header == scene.arrays[0].header for one in lines)
    scene.output.clear(Header(frame_id='camera'))
    (cleared,) = scene.node.sent('proximity/markers')[1:]
    assert [one.action for one in cleared.markers] == [Marker.DELETEALL]


def test_the_smallest_distance_is_that_of_the_last_second(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(proximity_module.time, 'monotonic', lambda: now_s[0])
    scene.show(scene.person(0, 0, 3))
    near = scene.output.values()['nearest']
    now_s[0] = 0.6
    scene.time_s += 0.6
    scene.show(scene.person(0, 0, 5))
    assert scene.output.values()['nearest'] == near
    now_s[0] = 1.2
    assert float(scene.output.values()['nearest'].split()[0]) > float(near.split()[0])
    now_s[0] = 5.0
    assert scene.output.values()['nearest'] == 'unknown', 'no image for a second'
