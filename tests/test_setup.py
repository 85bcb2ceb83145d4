"""The set-up scripts: the environment they make, and their messages about missing things."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_import_rule import ROOT

WITH_ENV = ROOT / 'scripts' / 'with-env'
needs_setup = pytest.mark.skipif(
    not (ROOT / 'install' / 'decomr').is_dir(), reason='needs make setup'
)


def load_script(path: Path) -> ModuleType:
    """A script as a module, whatever its file name."""
    loader = importlib.machinery.SourceFileLoader(path.stem, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.stem, loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with the set-up scripts in it, not set up; its name has a space in it."""
    folder = tmp_path / 'a checkout'
    (folder / 'scripts').mkdir(parents=True)
    (folder / 'Makefile').touch()
    for name in ('setup', 'with-env'):
        shutil.copy(ROOT / 'scripts' / name, folder / 'scripts' / name)
    return folder


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with some more environment variables."""
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env={**os.environ, **environment}
    )


def pretend_set_up(folder: Path, recorded_root: Path) -> None:
    """Gives a folder the files of a set-up made in another folder."""
    (folder / '.venv/bin').mkdir(parents=True)
    (folder / '.venv/bin/python').symlink_to(sys.executable)
    (folder / '.venv/decomr-environment').write_text(
        f'root {recorded_root}\npython 3.11.0\nros wheels\n'
    )
    (folder / 'install/decomr').mkdir(parents=True)


def test_with_env_in_a_folder_that_is_not_set_up_names_the_command(elsewhere: Path) -> None:
    done = run(elsewhere / 'scripts/with-env', 'true')
    assert done.returncode == 2
    assert done.stderr == f'with-env: {elsewhere} is not set up; run: make -C {elsewhere} setup\n'


def test_with_env_in_a_moved_folder_asks_for_a_new_set_up(elsewhere: Path) -> None:
    pretend_set_up(elsewhere, recorded_root=Path('/somewhere/else'))
    done = run(elsewhere / 'scripts/with-env', 'true')
    assert done.returncode == 2
    assert 'set up as /somewhere/else' in done.stderr
    assert 'make setup' in done.stderr


def test_with_env_does_not_mix_the_wheels_with_a_sourced_ros(elsewhere: Path) -> None:
    pretend_set_up(elsewhere, recorded_root=elsewhere)
    done = run(
        elsewhere / 'scripts/with-env',
        'true',
        ROS_DISTRO='humble',
        _ROS_WHEELS_BOOTSTRAP_COMPLETE='',
    )
    assert done.returncode == 2
    assert 'ROS 2 humble is sourced' in done.stderr


def test_with_env_keeps_the_arguments_and_the_exit_code(elsewhere: Path) -> None:
    pretend_set_up(elsewhere, recorded_root=elsewhere)
    done = run(
        elsewhere / 'scripts/with-env',
        'bash',
        '-c',
        'printf "%s|" "$@"; exit 7',
        '-',
        'two words',
        '',
        '*',
    )
    assert (done.returncode, done.stdout) == (7, 'two words||*|')


@pytest.mark.skipif(sys.version_info < (3, 11), reason='Python 3.10 has no PYTHONSAFEPATH')
@pytest.mark.parametrize('module', ['decomr_core.cli', 'training.train', 'benchmarks.node'])
def test_with_env_runs_its_own_modules_wherever_it_is_called(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    pretend_set_up(elsewhere, recorded_root=elsewhere)
    other = tmp_path / 'another checkout'
    package, _, name = module.partition('.')
    for folder in (elsewhere, other):
        (folder / package).mkdir(parents=True)
        (folder / package / '__init__.py').touch()
        (folder / package / f'{name}.py').write_text('print(__file__)')
    (other / 'mine.py').write_text(f'import {module}')
    monkeypatch.chdir(other)
    monkeypatch.delenv('PYTHONSAFEPATH', raising=False)
    with_env = elsewhere / 'scripts/with-env'
    ours, theirs = (str(folder / package / f'{name}.py') for folder in (elsewhere, other))
    python = elsewhere / '.venv/bin/python'
    assert run(with_env, 'python', '-m', module).stdout.strip() == ours
    assert run(with_env, python, '-m', module).stdout.strip() == ours
    assert run(with_env, 'python', '-m', 'mine').stdout.strip() == theirs, 'as ever'
    assert run(with_env, python, 'mine.py').stdout.strip() == theirs, 'as ever'


def test_with_env_sends_the_processes_that_decomr_starts_to_its_own_modules(
    elsewhere: Path,
) -> None:
    pretend_set_up(elsewhere, recorded_root=elsewhere)
    command = elsewhere / '.venv/bin/decomr'
    command.write_text('#!/bin/sh\nprintenv PYTHONSAFEPATH\n')
    command.chmod(0o755)
    without = {name: value for name, value in os.environ.items() if name != 'PYTHONSAFEPATH'}
    for words, safe in ((['decomr'], '1\n'), (['printenv', 'PYTHONSAFEPATH'], '')):
        done = subprocess.run(
            [elsewhere / 'scripts/with-env', *words], capture_output=True, text=True, env=without
        )
        assert done.stdout == safe


def test_with_env_sets_the_fast_dds_profile_unless_there_is_one(elsewhere: Path) -> None:
    pretend_set_up(elsewhere, recorded_root=elsewhere)
    show = (elsewhere / 'scripts/with-env', 'printenv', 'FASTRTPS_DEFAULT_PROFILES_FILE')
    without = {name: value for name, value in os.environ.items() if 'PROFILES_FILE' not in name}
    own = subprocess.run(show, capture_output=True, text=True, env=without)
    assert own.stdout.strip() == str(elsewhere / 'config/node/fastdds.xml')
    assert run(*show, FASTRTPS_DEFAULT_PROFILES_FILE='/mine.xml').stdout == '/mine.xml\n'


@needs_setup
def test_a_second_set_up_changes_and_prints_nothing() -> None:
    stamps = [ROOT / '.venv/decomr-environment', ROOT / 'install/decomr-build']
    run(ROOT / 'scripts/setup')
    before = [path.stat().st_mtime_ns for path in stamps]
    done = run(ROOT / 'scripts/setup')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert [path.stat().st_mtime_ns for path in stamps] == before


@needs_setup
def test_the_built_package_contains_the_files_that_a_robot_needs() -> None:
    package = ROOT / 'install' / 'decomr'
    assert {
        path.name for path in (package / 'lib/decomr').iterdir() if os.access(path, os.X_OK)
    } == {'camera_rviz', 'decomr_node', 'markers_node', 'recorder', 'video_source', 'view'}
    share = package / 'share' / 'decomr'
    for name in (
        'launch/decomr.launch.py',
        'config/decomr.yaml',
        'config/fastdds.xml',
        'rviz/decomr.rviz',
        'msg/HumanMeshArray.msg',
        'package.xml',
    ):
        assert (share / name).is_file(), name
    installed = next((package / 'lib').glob('python3.*/site-packages/decomr_core'))
    shipped = {path.name for path in (ROOT / 'decomr_core/data').iterdir()}
    assert shipped <= {path.name for path in (installed / 'data').iterdir()}


@needs_setup
def test_colcon_test_runs_every_part_of_the_suite() -> None:
    listed = run('ctest', '--test-dir', ROOT / 'build/decomr', '-N', '-V').stdout
    listed = listed.replace('"', '')
    parts = {path.name for path in (ROOT / 'tests').iterdir() if list(path.rglob('test_*.py'))}
    for part in parts:  # each on its own, and then what is in none of them
        assert f'pytest tests/{part}' in listed
        assert f'--ignore=tests/{part}' in listed


def test_missing_tools_are_named_with_the_command_that_installs_them(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    setup = load_script(elsewhere / 'scripts/setup')
    monkeypatch.setattr(setup.shutil, 'which', lambda tool: None if tool == 'cmake' else tool)
    monkeypatch.setattr(setup, 'PYTHON_PARTS', {'python3-venv': 'import no_such_module'})
    monkeypatch.setattr(setup.platform, 'machine', lambda: 'x86_64')
    with pytest.raises(SystemExit) as stopped:
        setup._check_tools('wheels', sys.executable)
    assert stopped.value.code == 2
    assert 'sudo apt-get install cmake python3-venv' in capsys.readouterr().err


def test_a_machine_without_ros_wheels_is_told_to_install_ros(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    setup = load_script(elsewhere / 'scripts/setup')
    monkeypatch.setattr(setup.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(SystemExit):
        setup._check_tools('wheels', sys.executable)
    assert 'install ROS 2, source it' in capsys.readouterr().err


def test_a_sourced_ros_is_used_and_the_install_folder_is_not_mistaken_for_one(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = load_script(elsewhere / 'scripts/setup')
    for prefix in (elsewhere / '.venv', Path('/nowhere')):
        monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
        assert setup._find_ros() == 'wheels'
    (elsewhere / '.venv/share/rclpy').mkdir(parents=True)
    (elsewhere / '.venv/share/rclpy/package.xml').touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(elsewhere / '.venv'))
    assert setup._find_ros() == 'wheels'
    monkeypatch.setattr(setup, 'ROOT', tmp_path / 'repository')
    assert setup._find_ros() == str(elsewhere / '.venv')


def test_the_ros_of_the_last_set_up_is_reused_while_it_exists(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = load_script(elsewhere / 'scripts/setup')
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    pretend_set_up(elsewhere, recorded_root=elsewhere)
    ros = elsewhere / 'opt_ros'
    stamp = elsewhere / '.venv/decomr-environment'
    stamp.write_text(f'root {elsewhere}\npython 3.11.0\nros {ros}\n')
    assert setup._find_ros() == 'wheels'
    ros.mkdir()
    (ros / 'setup.bash').touch()
    assert setup._find_ros() == str(ros)


def test_a_failed_step_shows_its_output_and_where_the_rest_is(
    elsewhere: Path, capsys: pytest.CaptureFixture
) -> None:
    setup = load_script(elsewhere / 'scripts/setup')
    setup.LOG.parent.mkdir()
    with pytest.raises(SystemExit):
        setup._step('packages', ['bash', '-c', 'echo no such package; exit 3'])
    said = capsys.readouterr().err
    assert 'no such package' in said
    assert str(setup.LOG) in said


def test_wheels_are_patched_for_this_interpreter() -> None:
    patch = load_script(ROOT / 'scripts/patch_ros_wheels.py')
    exported = (
        '"/opt/python/cp311-cp311/include/python3.11;/opt/python/cp311-cp311/lib/'
        'python3.11/site-packages/numpy/_core/include;/usr/include"'
    )
    python, numpy, other = patch.fit(exported).strip('"').split(';')
    assert (Path(numpy) / 'numpy/arrayobject.h').is_file()
    assert python == patch.sysconfig.get_path('include')
    assert other == '/usr/include'


def test_a_machine_without_tensorrt_bindings_is_set_up(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    setup = load_script(elsewhere / 'scripts/setup')
    monkeypatch.setattr(setup, 'VENV', elsewhere / '.venv')
    monkeypatch.setattr(setup, 'LOG', elsewhere / 'setup.log')
    folder = elsewhere / '.venv/tensorrt-bindings/10'
    folder.mkdir(parents=True)
    pip = [sys.executable, '-c', 'import sys; sys.exit("no such wheel")']
    setup._install_bindings(pip, 10, dict(os.environ))
    assert 'no Python bindings of TensorRT 10 for this machine' in capsys.readouterr().out
    assert 'no such wheel' in setup.LOG.read_text()
    assert not folder.exists()
    pip = [
        sys.executable,
        '-c',
        'import pathlib, sys; '
        'pathlib.Path(sys.argv[sys.argv.index("--target") + 1]).mkdir(parents=True)',
    ]
    setup._install_bindings(pip, 10, dict(os.environ))
    assert folder.is_dir() and capsys.readouterr().out == ''


def test_each_set_of_bindings_is_pinned() -> None:
    setup = load_script(ROOT / 'scripts/setup')
    for major in setup.BINDINGS:
        lines = (ROOT / f'requirements/tensorrt-bindings-{major}.txt').read_text().splitlines()
        pins = [line for line in lines if not line.startswith('#')]
        assert pins and all('==' in pin for pin in pins)
        assert any(f'-bindings=={major}.' in pin for pin in pins)


def test_a_long_step_reports_its_duration_and_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    setup = load_script(ROOT / 'scripts' / 'setup')
    monkeypatch.setattr(setup, 'LOG', tmp_path / 'setup.log')
    monkeypatch.setattr(setup, 'TELL_EVERY_S', 0.05)
    (tmp_path / 'setup.log').write_text('Downloading of_another_step.whl (9.0 GB)\n')
    go_on = tmp_path / 'go_on'
    child = (
        'import pathlib, time\n'
        'print("Downloading torch-2.0-cp311.whl (1.5 GB)", flush=True)\n'
        'print("Downloading numpy-2.0-cp311.whl.metadata (6.6 kB)", flush=True)\n'
        'print("Downloading scipy-1.0-cp311.whl (500.0 MB)", flush=True)\n'
        f'while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.02)\n'
    )
    told = []

    def say(text: str) -> None:
        told.append(text)
        if '2.0 GB' in text:
            go_on.touch()

    monkeypatch.setattr(setup, '_say', say)
    setup._step('Python packages', [sys.executable, '-c', child])
    progress = next(text for text in told if '2.0 GB' in text)
    assert progress.startswith('Python packages: 0 s so far, 2.0 GB to download, now scipy-1.0')
    assert told[0] == 'Python packages ...' and told[-1].startswith('Python packages: done in ')


def test_a_long_step_without_downloads_reports_its_duration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = load_script(ROOT / 'scripts' / 'setup')
    monkeypatch.setattr(setup, 'LOG', tmp_path / 'setup.log')
    monkeypatch.setattr(setup, 'TELL_EVERY_S', 0.05)
    told = []
    monkeypatch.setattr(setup, '_say', told.append)
    go_on = tmp_path / 'go_on'
    monkeypatch.setattr(
        setup, '_say', lambda text: (told.append(text), 'so far' in text and go_on.touch())
    )
    setup._step(
        'messages',
        [
            sys.executable,
            '-c',
            'import pathlib, time\n'
            f'while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.02)',
        ],
    )
    assert told[1] == 'messages: 0 s so far'


@pytest.mark.parametrize('word', ['-h', '--help'])
def test_with_env_prints_its_help_in_every_folder(elsewhere: Path, word: str) -> None:
    done = run(elsewhere / 'scripts/with-env', word)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('usage: scripts/with-env CMD [ARGUMENT...]\n')
    assert 'virtual environment' in done.stdout and 'ROS_DOMAIN_ID' in done.stdout
    assert 'exec' not in done.stdout and 'example' in done.stdout


def test_with_env_takes_no_option_for_a_command(elsewhere: Path) -> None:
    done = run(elsewhere / 'scripts/with-env', '--verbose')
    assert done.returncode == 2
    assert done.stderr == (
        'with-env: --verbose is no command; usage: scripts/with-env CMD '
        '[ARGUMENT...], and --help explains it\n'
    )
