"""The command lines of the programs that train heads on precomputed data."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import lifting, pose_estimates, pose_heads


@pytest.mark.parametrize(
    ('program', 'words'),
    [
        (lifting, ['nowhere', '--simulated', '0', '--out', 'x.safetensors']),
        (lifting, ['nowhere', '--weights', 'nothing', '--out', 'x.safetensors']),
        (pose_heads, ['nowhere', '--out', 'x.safetensors']),
        (pose_heads, ['nowhere', '--weights', 'nothing', '--out', 'x.safetensors']),
        (pose_estimates, ['--weights', 'nothing', '--seed', '1', '--out', 'x']),
        (pose_estimates, ['--seed', '2020', '--out', 'x']),
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
