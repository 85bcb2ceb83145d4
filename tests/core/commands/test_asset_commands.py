"""`decomr body` and `decomr uv`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from decomr_core.body_models import BodyModel
from decomr_core.uv import round_trip
from decomr_core.uv.uv_map import UVMap, load_uv_map
from tests.core.commands.command_runs import last_json, run


def test_a_system_error_names_the_file_without_errno(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').touch()
    path = tmp_path / 'file' / 'body.npz'
    assert run('body', 'import', path, '--out', tmp_path / 'new.npz') == 2
    said = capsys.readouterr().err
    assert str(path) in said and 'Errno' not in said and said.count('\n') == 1


def test_body_info_and_import_describe_the_body(
    tmp_path: Path, tiny_body: BodyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    assert run('body', 'info', tmp_path / 'body.npz', '--json') == 0
    report = last_json(capsys)
    assert report['hash'] == tiny_body.hash and report['vertices'] == len(tiny_body.v_template)
    assert 1.0 < report['height_m'] < 2.5
    assert run('body', 'import', tmp_path / 'body.npz', '--out', tmp_path / 'new.npz') == 0
    assert 'decomr uv build --body' in capsys.readouterr().out
    assert BodyModel.load(tmp_path / 'new.npz').hash == tiny_body.hash
    assert run('body', 'info', tmp_path / 'none.npz') == 2


@pytest.fixture
def small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures for what is seen of a body that are as coarse as the small body."""
    monkeypatch.setattr(round_trip, 'VIEW_SIZE_PX', 128)


def report_uv(folder: Path) -> int:
    """Runs `decomr uv report` on body.npz and uv.npz of a folder; returns its exit code."""
    body, uv = folder / 'body.npz', folder / 'uv.npz'
    return run('uv', 'report', '--body', body, '--uv', uv, '--sources', 20, '--json')


def test_uv_build_and_report_make_and_measure_a_map(
    tmp_path: Path, tiny_body: BodyModel, small_views: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    assert run('uv', 'build', '--body', tmp_path / 'body.npz', '--out', tmp_path / 'uv.npz') == 0
    load_uv_map(tmp_path / 'uv.npz', tiny_body)
    capsys.readouterr()
    assert report_uv(tmp_path) == 0
    report = last_json(capsys)
    assert report['pieces'] == 1 and report['flips'] == 0


def test_the_text_of_a_uv_report_is_rounded_and_its_json_is_not(
    tmp_path: Path,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    small_views: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny_body.save(tmp_path / 'body.npz')
    tiny_uv_map.save(tmp_path / 'uv.npz')
    assert report_uv(tmp_path) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    report, shown = json.loads(last), dict(line.split(maxsplit=1) for line in lines)
    assert set(shown) == set(report)
    assert max(len(digits) for digits in re.findall(r'\d+', ' '.join(shown.values()))) <= 8
    assert float(shown['coverage']) == pytest.approx(report['coverage'], rel=1e-3)
    assert len(str(report['coverage'])) > len(shown['coverage'])
    mean, largest = report['roundtrip_mm']['64']
    assert shown['roundtrip_mm'].startswith(f'64: {mean:.4g}, {largest:.4g}; 128: ')
