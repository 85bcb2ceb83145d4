"""Every parameter with every kind of wrong value, at the start and later, is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter

from decomr_core.body_models import BodyModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from decomr_ros.health.parameter_checks import _NEEDS, UNUSED, unused_parameters
from decomr_ros.settings.parameter_table import ParameterEntry
from decomr_ros.settings.parameters import ENTRIES, NodeParameters
from tests.ros.conftest import RosTest
from tests.ros.inner_node import InnerNode, values_of

Make = Callable[..., InnerNode]


@pytest.fixture
def make(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel, tiny_uv_map: UVMap
) -> Iterator[Make]:
    def make(**parameters: object) -> InnerNode:
        return InnerNode(
            ros, monkeypatch, Topology.from_body(tiny_body, tiny_uv_map), **parameters
        )

    yield make
    for node in ros._others:
        node.close()


def close(inner: InnerNode) -> None:
    """Ends a node before the test does."""
    inner.node.close()
    inner._ros._executor.remove_node(inner.node)
    inner._ros._others.remove(inner.node)
    inner.node.destroy_node()


def wrong_values(entry: ParameterEntry) -> list[object]:
    """Of another type, outside of the range, none of the choices."""
    values: list[object] = [
        {bool: 'yes', int: 'three', float: 'three', str: 3}[type(entry.default)],
        {bool: 1, int: 1.5, float: 1, str: True}[type(entry.default)],
    ]
    if entry.range is not None:
        low, high = entry.range
        values += [low - 1, high + 1]
        if isinstance(entry.default, float):
            values += [float('nan'), float('inf')]
    if entry.choices:
        values += ['', 'nonsense', entry.choices[0].upper() + ' ']
    return values


def test_every_wrong_value_is_rejected_by_name_while_the_node_runs(make: Make) -> None:
    node = make().node
    silent = {}
    for name, entry in ENTRIES.items():
        before = node.get_parameter(name).value
        for value in wrong_values(entry):
            result = node.set_parameters_atomically([Parameter(name, value=value)])
            if result.successful or name not in result.reason:
                silent[name] = value, result.reason
            assert node.get_parameter(name).value == before
    assert silent == {}


@pytest.mark.full_size
def test_every_wrong_value_at_the_start_is_named(make: Make) -> None:
    silent = {}
    for name, entry in ENTRIES.items():
        for value in wrong_values(entry):
            try:
                inner = make(**{name: value})
            except ParameterException as error:  # printed; the process ends with code 2
                said = str(error)
            else:
                inner.node.trigger_configure()
                said = inner.node.last_failure  # logged, and on /diagnostics
                close(inner)
            if name not in said:
                silent[name] = value, said
    assert silent == {}


def test_a_failed_configure_is_an_error_on_diagnostics(make: Make) -> None:
    inner = make(image_transport='theora')
    inner.node.trigger_configure()
    status = inner.status()
    assert status.level == DiagnosticStatus.ERROR
    assert "image_transport is 'theora', expected one of: raw, compressed" in status.message


def test_missing_weights_are_named(make: Make) -> None:
    inner = make(weights='/no/such/file.safetensors')
    inner.node.trigger_configure()
    assert '/no/such/file.safetensors' in inner.status().message


def test_every_misspelt_name_is_named_in_the_log_and_on_diagnostics(
    make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    misspelt = {
        f'{name[:-1]}{"x" if name[-1] != "x" else "y"}': entry.default
        for name, entry in ENTRIES.items()
    }
    inner = make(**misspelt)
    log = capfd.readouterr().err
    told = values_of(inner.status())['warning_unknown_parameters']
    for name in misspelt:
        hint = f' {name} (nearest: '
        assert log.count(hint) == told.count(hint) == 1
    inner.node.trigger_configure()
    assert values_of(inner.status())['warning_unknown_parameters'] == told
    assert '(nearest: ' not in capfd.readouterr().err, 'once'


def test_an_active_node_with_a_misspelt_name_has_the_level_warn(make: Make) -> None:
    inner = make(use_boxs=True, frame_age_warn_s=3600.0, frame_age_error_s=3600.0)
    inner.activate().show_until_placed(24, 32)
    status = inner.status()
    assert status.level == DiagnosticStatus.WARN
    assert 'use_boxs (nearest: use_boxes)' in ''.join(values_of(status).values())


def test_a_name_that_does_not_exist_is_rejected_by_the_service(ros: RosTest, make: Make) -> None:
    make()
    client = ros.node.create_client(SetParameters, '/decomr/set_parameters')
    ros.spin_until(client.service_is_ready)
    future = client.call_async(
        SetParameters.Request(parameters=[Parameter('use_boxs', value=True).to_parameter_msg()])
    )
    ros.spin_until(future.done, 15)
    (result,) = future.result().results
    assert not result.successful
    assert 'use_boxs' in result.reason


UNUSED_CASES = {
    'exit_on_failed_autostart': dict(exit_on_failed_autostart=True, autostart=False),
    'detector_tiles': dict(detector_tiles=2, detector='whole-frame'),
    'undistort': dict(undistort=True, image_is_rectified=True),
    'boxes_max_age_s': dict(boxes_max_age_s=1.0),
    'person_class_ids': dict(person_class_ids='human'),
    'iuv_encoding': dict(iuv_encoding='32FC3', publish_iuv=False),
    'marker_triangles': dict(marker_triangles=500, publish_markers=False),
    'smoothing_min_cutoff_hz': dict(smoothing_min_cutoff_hz=1.0, smoothing=False),
    'smoothing_beta': dict(smoothing_beta=1.0, smoothing=False),
    'smoothing_body_beta': dict(smoothing_body_beta=1.0, smoothing=False),
    'smoothing_frame': dict(smoothing_frame='odom', smoothing=False),
    'tf_joints': dict(tf_joints=True),
}


@pytest.mark.parametrize('name', UNUSED_CASES)
def test_a_parameter_disabled_by_another_one_is_named(name: str) -> None:
    assert f'{name} is ' in unused_parameters(NodeParameters(**UNUSED_CASES[name]))


def test_every_rule_of_unused_parameters_has_its_case_and_the_defaults_have_none() -> None:
    assert {name for names, _, _ in _NEEDS for name in names} == set(UNUSED_CASES)
    assert unused_parameters(NodeParameters()) == ''
    assert asdict(replace(NodeParameters(), max_people=3))['max_people'] == 3
    assert 'marker_triangles is 2' in unused_parameters(NodeParameters(marker_triangles=2))


def test_a_parameter_without_effect_is_a_warning_until_it_is_set_right(
    make: Make, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('decomr_ros.node.standing_warnings.SHOWN_S', 0.0)
    inner = make(undistort=True, image_is_rectified=True)
    inner.node.trigger_configure()
    assert 'undistort' in values_of(inner.status())[f'warning_{UNUSED}']
    assert capfd.readouterr().err.count('parameters without effect: undistort') == 1
    inner.set(image_is_rectified=False)
    assert f'warning_{UNUSED}' not in values_of(inner.status())
