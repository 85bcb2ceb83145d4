"""A missing body file is a one-line error that names the source of such files."""

from __future__ import annotations

from pathlib import Path

import pytest

from decomr_core import cli


@pytest.mark.parametrize('name', ['basic.pkl', 'body.npz'])
def test_importing_a_missing_body_names_the_source(tmp_path: Path, name: str, capsys) -> None:
    path = tmp_path / name
    assert cli.main(['body', 'import', str(path), '--out', str(tmp_path / 'new.npz')]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f'decomr body: no body at {path}')
    assert 'https://smpl.is.tue.mpg.de' in told and 'docs/uv.md' in told
    assert 'Errno' not in told and told.count('\n') == 1
