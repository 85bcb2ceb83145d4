"""The obstacles and the rays that clear them, with a node that only records."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.estimation.uncertainty import position_uncertainty
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.depth_image import DepthImage
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.robot import obstacles as obstacles_module
from decomr_ros.robot.obstacles import MOST_POINTS, ObstacleOutput
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.conftest import RosTest
from tests.ros.fake_node import FakeNode
from tests.ros.inner_node import HEIGHT as NODE_HEIGHT
from tests.ros.inner_node import WIDTH as NODE_WIDTH
from tests.ros.inner_node import InnerNode, values_of
from tests.ros.robot.scene import (
    HEIGHT,
    INTRINSICS,
    WIDTH,
    Place,
    person_at,
    read_cloud,
    result_of,
    stamp_of,
    transforms_of,
)

BOTH = {'obstacles', 'obstacles/clearing'}
FAR, NEAR, BESIDE = (0.0, 0.0, 4.0), (0.0, 0.0, 2.0), (2.3, 0.0, 4.5)


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


class _Output:
    """The output, its node and its log."""

    def __init__(
        self, topology: Topology, transforms: object = None, **parameters: object
    ) -> None:
        self.node, self.log, self.topology = FakeNode(), [], topology
        self.node.subscribed = set(BOTH)
        self.warnings = StandingWarnings(self.log.append)
        self.parameters = NodeParameters(**parameters)
        self.output = ObstacleOutput(
            self.node, self.parameters, topology, transforms, self.warnings
        )
        self.time_s = 1.0

    def see(self, *places: Place, **changes: object) -> None:
        """An image with people at these places, 0.1 s after the one before."""
        self.time_s += 0.1
        people = [person_at(self.topology, place, 4 + i) for i, place in enumerate(places)]
        self.output.publish(result_of(*people, time_s=self.time_s, **changes))

    def last(self, topic: str) -> np.ndarray:
        """Points (N, 3) of the last message."""
        return read_cloud(self.node.sent(topic)[-1])[0]


@pytest.fixture
def output(topology: Topology) -> _Output:
    return _Output(topology)


def _floor_cells(points: np.ndarray) -> np.ndarray:
    """The cells of 5 cm of a map on the floor that contain points (N, 3), as sorted numbers."""
    columns, rows = np.floor(points[:, ::2] / 0.05).astype(np.int64).T
    return np.unique(columns * 100_000 + rows)


def _share_passed(ends: np.ndarray, points: np.ndarray) -> float:
    """Share of the cells with points through which rays from the camera pass."""
    on_rays = (np.linspace(0, 1, 200)[:, None, None] * ends).reshape(-1, 3)
    return float(np.isin(_floor_cells(points), _floor_cells(on_rays)).mean())


def test_nothing_is_computed_without_subscribers(
    output: _Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('_region', 'obstacle_points', 'point_cloud_message', '_cells_with'):
        monkeypatch.setattr(obstacles_module, name, lambda *_: pytest.fail('made for nobody'))
    output.node.subscribed = set()
    output.see(FAR)
    output.output.clear(Header(frame_id='camera'))
    assert [made.topic for made in output.node.made if made.sent] == []
    assert output.output.values() == {}


def test_rays_are_not_computed_for_subscribers_of_obstacles_alone(
    output: _Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstacles_module, '_cells_with', lambda *_: pytest.fail('for nobody'))
    output.node.subscribed = {'obstacles'}
    output.see(FAR)
    assert [made.topic for made in output.node.made if made.sent] == ['obstacles']


def test_each_image_has_a_cloud_with_its_header_also_without_people(output: _Output) -> None:
    output.see()
    for topic in BOTH:
        (message,) = output.node.sent(topic)
        assert isinstance(message, PointCloud2)
        assert (message.header.frame_id, message.width) == ('camera', 0)
        assert message.header.stamp == result_of(time_s=output.time_s).header.stamp
        assert [entry.name for entry in message.fields] == ['x', 'y', 'z', 'id']


@pytest.mark.parametrize('has_depth', [False, True])
def test_obstacles_cover_the_interval_of_95_percent_along_the_ray(
    output: _Output, topology: Topology, has_depth: bool
) -> None:
    person = person_at(topology, (0, 0, 3), has_measured_depth=has_depth)
    output.output.publish(result_of(person))
    points, raw = read_cloud(output.node.sent('obstacles')[-1])
    assert set(raw['id'].tolist()) == {4}
    uncertainty = position_uncertainty(person, (WIDTH, HEIGHT))
    ray = person.translation / np.linalg.norm(person.translation)
    before_m, behind_m = uncertainty.reach(ray, True), uncertainty.reach(ray, False)
    assert points[:, 2].min() == pytest.approx(person.vertices[:, 2].min() - before_m, abs=0.06)
    assert points[:, 2].max() == pytest.approx(person.vertices[:, 2].max() + behind_m, abs=0.06)
    gaps = np.linalg.norm(points[None] - person.vertices[::9, None], axis=2).min(1)
    assert gaps.max() <= 0.025 + 1e-4, 'no cell of 5 cm on the body is skipped'


def test_the_number_of_points_is_limited_and_the_size_of_the_cells_is_shown(
    output: _Output,
) -> None:
    output.see(*[(x, 0.0, 5.0) for x in (-2.0, -1.0, 0.0, 1.0, 2.0)])
    points, raw = read_cloud(output.node.sent('obstacles')[-1])
    assert len(points) <= MOST_POINTS
    assert set(raw['id'].tolist()) == {4, 5, 6, 7, 8}
    values = output.output.values()
    assert values['obstacle_points'] == str(len(points))
    assert float(values['obstacle_cell_m']) > 0.05


def test_a_place_that_a_person_has_left_is_cleared_for_a_second(output: _Output) -> None:
    output.see(FAR)
    before = output.last('obstacles')
    assert len(output.last('obstacles/clearing')) == 0
    output.see(BESIDE)
    assert _share_passed(output.last('obstacles/clearing'), before) > 0.95
    for _ in range(12):
        output.see(BESIDE)
    assert len(output.last('obstacles/clearing')) == 0
    # Of the person who stays, some points on the border leave it by rounding.
    assert int(output.output.values()['places_to_clear']) < 0.02 * len(before)


def test_a_place_behind_a_person_is_not_cleared(output: _Output) -> None:
    output.see((0.0, 0.3, 5.0))
    output.see(NEAR)
    ends, present = output.last('obstacles/clearing'), output.last('obstacles')
    on_rays = (np.linspace(0, 1, 200)[:, None, None] * ends).reshape(-1, 3)
    if len(on_rays):
        near = present[::5]
        gaps = [np.linalg.norm(near - point, axis=1).min() for point in on_rays[::7]]
        assert min(gaps) > 0.05
    hidden = np.linalg.norm(ends[:, :2] / ends[:, 2:], axis=1) < 0.1
    assert not hidden.any(), 'rays through the middle of the near person'


def test_the_foreground_of_a_person_hides_a_place_even_where_the_mesh_is_not(
    output: _Output, topology: Topology
) -> None:
    output.see(FAR)
    person = person_at(topology, (1.2, 0.0, 2.2))
    everywhere = dataclasses.replace(
        person,
        iuv=np.ones_like(person.iuv),
        crop_center=np.array([WIDTH / 2, HEIGHT / 2], np.float32),
        crop_side=2.0 * WIDTH,
    )
    output.output.publish(result_of(everywhere, time_s=1.5))
    assert len(output.last('obstacles/clearing')) == 0


@pytest.mark.parametrize('kind', ['without a position', 'not finite'])
def test_people_without_a_position_are_stated_and_nothing_is_cleared(
    output: _Output, topology: Topology, kind: str
) -> None:
    output.see(FAR)
    person = person_at(topology, BESIDE)
    unknown = (
        dataclasses.replace(person, is_metric=False, translation=np.zeros(3))
        if kind == 'without a position'
        else dataclasses.replace(person, vertices=np.full_like(person.vertices, np.nan))
    )
    output.output.publish(result_of(unknown, time_s=1.2))
    assert len(output.last('obstacles')) == len(output.last('obstacles/clearing')) == 0
    assert '1 person in the image without a position' in output.log[0]
    assert 'unknown, not free' in output.warnings.values()['warning_obstacles']
    output.see()
    assert len(output.last('obstacles/clearing')) > 0, 'the place is still remembered'


def test_a_pause_removes_the_obstacles_and_shows_nothing_as_free(output: _Output) -> None:
    output.see(FAR)
    output.output.clear(Header(frame_id='camera'))
    for topic in BOTH:
        assert output.node.sent(topic)[-1].width == 0
        assert output.node.sent(topic)[-1].header.frame_id == 'camera'
    output.see()
    assert len(output.last('obstacles/clearing')) > 0, 'the camera looks again'


def test_diagnostics_have_no_number_of_points_while_none_are_published(output: _Output) -> None:
    nobody = result_of(header=Header(stamp=stamp_of(2.0)))
    for pause in (lambda: output.output.publish(nobody), lambda: output.output.clear(Header())):
        output.see(FAR)
        assert output.output.values()['obstacle_points'] != '0'
        pause()
        assert output.output.values() == {}


def test_people_whose_uncertainty_is_not_finite_have_no_obstacle_but_others_have(
    output: _Output, topology: Topology
) -> None:
    broken = person_at(topology, (1, 0, 3), 7, has_measured_depth=True, depth_change=math.nan)
    output.output.publish(result_of(person_at(topology, (0, 0, 3)), broken))
    _, raw = read_cloud(output.node.sent('obstacles')[-1])
    assert set(raw['id'].tolist()) == {4}
    assert 'unknown, not free' in output.warnings.values()['warning_obstacles']


def test_obstacles_that_are_switched_off_are_removed(output: _Output) -> None:
    output.see(FAR)
    output.output.update(dataclasses.replace(output.parameters, publish_obstacles=False))
    assert output.node.sent('obstacles')[-1].width == 0
    count = len(output.node.sent('obstacles'))
    output.see(FAR)
    assert len(output.node.sent('obstacles')) == count


def _pose(x: float) -> np.ndarray:
    """A camera that looks along the x axis of the frame."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    matrix[0, 3] = x
    return matrix


