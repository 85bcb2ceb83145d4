"""Depth images and points without people, with a node that only records."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from std_msgs.msg import Header

from decomr_core.base.structures import HumanMesh
from decomr_core.body_models import BodyModel
from decomr_core.drawing import mesh_in_image
from decomr_core.geometry.distortion import LensDistortion
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.calibration.calibration import Calibration
from decomr_ros.inputs.depth_image import DepthImage, depth_from_message
from decomr_ros.messages.images import image_message, numbers_from_image_message
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.robot import depth_without_people as module
from decomr_ros.robot.depth_without_people import DepthWithoutPeople
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.fake_node import FakeNode
from tests.ros.robot.scene import (
    HEIGHT,
    INTRINSICS,
    WIDTH,
    person_at,
    read_cloud,
    result_of,
    stamp_of,
)

BOTH = {'depth_without_people', 'points_without_people'}
WALL_M, PERSON_M, TABLE_M = 6.0, 3.0, 1.5
DEPTH_HEADER = Header(stamp=stamp_of(0.97), frame_id='depth_optical_frame')


@pytest.fixture(scope='module')
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


@pytest.fixture(scope='module')
def person(topology: Topology) -> HumanMesh:
    return person_at(topology, (0, 0, PERSON_M), has_measured_depth=True)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def node() -> FakeNode:
    made = FakeNode()
    made.subscribed = set(BOTH)
    return made


def _output(
    node: FakeNode, topology: Topology, log: list[str], **parameters: object
) -> DepthWithoutPeople:
    given = NodeParameters(**{'use_depth': True, **parameters})
    return DepthWithoutPeople(node, given, topology, StandingWarnings(log.append))


def _depth(
    metres: np.ndarray, encoding: str, calibration: Calibration | None = None
) -> DepthImage:
    """A depth image (H, W) as the node receives it."""
    numbers = (
        metres.astype('<f4') if encoding == '32FC1' else np.round(metres * 1000).astype('<u2')
    )
    message = image_message(DEPTH_HEADER, numbers[..., None], encoding)
    return depth_from_message(message, calibration or Calibration(WIDTH, HEIGHT, INTRINSICS))


def _body(
    person: HumanMesh, topology: Topology, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> np.ndarray:
    """The pixels (H, W) of the body alone, without margin: those of its vertices."""
    mask = np.zeros(size[::-1], bool)
    scale = np.array(size) / (WIDTH, HEIGHT)
    points = mesh_in_image(person, INTRINSICS)[topology.v_template[:, 2] > 0, :2]
    column, row = np.round((points + 0.5) * scale - 0.5).astype(int).T
    mask[row, column] = True
    return mask


def _read(node: FakeNode) -> np.ndarray:
    """The metres (H, W) of the last depth message; NaN where unknown."""
    message = node.sent('depth_without_people')[-1]
    numbers = numbers_from_image_message(message)
    metres = numbers * (1.0 if message.encoding == '32FC1' else 0.001)
    return np.where(metres > 0, metres, np.nan)


def test_nothing_is_computed_without_subscribers(
    node: FakeNode,
    topology: Topology,
    person: HumanMesh,
    log: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ('person_mask', 'image_message', 'point_cloud_message', 'remove_from_depth'):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail('made for nobody'))
    node.subscribed = set()
    output = _output(node, topology, log)
    output.publish(result_of(person, depth=_depth(np.full((HEIGHT, WIDTH), 3.0), '16UC1')))
    assert [made.topic for made in node.made if made.sent] == []


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16', '32FC1'])
@pytest.mark.parametrize('scale', [0.5, 1, 2])
def test_a_person_becomes_unknown_and_the_wall_stays(
    node: FakeNode,
    topology: Topology,
    person: HumanMesh,
    log: list[str],
    encoding: str,
    scale: float,
) -> None:
    size = int(WIDTH * scale), int(HEIGHT * scale)
    body = _body(person, topology, size)
    metres = np.full(size[::-1], WALL_M)
    metres[body] = PERSON_M
    _output(node, topology, log).publish(result_of(person, depth=_depth(metres, encoding)))
    message = node.sent('depth_without_people')[-1]
    assert message.header == DEPTH_HEADER
    assert (message.encoding, message.width, message.height) == (encoding, *size)
    found = _read(node)
    assert np.isnan(found[body]).all()
    np.testing.assert_allclose(found[~body], WALL_M, atol=1e-3)
    assert log == []


def test_a_table_before_the_person_and_the_wall_between_the_legs_stay(
    node: FakeNode, topology: Topology, person: HumanMesh, log: list[str]
) -> None:
    metres = np.full((HEIGHT, WIDTH), PERSON_M)
    metres[: HEIGHT // 2] = WALL_M
    metres[HEIGHT * 5 // 8 :] = TABLE_M
    _output(node, topology, log).publish(result_of(person, depth=_depth(metres, '32FC1')))
    found = _read(node)
    assert np.isfinite(found[: HEIGHT // 2]).all() and np.isfinite(found[HEIGHT * 5 // 8 :]).all()
    middle = found[HEIGHT // 2 : HEIGHT * 5 // 8]
    assert 0.02 < np.isnan(middle).mean() < 0.5
    assert np.isfinite(found[:, :20]).all(), 'far from the person nothing is removed'


@pytest.mark.parametrize('kind', ['without a position', 'not finite'])
def test_a_person_at_an_unknown_distance_is_removed_at_every_distance(
    node: FakeNode, topology: Topology, person: HumanMesh, log: list[str], kind: str
) -> None:
    unknown = (
        dataclasses.replace(person, is_metric=False)
        if kind == 'without a position'
        else dataclasses.replace(person, vertices=np.full_like(person.vertices, np.nan))
    )
    for depth_m in (TABLE_M, PERSON_M, WALL_M):
        metres = np.full((HEIGHT, WIDTH), depth_m)
        _output(FakeNode(), topology, log)
        output = _output(fresh := FakeNode(), topology, log)
        fresh.subscribed = BOTH
        output.publish(result_of(unknown, depth=_depth(metres, '16UC1')))
        assert np.isnan(_read(fresh)[_body(person, topology)]).all()
        assert np.isfinite(_read(fresh)[:, :20]).all()


def test_the_outline_is_removed_with_a_margin(
    node: FakeNode, topology: Topology, person: HumanMesh, log: list[str]
) -> None:
    metres = np.full((HEIGHT, WIDTH), PERSON_M)
    _output(node, topology, log).publish(result_of(person, depth=_depth(metres, '32FC1')))
    removed = np.isnan(_read(node))
    columns = mesh_in_image(person, INTRINSICS)[:, 0]
    # 5 px of 640 are 2 px of 320; the outline of the small IUV image is 2 px wide.
    margin_px = np.flatnonzero(removed.any(0)).max() - columns.max()
    assert 1.5 < margin_px < 4.5


def test_the_points_are_those_of_the_depth_image_without_the_person(
    node: FakeNode, topology: Topology, person: HumanMesh, log: list[str]
) -> None:
    metres = np.full((HEIGHT, WIDTH), WALL_M)
    metres[_body(person, topology)] = PERSON_M
    metres[0, :9] = 0
    _output(node, topology, log).publish(result_of(person, depth=_depth(metres, '16UC1')))
    message = node.sent('points_without_people')[-1]
    assert message.header.frame_id == 'camera' and message.header.stamp == DEPTH_HEADER.stamp
    points, _ = read_cloud(message)
    assert len(points) == np.isfinite(_read(node)).sum()
    np.testing.assert_allclose(points[:, 2], WALL_M, atol=1e-3)
    last = (np.array([WIDTH, HEIGHT]) - 1 - INTRINSICS[:2, 2]) / 250 * WALL_M
    np.testing.assert_allclose(points[-1, :2], last, atol=1e-3)


def test_the_mask_and_the_points_follow_the_lens_of_an_undistorted_image(
    node: FakeNode, topology: Topology, log: list[str]
) -> None:
    lens = LensDistortion('plumb_bob', (-0.3, 0.08, 0.0, 0.0, 0.0))
    calibration = Calibration(WIDTH, HEIGHT, INTRINSICS, lens=lens)
    person = person_at(topology, (1.2, 0, PERSON_M), has_measured_depth=True)
    points = mesh_in_image(person, INTRINSICS)[:, :2].astype(float)
    points = points[(points > 5).all(1) & (points < (WIDTH - 5, HEIGHT - 5)).all(1)]
    assert len(points) > 50
    column, row = np.round(lens.distort(points, INTRINSICS)).astype(int).T
    is_shifted = np.abs(lens.distort(points, INTRINSICS) - points).max(1) > 8
    assert is_shifted.any()
    metres = np.full((HEIGHT, WIDTH), PERSON_M)
    depth = _depth(metres, '16UC1', calibration)
    _output(node, topology, log).publish(result_of(person, depth=depth))
    assert np.isnan(_read(node)[row, column]).all()
    cloud, _ = read_cloud(node.sent('points_without_people')[-1])
    pixel = np.array([[20.0, 30.0]])
    expected = (lens.undistort(pixel, INTRINSICS)[0] - INTRINSICS[:2, 2]) / 250 * PERSON_M
    gaps = np.linalg.norm(cloud[:, :2] - expected, axis=1)
    assert gaps.min() < 1e-3


def test_without_people_the_depth_image_is_unchanged(
    node: FakeNode, topology: Topology, log: list[str]
) -> None:
    metres = np.linspace(0.5, 6, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    depth = _depth(metres, '16UC1')
    before = depth.numbers.copy()
    _output(node, topology, log).publish(result_of(depth=depth))
    assert np.array_equal(numbers_from_image_message(node.sent('depth_without_people')[0]), before)
    assert len(read_cloud(node.sent('points_without_people')[0])[0]) == before.size


def test_the_received_depth_image_is_not_changed(
    node: FakeNode, topology: Topology, person: HumanMesh, log: list[str]
) -> None:
    depth = _depth(np.full((HEIGHT, WIDTH), PERSON_M), '16UC1')
    _output(node, topology, log).publish(result_of(person, depth=depth))
    assert (depth.numbers == 3000).all()


@pytest.mark.parametrize(
    ('use_depth', 'intrinsics', 'has_depth', 'said'),
    [
        (False, INTRINSICS, False, 'use_depth is false'),
        (True, INTRINSICS, False, 'without a depth image of the same time'),
        (
            True,
            None,
            True,
            'points_without_people is not published: the camera has no calibration',
        ),
    ],
)
def test_why_nothing_is_published_is_stated_once(
    node: FakeNode,
    topology: Topology,
    log: list[str],
    use_depth: bool,
    intrinsics: np.ndarray | None,
    has_depth: bool,
    said: str,
) -> None:
    output = _output(node, topology, log, use_depth=use_depth)
    depth = _depth(np.full((HEIGHT, WIDTH), 2.0), '16UC1') if has_depth else None
    for _ in range(3):
        output.publish(result_of(depth=depth, intrinsics=intrinsics))
    assert len(log) == 1 and said in log[0]
    assert node.sent('points_without_people') == []
    assert len(node.sent('depth_without_people')) == 3 * has_depth


def test_the_switch_works_between_two_images(
    node: FakeNode, topology: Topology, log: list[str]
) -> None:
    output = _output(node, topology, log)
    depth = _depth(np.full((HEIGHT, WIDTH), 2.0), '16UC1')
    output.publish(result_of(depth=depth))
    output.update(NodeParameters(use_depth=True, publish_depth_without_people=False))
    output.publish(result_of(depth=depth))
    assert len(node.sent('depth_without_people')) == 1
    output.destroy()
    assert node.publishers == {}
