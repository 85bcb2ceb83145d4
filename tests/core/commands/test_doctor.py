"""`decomr doctor` reports what works and what fails."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from decomr_core import cli
from decomr_core.base import assets
from decomr_core.commands import doctor


@pytest.fixture(scope='module')
def report() -> dict[str, Any]:
    return doctor.report()


def fake_module(folder: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a module of this name and code before the real one, in new processes."""
    (folder / f'{name}.py').write_text(code)
    monkeypatch.setenv('PYTHONPATH', str(folder))


def test_the_report_is_json_and_names_every_runtime_and_asset(report: dict[str, Any]) -> None:
    again = json.loads(json.dumps(report))
    assert again == report
    assert set(report['runtimes']) == {'torch', 'openvino', 'onnxruntime', 'tensorrt', 'cuda'}
    assert set(report['assets']) == {'body', 'uv_map', 'weights'}


def test_shipped_assets_work_and_are_reported_with_their_hashes(report: dict[str, Any]) -> None:
    assert report['problems'] == []
    for name, path in (
        ('body', assets.find_body()),
        ('uv_map', assets.find_uv_map()),
        ('weights', assets.find_weights()),
    ):
        asset = report['assets'][name]
        assert asset['path'] == str(path)
        assert asset['sha256'] == assets.file_hash(path)
        assert len(asset['hash']) == 64


def test_torch_is_reported_with_its_version(report: dict[str, Any]) -> None:
    torch = pytest.importorskip('torch')
    assert report['runtimes']['torch'] == {
        'available': True,
        'version': str(torch.__version__),
        'problem': None,
    }
    assert report['runtimes']['cuda']['available'] == torch.cuda.is_available()


@pytest.mark.parametrize(
    ('code', 'reason'),
    [
        ('raise ImportError("libfoo.so.1 not found")', 'libfoo.so.1 not found'),
        ('import os; os._exit(9)', 'it exited with code 9'),
        ('import os; os.kill(os.getpid(), 11)', 'it exited with code -11'),
    ],
)
def test_a_package_that_breaks_on_import_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    fake_module(tmp_path, 'tensorrt', code, monkeypatch)
    found = doctor._probe_in_child('tensorrt')
    assert not found['available']
    assert reason in found['problem']
    assert 'pip install tensorrt' in found['problem']


def test_a_package_that_hangs_on_import_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_module(tmp_path, 'tensorrt', 'import time; time.sleep(60)', monkeypatch)
    monkeypatch.setattr(doctor, 'PROBE_TIMEOUT_S', 1.0)
    assert 'takes more than 1 s' in doctor._probe_in_child('tensorrt')['problem']


def test_a_package_that_prints_on_import_is_still_reported_correctly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_module(tmp_path, 'tensorrt', 'print("hello"); __version__ = "1.2"', monkeypatch)
    assert doctor._probe_in_child('tensorrt')['version'] == '1.2'


def test_missing_weights_are_a_problem_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(assets, 'DATA_FOLDER', tmp_path)
    asset = doctor._asset(assets.find_weights, doctor._weights_hash)
    assert asset['path'] is None
    assert 'python -m training.train' in asset['problem']


def test_truncated_weights_keep_their_path_and_name_the_problem(tmp_path: Path) -> None:
    cut = tmp_path / 'rt.safetensors'
    cut.write_bytes(b'\x10\x00\x00')
    asset = doctor._asset(lambda: cut, doctor._weights_hash)
    assert asset['path'] == str(cut)
    assert asset['sha256'] == assets.file_hash(cut)
    assert asset['problem'] and asset['hash'] is None


def test_the_text_lists_the_problems(report: dict[str, Any]) -> None:
    text = doctor.main_text(report | {'problems': ['weights: gone']})
    assert 'PROBLEM weights: gone' in text
    assert 'Everything required works' not in text
    assert 'Everything required works' in doctor.main_text(report | {'problems': []})
    for name in report['runtimes']:
        assert f'\n  {name} ' in text


def test_optional_packages_are_listed_with_the_parameters_that_need_them(
    report: dict[str, Any],
) -> None:
    optional = report['ros']['optional']
    assert set(optional) == {'tf2_ros', 'tf2_msgs', 'hri_msgs'}
    ros = report['ros'] | {'optional': dict.fromkeys(optional, False) | {'hri_msgs': True}}
    lines = doctor.main_text(report | {'ros': ros}).splitlines()
    assert '  tf2_msgs        not installed; only publish_tf and tf_joints need it' in lines
    assert '  hri_msgs        installed' in lines


def test_the_trials_are_reported(report: dict[str, Any]) -> None:
    trial = report['trial']
    if importlib.util.find_spec('rclpy') is None:
        assert trial['tried'] == 'the network in openvino'
        assert 'no node was tried' in trial['found']
    else:
        assert trial['tried'] == 'a node'
        assert trial['people'] >= 1 and 0 < trial['seconds'] < doctor.TRIAL_TIMEOUT_S
        assert f'{trial["people"]} people in an image' in doctor.main_text(report)


@pytest.mark.full_size
def test_a_middleware_that_is_not_installed_fails_with_its_name_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('rclpy')
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_none_cpp')
    assert cli.main(['doctor']) == 1
    said = capsys.readouterr().out
    assert 'Everything required works' not in said
    (problem,) = (line for line in said.splitlines() if line.startswith('PROBLEM'))
    assert 'rmw_none_cpp' in problem
    assert 'unset it, or sudo apt install ros-' in problem and 'rmw-none-cpp' in problem


def test_without_ros_the_network_is_tried_and_the_node_is_reported_as_untried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, '_run_child', lambda *_, **__: {'problem': None})
    trial = doctor._try_network()
    assert trial['problem'] is None and 'no node was tried' in trial['found']
