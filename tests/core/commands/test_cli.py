"""The command `decomr`: bench and export, commands of other packages, errors and help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from decomr_core import __version__, cli
from tests.core.commands.command_runs import fake_network, last_json, run

__all__ = ['fake_network']  # the fixture


def test_the_traceback_is_shown_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DECOMR_DEBUG', '1')
    with pytest.raises(FileNotFoundError):
        run('predict', 'none.png', '--out', tmp_path)


def test_bench_times_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(
            'bench',
            '--people',
            2,
            '--size',
            '320x240',
            '--repeats',
            3,
            '--detector',
            'person',
            '--json',
        )
        == 0
    )
    report = last_json(capsys)
    assert set(report['median_ms']) == {
        'detect',
        'crop',
        'network',
        'place',
        'track',
        'total',
        'detector person',
    }
    assert report['people'] == 2 and (report['width'], report['height']) == (320, 240)
    assert report['hardware']['cpus'] >= 1 and report['versions']['decomr'] == __version__
    assert run('bench', '--people', 0) == 2


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['--runtime', 'tensorrt', '--device', 'cuda'], 'takes the number of a GPU, such as 0'),
        (
            ['--batch', '1', '--precision', 'f32', '--device', '0'],
            '--precision and --device cannot be used with --batch',
        ),
    ],
)
def test_incompatible_options_are_a_one_line_error(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('bench', *words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count('\n') == 1


@pytest.mark.full_size
def test_export_reports_the_mean_vertex_error_of_each_engine(
    trained: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            'export',
            '--weights',
            trained['weights'],
            '--body',
            trained['body'],
            '--uv',
            trained['uv_map'],
            '--out',
            tmp_path / 'new',
            '--json',
        )
        == 0
    )
    *text, report = capsys.readouterr().out.splitlines()
    parity = json.loads(report)['parity']
    told = text[-1].removeprefix('mean vertex error against PyTorch: ')
    assert told.split(', ') == [
        f'{name} {values["vertices_mean_mm"]:.4f} mm' for name, values in parity.items()
    ]


def test_export_rejects_a_folder_that_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run('export', '--out', tmp_path) == 2
    assert 'exists already' in capsys.readouterr().err


def test_a_plugin_command_gets_its_arguments_unchanged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / 'plugin_for_test.py').write_text(
        'def main(argv):\n    return len(argv)\n', encoding='ascii'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.PLUGIN_COMMANDS, 'demo', ('plugin_for_test', 'help'))
    assert run('demo', '--video', 'x', '--json') == 3


def test_a_missing_plugin_is_reported_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.PLUGIN_COMMANDS, 'demo', ('no_such_module_anywhere', 'help'))
    assert run('demo') == 2
    said = capsys.readouterr().err
    assert 'scripts/with-env decomr demo' in said and 'no_such_module_anywhere' in said
    assert said.count('\n') == 1


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        'import sys; from decomr_core.cli import main\n'
        'try: main(["--help"])\nexcept SystemExit: pass\n'
        'print(sorted({"torch", "cv2", "openvino", "scipy"} & set(sys.modules)))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=Path(cli.__file__).parent.parent,
    )
    assert done.stdout.splitlines()[-1] == '[]', done.stderr
    for command in ('predict', 'demo', 'export', 'convert', 'bench', 'uv', 'body', 'doctor'):
        assert f'\n    {command} ' in done.stdout