def test_the_clouds_are_in_the_frame_that_is_asked_for(topology: Topology) -> None:
    poses = {'odom': _pose(10.0)}
    output = _Output(topology, transforms_of(poses), obstacle_frame='odom')
    output.see(FAR)
    assert output.node.sent('obstacles')[-1].header.frame_id == 'odom'
    before = output.last('obstacles')
    assert before[:, 0].mean() == pytest.approx(14, abs=0.3)
    poses['odom'] = _pose(11.0)
    output.see()
    message = output.node.sent('obstacles/clearing')[-1]
    assert message.header.frame_id == 'odom'
    ends = read_cloud(message)[0]
    assert before[:, 0].max() < ends[:, 0].max() < before[:, 0].max() + 0.35
    output.output.clear(Header(frame_id='camera'))
    assert output.node.sent('obstacles')[-1].header.frame_id == 'odom'


def test_an_unknown_frame_is_stated_and_nothing_is_published(topology: Topology) -> None:
    output = _Output(topology, transforms_of({}), obstacle_frame='odom')
    output.see(FAR)
    output.see(FAR)
    assert output.node.sent('obstacles') == output.node.sent('obstacles/clearing') == []
    assert len(output.log) == 1 and 'odom from camera is not known' in output.log[0]
    missing = _Output(topology, transforms_of({}, is_available=False), obstacle_frame='odom')
    missing.see(FAR)
    assert missing.node.sent('obstacles') == [] and 'sudo apt install' in missing.log[0]


