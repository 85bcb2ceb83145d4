"""The programs in examples/ do what the README states."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from decomr.msg import HumanMeshArray, MeshTopology, Proximity, ProximityArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.messages.meshes import human_mesh_array_message, mesh_topology_message
from tests.ros.conftest import Process, RosTest, make_mesh
from tests.ros.node_client import start_node

ROOT = Path(__file__).resolve().parents[3]
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def set_parameter(ros: RosTest, *words: str) -> Process:
    """The example, run to its end."""
    process = ros.start(ROOT / 'examples/set_parameter.py', *words)
    ros.spin_until(lambda: process.process.poll() is not None, 120)
    return process


def test_the_readme_names_each_example() -> None:
    pages = (ROOT / 'README.md').read_text(encoding='utf-8')
    for path in (ROOT / 'examples').glob('*.py'):
        assert f'scripts/with-env python examples/{path.name}' in pages


def test_distances_are_printed_and_everything_unknown_is_a_stop(ros: RosTest) -> None:
    publisher = ros.node.create_publisher(ProximityArray, 'proximity', 10)
    example = ros.start(ROOT / 'examples/print_distances.py')

    def is_printed(line: str, **fields: object) -> bool:
        publisher.publish(ProximityArray(**fields))
        return line in example.output

    near = Proximity(
        id=3,
        robot_frame='tool0',
        body_part='left_wrist',
        distance=0.84,
        distance_low=0.61,
        distance_high=1.02,
        approach_rate=0.31,
    )
    far = Proximity(distance=4.0, distance_low=3.0, distance_high=5.0, approach_rate=math.nan)
    ros.spin_until(lambda: 'no message for 0.5 s -> stop\n' in example.output)
    ros.spin_until(lambda: is_printed('nobody -> go\n'))
    ros.spin_until(
        lambda: is_printed(
            '0.84 m (0.61 to 1.02), 0.31 m/s nearer: #3, left_wrist, tool0 -> slow\n',
            proximities=[near, far],
        )
    )
    ros.spin_until(lambda: is_printed('rate unknown: #0, ,  -> go\n', proximities=[far]))
    unknown = 'unknown: 1 people, frames: tool0 -> stop\n'
    ros.spin_until(
        lambda: is_printed(unknown, proximities=[far], unplaced_people=1, unknown_frames=['tool0'])
    )
    assert example.stop() == 0
    assert 'Traceback' not in example.output


def test_people_are_printed_with_their_position_from_the_fields_of_the_messages(
    ros: RosTest, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> None:
    topology = Topology.from_body(tiny_body, tiny_uv_map)
    message = mesh_topology_message(topology)
    ros.node.create_publisher(MeshTopology, 'topology', LATCHED).publish(message)
    meshes = ros.node.create_publisher(HumanMeshArray, 'human_meshes', 10)
    example = ros.start(ROOT / 'examples/print_people.py')
    person = make_mesh()  # translation 0.25, -0.5, 3 m
    unknown = dataclasses.replace(make_mesh(7), is_metric=False, translation=np.zeros(3))
    header = Header()
    header.stamp.sec, header.stamp.nanosec = 12, 345_000_000

    def is_printed(line: str, *people: object) -> bool:
        meshes.publish(human_mesh_array_message(header, people, topology.hash))
        return line in example.output

    ros.spin_until(lambda: is_printed('joints\n', person))
    head = person.joints[list(message.joint_names).index('head')]
    ros.spin_until(
        lambda: is_printed(
            f'12.345 s  #3 x +0.25 y -0.50 z +3.00 m, head at y {head[1]:+.2f} m, '
            f'{person.visibility.sum()} of 20 vertices visible\n',
            person,
        )
    )
    ros.spin_until(lambda: is_printed('12.345 s  #7 has no position', unknown))
    ros.spin_until(lambda: is_printed('12.345 s  no people\n'))
    assert example.stop() == 0
    assert 'Traceback' not in example.output


def test_parameters_of_the_real_node_are_shown_set_and_rejected(
    ros: RosTest, weights: Path
) -> None:
    node = start_node(ros, weights)
    node.wait_for('active')
    changed = set_parameter(ros, 'detector_stride:=5', 'min_score:=0.25')
    assert changed.process.returncode == 0, changed.output
    shown = yaml.safe_load(set_parameter(ros).output)
    assert (shown['detector_stride'], shown['min_score'], shown['threads']) == (5, 0.25, 1)
    refused = set_parameter(ros, 'min_score:=0.5', 'threads:=2')
    assert refused.process.returncode == 1
    assert (
        'nothing was changed: parameter threads takes effect when the node is configured'
        in refused.output
    )
    assert refused.output.splitlines()[-1].endswith('; or give --reconfigure')
    again = set_parameter(ros, '--reconfigure', 'min_score:=0.5', 'threads:=2')
    assert again.process.returncode == 0, again.output
    shown = yaml.safe_load(set_parameter(ros).output)
    assert (shown['min_score'], shown['threads']) == (0.5, 2)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['detector_stride=5'], "'detector_stride=5' is not of the form NAME:=VALUE"),
        pytest.param(
            ['--node', '/nobody', 'detector_stride:=5'],
            'no answer from a node /nobody',
            marks=pytest.mark.full_size,  # it waits for discovery
        ),
    ],
)
def test_a_user_error_is_reported_with_the_remedy(
    ros: RosTest, words: list[str], said: str
) -> None:
    process = set_parameter(ros, *words)
    assert process.process.returncode == 2
    assert said in process.output.splitlines()[-1]
