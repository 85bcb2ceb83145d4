"""`prepare` makes all that a start needs; a missing export is made in a subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decomr_core.body_models import load_body
from decomr_core.estimation import prepare
from decomr_core.export.cached_exports import find_export
from decomr_core.networks.checkpoint import save_checkpoint
from decomr_core.runtimes.exported_model import ExportedModel
from decomr_core.uv.uv_map import load_uv_map
from tests.core.small_networks import lively_network, small_config

pytest.importorskip('openvino')

START = """
import sys, numpy
from decomr_core.estimation.loading import load_runtime
from decomr_core.estimation.person_detector import PersonDetector
network = load_runtime('openvino', sys.argv[1])
network.run(numpy.zeros((5, network.crop_size, network.crop_size, 3), numpy.uint8))
PersonDetector()(numpy.zeros((64, 64, 3), numpy.uint8))
print('torch' in sys.modules)
"""


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for the built-in body."""
    body = load_body()
    path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    save_checkpoint(
        path, lively_network(small_config('rt'), body, load_uv_map('builtin', body)), {}
    )
    return path


@pytest.fixture(scope='module')
def prepared(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """A cache that `decomr prepare` has filled."""
    folder = tmp_path_factory.mktemp('prepared') / 'cache'
    done = subprocess.run(
        [sys.executable, '-m', 'decomr_core.cli', 'prepare', '--weights', str(weights)],
        capture_output=True,
        text=True,
        env=environment(DECOMR_CACHE=str(folder), HOME='/dev/null/home'),
    )
    assert done.returncode == 0, done.stderr
    assert 'step 1 of 3' in done.stderr, 'it says what it does'
    return folder


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path)), **variables}


@pytest.mark.full_size
def test_a_start_from_a_prepared_cache_exports_nothing(prepared: Path, weights: Path) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in prepared.rglob('*') if path.is_file()}

    before = files()
    # The detector's form may lie in the environment's own cache, where `make setup` put it.
    assert len([path for path in before if path.suffix == '.blob']) >= 2
    done = subprocess.run(
        [sys.executable, '-c', START, str(weights)],
        capture_output=True,
        text=True,
        env=environment(DECOMR_CACHE=str(prepared)),
    )
    assert done.stdout.strip() == 'False', done.stderr
    assert files() == before


@pytest.mark.full_size
def test_every_user_may_read_the_prepared_files(prepared: Path) -> None:
    assert all(
        path.stat().st_mode & 0o044 == 0o044 for path in prepared.rglob('*') if path.is_file()
    )


@pytest.mark.full_size
def test_an_export_in_a_subprocess_reports_its_steps(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path))
    said: list[str] = []
    assert prepare.is_export_missing('openvino', weights)
    prepare.export_in_subprocess(weights, said.append)
    assert not prepare.is_export_missing('openvino', weights)
    assert ExportedModel.load(find_export(weights)).crop_size == 64
    assert [
        f'step {step} of 3' in text for step, text in zip((1, 2, 3), said[1:4], strict=True)
    ] == [True] * 3


def test_an_export_that_fails_in_a_subprocess_reports_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path / 'cache'))
    damaged = tmp_path / 'cut.safetensors'
    damaged.write_bytes(b'\x10\x00\x00')
    with pytest.raises(RuntimeError, match='cut.safetensors'):
        prepare.export_in_subprocess(damaged, lambda _: None)


def test_a_cancelled_export_ends_and_leaves_no_files(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path))
    said: list[str] = []
    with pytest.raises(RuntimeError, match='was cancelled'):
        prepare.export_in_subprocess(
            weights, said.append, lambda: any('step 1' in text for text in said)
        )
    deadline_s = time.monotonic() + 60
    while list((tmp_path / 'exports').iterdir()) and time.monotonic() < deadline_s:
        if not prepare.is_export_missing('openvino', weights):
            return  # on a busy machine the export was complete before the signal took effect
        time.sleep(0.05)
    assert list((tmp_path / 'exports').iterdir()) == []


def test_runtimes_without_export_lack_nothing(weights: Path) -> None:
    assert not prepare.is_export_missing('torch', weights)


@pytest.mark.full_size
def test_an_export_ends_when_its_parent_is_killed(tmp_path: Path, weights: Path) -> None:
    code = (
        'import sys; from decomr_core.estimation.prepare import export_in_subprocess; '
        'export_in_subprocess(sys.argv[1], lambda text: print(text, flush=True))'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code, str(weights)],
        text=True,
        stdout=subprocess.PIPE,
        env=environment(DECOMR_CACHE=str(tmp_path)),
    ) as parent:
        assert any('step 1' in line for line in parent.stdout)
        child = int(Path(f'/proc/{parent.pid}/task/{parent.pid}/children').read_text().split()[0])
        parent.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 60
    while Path(f'/proc/{child}').exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not Path(f'/proc/{child}').exists()
