"""`decomr bag compact`: a smaller copy of a recording."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decomr.msg import HumanMeshArray
from rclpy.serialization import deserialize_message

from decomr_core import cli
from decomr_core.uv.topology import Topology
from decomr_ros.bags.mcap_reading import read_bag
from decomr_ros.messages.meshes import human_meshes_from_message
from tests.ros.bags.test_bag_commands import (
    START_NS,
    _cut_off,
    _frames,
    _has_color_of,
    _person,
    _two_people,
    topology,
)

__all__ = ['topology']  # the fixture


def test_a_compact_copy_is_smaller_and_equivalent(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _two_people(tmp_path / 'bag', topology, 'camera_info')
    bag.camera(0)
    rng = np.random.default_rng(0)
    for step in range(31, 40):  # nobody is twice the same, to the last bit
        person = _person(topology, 2, 0.5)
        noise = rng.normal(0, 2e-3, person.vertices.shape).astype(np.float32)
        bag.meshes(
            step, [dataclasses.replace(person, vertices=person.vertices + noise)], topology.hash
        )
    bag.close()
    copy = tmp_path / 'copy'
    assert cli.main(['bag', 'compact', str(bag.folder), '--out', str(copy), '--json']) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report['size_after_mb'] < 0.8 * report['size_before_mb']
    assert report['vertices_max_error_mm'] == {'/human_meshes': 0.423}
    before, after = (_info(folder, capsys) for folder in (bag.folder, copy))
    assert (
        before['meshes'][0].pop('vertices_max_error_mm'),
        after['meshes'][0].pop('vertices_max_error_mm'),
    ) == (0.0, 0.423)
    for report in (before, after):
        del report['bag'], report['size_mb']
    assert after == before
    pairs = zip(*(read_bag(folder) for folder in (bag.folder, copy)), strict=True)
    for one, other in pairs:
        assert one._replace(data=b'') == other._replace(data=b'')
        if one.topic != '/human_meshes':
            assert one.data == other.data
            continue
        for mesh, rounded in zip(
            *(
                human_meshes_from_message(deserialize_message(message.data, HumanMeshArray))
                for message in (one, other)
            ),
            strict=True,
        ):
            assert 0 < np.linalg.norm(mesh.vertices - rounded.vertices, axis=1).max() < 0.5e-3
    out = str(tmp_path / 'out.mp4')
    assert cli.main(['bag', 'replay-overlay', str(copy), '--out', out]) == 0
    assert _has_color_of(1, _frames(Path(out))[0], left=True)


def test_a_copy_of_a_copy_records_the_total_error(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = _two_people(tmp_path / 'bag', topology).close()
    errors = []
    for name, error in (('one', '0.5'), ('two', '0.2'), ('three', '1'), ('four', '0')):
        command = ['bag', 'compact', str(bag), '--out', str(tmp_path / name)]
        assert cli.main([*command, '--max-error-mm', error]) == 0
        bag = tmp_path / name
        errors.append(_info(bag, capsys)['meshes'][0]['vertices_max_error_mm'])
    assert errors == [0.423, 0.423, 1.27, 1.27]


def test_a_bag_that_cannot_be_compacted_leaves_nothing(
    tmp_path: Path, topology: Topology, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'copy'
    bag = _cut_off(tmp_path / 'bag', topology)
    assert cli.main(['bag', 'compact', str(bag), '--out', str(out)]) == 2
    assert '--recover' in capsys.readouterr().err
    whole = _two_people(tmp_path / 'whole', topology)
    whole._writer.write('/human_meshes', b'\0\1\0\0 no meshes', START_NS, START_NS)
    assert cli.main(['bag', 'compact', str(whole.close()), '--out', str(out)]) == 2
    assert 'as decomr/HumanMeshArray' in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(['bag', 'compact', str(whole.folder), '--out', str(bag)]) == 2
    assert 'is not empty' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(['bag', 'compact', str(bag), '--out', str(out), '--max-error-mm', '-1'])
    assert '0.01 to 100 mm' in capsys.readouterr().err


def _info(bag: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(['bag', 'info', str(bag), '--json']) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])
