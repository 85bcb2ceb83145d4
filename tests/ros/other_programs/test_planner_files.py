"""The parameter files for nav2 and MoveIt fit the node, and those programs' own parameters."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.node.standing_warnings import StandingWarnings
from decomr_ros.robot.depth_without_people import DepthWithoutPeople
from decomr_ros.robot.obstacles import ObstacleOutput
from decomr_ros.settings.parameters import NodeParameters
from tests.ros.fake_node import FakeNode

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / 'config' / 'planners'

# Names and types as nav2_costmap_2d 1.3.13 (Jazzy) declares them in src/costmap_2d_ros.cpp,
# plugins/obstacle_layer.cpp and plugins/inflation_layer.cpp; 1.1.20 (Humble) and 1.5.0 have them
# too.
COSTMAP = {
    'global_frame': str,
    'robot_base_frame': str,
    'rolling_window': bool,
    'width': int,
    'height': int,
    'resolution': float,
    'update_frequency': float,
    'publish_frequency': float,
    'robot_radius': float,
    'plugins': list,
}
OBSTACLE_LAYER = {
    'plugin': str,
    'enabled': bool,
    'footprint_clearing_enabled': bool,
    'combination_method': int,
    'min_obstacle_height': float,
    'max_obstacle_height': float,
    'observation_sources': str,
}
SOURCE = {
    'topic': str,
    'sensor_frame': str,
    'observation_persistence': float,
    'expected_update_rate': float,
    'data_type': str,
    'min_obstacle_height': float,
    'max_obstacle_height': float,
    'inf_is_valid': bool,
    'marking': bool,
    'clearing': bool,
    'obstacle_max_range': float,
    'obstacle_min_range': float,
    'raytrace_max_range': float,
    'raytrace_min_range': float,
}
INFLATION_LAYER = {
    'plugin': str,
    'enabled': bool,
    'inflation_radius': float,
    'cost_scaling_factor': float,
}
# As moveit_ros_perception 2.15.0 reads them in pointcloud_octomap_updater.cpp, and 2.5.9 (Humble)
# too; all are required.
POINT_CLOUD_UPDATER = {
    'sensor_plugin': str,
    'point_cloud_topic': str,
    'max_range': float,
    'point_subsample': int,
    'padding_offset': float,
    'padding_scale': float,
    'max_update_rate': float,
    'filtered_cloud_topic': str,
}


def _load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text('utf-8'))


@pytest.fixture(scope='module')
def topics(tiny_body: BodyModel, tiny_uv_map: UVMap) -> dict[str, str]:
    """The type of each topic that the node publishes for planners, in the root namespace."""
    node, topology = FakeNode(), Topology.from_body(tiny_body, tiny_uv_map)
    warnings = StandingWarnings(print)
    ObstacleOutput(node, NodeParameters(), topology, None, warnings)
    DepthWithoutPeople(node, NodeParameters(), topology, warnings)
    return {f'/{made.topic}': made.type.__name__ for made in node.made}


@pytest.fixture(scope='module')
def costmap() -> dict[str, Any]:
    return _load('nav2_people_layer.yaml')['/**']['ros__parameters']


@pytest.fixture(scope='module')
def layer(costmap: dict[str, Any]) -> dict[str, Any]:
    return costmap['people_layer']


@pytest.fixture(scope='module')
def sources(layer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: layer[name] for name in layer['observation_sources'].split()}


def _wrong(given: dict[str, Any], known: dict[str, type]) -> dict[str, Any]:
    """The parameters that do not exist or have another type."""
    return {name: value for name, value in given.items() if type(value) is not known.get(name)}


def test_every_parameter_of_the_costmap_exists_with_its_type(
    costmap: dict[str, Any], layer: dict[str, Any], sources: dict[str, dict[str, Any]]
) -> None:
    layers = costmap['plugins']
    assert {name for name in costmap if isinstance(costmap[name], dict)} == set(layers)
    assert layers[-1] == 'inflation_layer', 'it inflates the layers before it'
    own = {name: value for name, value in costmap.items() if name not in layers}
    assert _wrong(own, COSTMAP) == {}
    assert _wrong(costmap['inflation_layer'], INFLATION_LAYER) == {}
    assert _wrong({n: v for n, v in layer.items() if n not in sources}, OBSTACLE_LAYER) == {}
    for source in sources.values():
        assert _wrong(source, SOURCE) == {}


def test_the_costmap_marks_obstacles_and_clears_along_rays_from_the_camera(
    sources: dict[str, dict[str, Any]], topics: dict[str, str]
) -> None:
    people, left_places = sources['people'], sources['left_places']
    assert (people['topic'], left_places['topic']) == ('/obstacles', '/obstacles/clearing')
    for source in (people, left_places):
        assert topics[source['topic']] == source['data_type'] == 'PointCloud2'
        # Only then is the camera the origin of the rays, and the newest cloud the only one.
        assert source['sensor_frame'] == '' and source['observation_persistence'] == 0
        assert source['expected_update_rate'] > 0, 'nav2 must notice that the node has ended'
    assert (people['marking'], people['clearing']) == (True, False)
    assert (left_places['marking'], left_places['clearing']) == (False, True)
    assert left_places['raytrace_max_range'] > people['obstacle_max_range']
    # nav2 leaves out points outside this range before it follows their rays.
    assert left_places['min_obstacle_height'] < -50 and left_places['max_obstacle_height'] > 50


def test_every_sensor_of_moveit_exists_with_its_parameters(topics: dict[str, str]) -> None:
    given = _load('moveit_people_octomap.yaml')
    assert set(given) == {'sensors', *given['sensors']}
    for name in given['sensors']:
        sensor = given[name]
        assert sensor['sensor_plugin'] == 'occupancy_map_monitor/PointCloudOctomapUpdater'
        assert set(sensor) == set(POINT_CLOUD_UPDATER), 'all are required'
        assert _wrong(sensor, POINT_CLOUD_UPDATER) == {}
        assert topics[sensor['point_cloud_topic']] == 'PointCloud2'
    used = {given[name]['point_cloud_topic'] for name in given['sensors']}
    assert '/obstacles/clearing' not in used, 'MoveIt takes every point for an obstacle'
    rates = {given[name]['max_update_rate'] for name in given['sensors']}
    assert len(rates) == 1, 'hits and misses of the two sensors balance'


def test_the_files_are_installed_where_the_launch_files_expect_them() -> None:
    build = (ROOT / 'CMakeLists.txt').read_text('utf-8')
    assert 'install(DIRECTORY config/planners DESTINATION share/${PROJECT_NAME}/config)' in build
    for name in ('nav2_people_layer', 'moveit_people_octomap'):
        text = (ROOT / 'launch' / f'{name}.launch.py').read_text('utf-8')
        path = ''.join(text.split())
        assert f"'config'/'planners'/'{name}.yaml'" in path
        assert (FOLDER / f'{name}.yaml').is_file()


def test_the_page_names_topics_that_exist(topics: dict[str, str]) -> None:
    page = (ROOT / 'docs' / 'planners.md').read_text('utf-8')
    named = set(re.findall(r'^\| `(\w+(?:/\w+)?)` \|', page, re.M))
    assert {f'/{name}' for name in named} == set(topics)


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / 'launch' / f'{name}.launch.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['nav2_people_layer', 'moveit_people_octomap'])
def test_every_argument_of_the_launch_files_is_declared_with_its_meaning(name: str) -> None:
    reason = 'launch and launch_ros are part of a ROS 2 installation, not of the pip wheels'
    pytest.importorskip('launch', reason=reason)
    pytest.importorskip('launch_ros', reason=reason)
    module = _module(name)
    declared = {
        argument.name: argument.description
        for argument in module.generate_launch_description().get_launch_arguments()
    }
    assert set(declared) == {name for name, _, _ in module.ARGUMENTS}
    assert all(declared.values())
