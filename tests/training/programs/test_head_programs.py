"""The command lines of the programs that train heads on precomputed data."""

from __future__ import annotations

from pathlib import Path

import pytest

from decomr_core.body_models import load_body
from decomr_core.uv.uv_map import load_uv_map
from training import lifting, pose_estimates, pose_heads, render
from training.synthetic import shards
from training.synthetic.stored_people import StoredBatches


@pytest.mark.parametrize(
    ('program', 'words'),
    [
        (lifting, ['nowhere', '--simulated', '0', '--out', 'x.safetensors']),
        (lifting, ['nowhere', '--weights', 'nothing', '--out', 'x.safetensors']),
        (pose_heads, ['nowhere', '--out', 'x.safetensors']),
        (pose_heads, ['nowhere', '--weights', 'nothing', '--out', 'x.safetensors']),
        (pose_estimates, ['--weights', 'nothing', '--seed', '1', '--out', 'x']),
        (pose_estimates, ['--seed', '2020', '--out', 'x']),
        (render, ['--seed', '2020', '--out', 'x']),
        (render, ['--people', '0', '--seed', '1', '--out', 'x']),
        (render, ['--train.body', 'nothing', '--seed', '1', '--out', 'x']),
    ],
)
def test_the_commands_report_errors_in_one_line(
    program: object,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.main(words) == 2
    assert capsys.readouterr().err.startswith('error: ')
    assert not list(tmp_path.iterdir())


def test_people_are_rendered_into_files_and_an_interrupted_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, 'SHARD_PEOPLE', 2)
    words = ['--train.data.size', '64', '--train.data.batch_size', '2', '--seed', '3']
    words += ['--out', str(tmp_path)]
    assert render.main([*words, '--people', '2']) == 0
    (first,) = tmp_path.iterdir()
    written = first.stat().st_mtime_ns
    assert render.main([*words, '--people', '4']) == 0
    assert len(list(tmp_path.iterdir())) == 2 and first.stat().st_mtime_ns == written
    body = load_body()
    people = StoredBatches(tmp_path, body, load_uv_map('builtin', body), 64, batch_size=4)[0]
    assert people.images.shape == (4, 64, 64, 3) and people.vertices.isfinite().all()
