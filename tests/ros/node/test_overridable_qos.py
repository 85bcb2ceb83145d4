"""The QoS of the outputs can be given by the parameters of ROS 2 for that."""

from __future__ import annotations

import re

import pytest
import yaml
from rclpy.qos import ReliabilityPolicy

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.node.managed_node import FAILURE, SUCCESS
from decomr_ros.outputs import outputs
from tests.ros.conftest import RosTest
from tests.ros.inner_node import InnerNode
from tests.test_import_rule import ROOT

PREFIX = 'qos_overrides./'


@pytest.fixture
def topology(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Topology:
    return Topology.from_body(tiny_body, tiny_uv_map)


def reliability_of(ros: RosTest, topic: str) -> ReliabilityPolicy:
    ros.spin_until(lambda: ros.node.get_publishers_info_by_topic(topic), 10)
    return ros.node.get_publishers_info_by_topic(topic)[0].qos_profile.reliability


def test_an_output_is_as_reliable_as_its_override_says(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    inner = InnerNode(
        ros,
        monkeypatch,
        topology,
        **{f'{PREFIX}iuv.publisher.reliability': 'best_effort', f'{PREFIX}iuv.publisher.depth': 1},
    )
    for _ in range(2):  # and again, once its parameters are declared
        assert inner.node.trigger_configure() == SUCCESS
        assert reliability_of(ros, 'iuv') == ReliabilityPolicy.BEST_EFFORT
        assert reliability_of(ros, 'overlay') == ReliabilityPolicy.RELIABLE
        assert inner.node.trigger_cleanup() == SUCCESS
    assert inner.node.get_parameter(f'{PREFIX}iuv.publisher.depth').value == 1
    assert outputs.IMAGE_QOS.reliability == ReliabilityPolicy.RELIABLE
    inner.node.close()


def test_an_invalid_override_fails_with_the_valid_ones(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    inner = InnerNode(
        ros, monkeypatch, topology, **{f'{PREFIX}human_meshes.publisher.reliability': 'mostly'}
    )
    assert inner.node.trigger_configure() == FAILURE
    assert '`mostly`' in inner.node.last_failure
    assert (
        f'{PREFIX}human_meshes.publisher.reliability as reliable or best_effort'
        in inner.node.last_failure
    )
    inner.node.close()


def test_the_page_shows_a_file_that_names_outputs_of_the_node(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    page = (ROOT / 'docs/topics.md').read_text()
    block = re.search(r'```yaml\n([^`]*qos_overrides:[^`]*)```', page)[1]
    overrides = yaml.safe_load(block)['/**']['ros__parameters']['qos_overrides']
    values = {
        f'qos_overrides.{topic}.publisher.{policy}': value
        for topic, entities in overrides.items()
        for policy, value in entities['publisher'].items()
    }
    assert values
    inner = InnerNode(ros, monkeypatch, topology, **values)
    assert inner.node.trigger_configure() == SUCCESS
    for name, value in values.items():
        assert inner.node.get_parameter(name).value == value
    inner.node.close()