def test_places_are_remembered_in_the_frame_of_smoothing(topology: Topology) -> None:
    output = _Output(topology, smoothing_frame='odom')
    output.see(FAR, fixed_from_camera=_pose(0.0))
    output.see(fixed_from_camera=None)
    assert len(output.last('obstacles/clearing')) == 0, 'the camera may have moved'
    output.see(fixed_from_camera=_pose(1.0))
    assert output.last('obstacles/clearing')[:, 2].max() < 4.6, 'the place is 1 m nearer now'


def test_a_bag_that_starts_again_forgets_the_places(output: _Output) -> None:
    output.see(FAR)
    output.time_s = 0.5
    output.see()
    assert len(output.last('obstacles/clearing')) == 0


def test_what_hides_a_place_in_the_depth_image_keeps_it(output: _Output) -> None:
    numbers = np.full((HEIGHT // 2, WIDTH // 2), 2000, np.uint16)
    calibration = Calibration(WIDTH, HEIGHT, INTRINSICS)
    depth = DepthImage(numbers, 0.001, np.array([0.5, 0.5]), calibration)
    output.see(FAR)
    output.see(depth=depth)
    assert len(output.last('obstacles/clearing')) == 0
    output.see(depth=dataclasses.replace(depth, numbers=numbers * 5))
    assert len(output.last('obstacles/clearing')) > 0


def test_without_a_frame_of_the_image_nothing_is_published(
    output: _Output, topology: Topology
) -> None:
    output.output.publish(result_of(person_at(topology, FAR), header=Header()))
    output.output.clear(Header())
    assert output.node.sent('obstacles') == []


def test_the_publishers_are_destroyed(output: _Output) -> None:
    assert set(output.node.publishers) == BOTH
    output.output.destroy()
    assert output.node.publishers == {}


def test_people_who_are_not_tracked_have_the_index_in_the_list(
    output: _Output, topology: Topology
) -> None:
    people: list[HumanMesh] = [person_at(topology, place, track_id=-1) for place in (FAR, BESIDE)]
    output.output.publish(result_of(*people))
    raw = read_cloud(output.node.sent('obstacles')[-1])[1]
    assert set(raw['id'].tolist()) == {0, 1}


def test_a_real_node_publishes_obstacles_and_removes_them_when_it_pauses(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    inner = InnerNode(ros, monkeypatch, topology)
    clouds: dict[str, list[PointCloud2]] = {topic: [] for topic in BOTH}
    for topic, received in clouds.items():
        # The QoS of nav2 and MoveIt.
        ros.node.create_subscription(PointCloud2, topic, received.append, qos_profile_sensor_data)
    camera = inner.activate()
    inner.wait_for_listeners(*BOTH)
    answer = camera.show_until_placed(NODE_HEIGHT, NODE_WIDTH)
    obstacles = clouds['obstacles']
    ros.spin_until(lambda: obstacles and obstacles[-1].header == answer.header)
    _, raw = read_cloud(obstacles[-1])
    assert set(raw['id'].tolist()) == {mesh.id for mesh in answer.meshes}
    assert values_of(inner.status())['obstacle_points'] == str(len(raw))
    inner.node.trigger_deactivate()
    ros.spin_until(lambda: all(received[-1].width == 0 for received in clouds.values()))
    inner.node.close()
