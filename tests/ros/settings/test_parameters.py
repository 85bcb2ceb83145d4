"""The parameters as `ros2 param` sees them, their page and their file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from decomr_ros import parameters
from decomr_ros.settings.parameter_table import Effect, problem
from decomr_ros.settings.parameters import (
    CHOICES,
    ENTRIES,
    NodeParameters,
    declare_parameters,
    read_parameters,
)
from tests.ros.conftest import RosTest

ROOT = Path(__file__).resolve().parents[3]


class Declared:
    """A node that has only the parameters."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.is_configured = False
        self.told: list[frozenset[str]] = []
        declare_parameters(node, lambda: self.is_configured, self.told.append)

    def set(self, **values: object) -> str:
        """Sets them atomically; returns the reason of a rejection, or ''."""
        result = self.node.set_parameters_atomically(
            [Parameter(name, value=value) for name, value in values.items()]
        )
        assert result.successful == (not result.reason)
        return result.reason

    @property
    def values(self) -> NodeParameters:
        return read_parameters(self.node)


@pytest.fixture
def declared(ros: RosTest) -> Iterator[Declared]:
    return Declared(ros.node)


def test_a_misspelt_name_is_reported_with_the_nearest_one(
    ros: RosTest, capfd: pytest.CaptureFixture[str]
) -> None:
    right = [
        'threads:=2',
        'use_sim_time:=false',
        'start_type_description_service:=false',
        'qos_overrides./image.subscription.depth:=3',
    ]
    for given in (right, [*right, 'detectr:=person', 'xyz:=1']):
        words = [word for assignment in given for word in ('-p', assignment)]
        node = rclpy.create_node('given', context=ros.context, cli_args=['--ros-args', *words])
        assert Declared(node).values.threads == 2
        node.destroy_node()
    warnings = [line for line in capfd.readouterr().err.splitlines() if 'WARN' in line]
    assert len(warnings) == 1, 'of the wrong names alone'
    assert warnings[0].endswith(': detectr (nearest: detector), xyz')


def test_the_page_and_the_file_match_the_code() -> None:
    page = (ROOT / 'docs/parameters.md').read_text(encoding='utf-8')
    assert parameters.page_text(page) == page, parameters.__doc__
    file = (ROOT / 'config/node/decomr.yaml').read_text(encoding='utf-8')
    assert parameters.yaml_file_text(file) == file, parameters.__doc__
    for name in ENTRIES:
        assert f'| `{name}` |' in page
    assert max(map(len, file.splitlines())) <= 99


def test_the_file_holds_every_parameter_with_its_default() -> None:
    file = yaml.safe_load((ROOT / 'config/node/decomr.yaml').read_text(encoding='utf-8'))
    values = file['/**']['ros__parameters']
    assert values == asdict(NodeParameters())
    assert {name: type(value) for name, value in values.items()} == {
        name: type(entry.default) for name, entry in ENTRIES.items()
    }


def test_the_command_brings_page_and_file_up_to_date(tmp_path: Path) -> None:
    page, file = tmp_path / 'page.md', tmp_path / 'file.yaml'
    page.write_text('# Before\n<!-- parameters -->\nold\n<!-- end of parameters -->\nbehind\n')
    file.write_text('# head\n/**:\n  ros__parameters:\n    gone: 1\n')
    assert parameters.main(['--page', str(page), '--yaml', str(file)]) == 0
    assert page.read_text().startswith('# Before\n<!-- parameters -->\n\n| parameter |')
    assert page.read_text().endswith('<!-- end of parameters -->\nbehind\n')
    assert 'old' not in page.read_text()
    assert file.read_text().startswith('# head\n/**:\n  ros__parameters:\n    #')
    assert 'gone' not in file.read_text()


def test_a_page_without_a_place_for_the_table_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'page.md').write_text('# Another page\n')
    assert parameters.main(['--page', str(tmp_path / 'page.md')]) == 2
    error = capsys.readouterr().err
    assert 'insert them where the table belongs' in error
    assert error.count('\n') == 1
    with pytest.raises(SystemExit, match='2'):
        parameters.main([])
    assert 'give --page or --yaml' in capsys.readouterr().err


def test_every_parameter_is_described_and_limited(declared: Declared) -> None:
    for name, entry in ENTRIES.items():
        shown = declared.node.describe_parameter(name)
        assert shown.description == entry.meaning
        assert re.match(r'[\w(]', entry.meaning)
        assert not entry.meaning.endswith('.')
        assert shown.read_only == (entry.effect is Effect.START)
        assert problem(entry, entry.default) == ''
        if isinstance(entry.default, int) and not isinstance(entry.default, bool):
            assert (
                shown.integer_range[0].from_value,
                shown.integer_range[0].to_value,
            ) == entry.range
        if isinstance(entry.default, float):
            assert (
                shown.floating_point_range[0].from_value,
                shown.floating_point_range[0].to_value,
            ) == entry.range
        for choice in entry.choices:
            assert choice in shown.additional_constraints
    assert set(CHOICES) >= {'runtime', 'detector', 'iuv_encoding'}


def test_one_bad_value_among_good_ones_changes_nothing(declared: Declared) -> None:
    before = declared.values
    for bad, said in (
        ({'iuv_encoding': 'rgba8'}, "is 'rgba8', expected one of: rgb8, 32FC3"),
        ({'detector_stride': 0}, 'detector_stride'),
        ({'threads': 1.5}, 'threads is 1.5, expected an integer'),
        ({'runtime': 'nothing'}, 'openvino'),
        ({'autostart': False}, 'read-only'),
        ({'box_scale': float('nan')}, 'box_scale'),
    ):
        assert said in declared.set(max_people=3, min_score=0.5, **bad)
        assert declared.values == before
    assert declared.told == []
    assert declared.set(max_people=3, min_score=0.5, iuv_encoding='32FC3') == ''
    assert (declared.values.max_people, declared.values.iuv_encoding) == (3, '32FC3')
    assert declared.told == [{'max_people', 'min_score', 'iuv_encoding'}]


def test_a_parameter_cannot_be_deleted(declared: Declared) -> None:
    result = declared.node.set_parameters([Parameter('weights', Parameter.Type.NOT_SET)])[0]
    assert not result.successful
    assert declared.values == NodeParameters()


def test_parameters_used_by_configure_cannot_change_until_cleanup(declared: Declared) -> None:
    used = {name for name, entry in ENTRIES.items() if entry.effect is Effect.CONFIGURE}
    assert used >= {'weights', 'runtime', 'threads', 'detector'}
    declared.is_configured = True
    assert 'deactivate and clean up the node first' in declared.set(threads=2, max_people=3)
    assert declared.values == NodeParameters()
    assert declared.set(threads=0, max_people=3) == ''  # the same value is no change
    declared.is_configured = False
    assert declared.set(threads=2) == ''
    assert declared.values.threads == 2


def test_changes_are_reported_without_the_post_set_hook_of_rclpy(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Node, 'add_post_set_parameters_callback')  # as in Humble
    declared = Declared(ros.node)
    assert declared.set(max_people=3) == ''
    assert declared.set(max_people=0) != ''
    assert declared.told == [{'max_people'}]
