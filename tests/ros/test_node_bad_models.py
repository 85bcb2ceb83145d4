"""Models that do not load: the node says why, stays unconfigured, and can be corrected."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle_msgs.msg import State, Transition

from tests.ros.conftest import Process, RosTest
from tests.ros.node_client import Camera, Lifecycle, start_node

# What a Python process does first: the module is as if it were not installed.
WITHOUT = 'import sys; sys.modules[{name!r}] = None\n'
# TensorRT and CUDA are installed, but there is no GPU.
WITHOUT_GPU = """
import sys
from tests.core.fake_tensorrt import FakeGpu
gpu = FakeGpu()
gpu.devices = 0
sys.modules.update(gpu.modules())
"""
# The detector does not bring what its interface promises.
BROKEN_CODE = """
import decomr_core.detection
decomr_core.detection.load_detector = lambda name: {}['no such detector']
"""


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small network for the built-in body, `small.safetensors`, and a cache with its export."""
    from decomr_core.body_models import load_body
    from decomr_core.checkpoint import save_checkpoint
    from decomr_core.runtimes.exported import exported_model
    from decomr_core.uv.uv_map import load_uv_map
    from tests.core.small_networks import lively_network, small_config

    folder = tmp_path_factory.mktemp('small')
    body = load_body()
    network = lively_network(small_config('rt'), body, load_uv_map('builtin', body))
    save_checkpoint(folder / 'small.safetensors', network, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DECOMR_CACHE', str(folder / 'cache'))
        exported_model(folder / 'small.safetensors')
    return folder


@pytest.fixture
def files(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `small` to damage; the node uses its cache."""
    folder = tmp_path / 'files'
    shutil.copytree(small, folder)
    monkeypatch.setenv('DECOMR_CACHE', str(folder / 'cache'))
    return folder


def begin_with(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python process that starts from now on runs this first."""
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(code)
    monkeypatch.setenv('PYTHONPATH', f'{folder}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')


def refuse(ros: RosTest, weights: Path, said: str, **parameters: object
           ) -> tuple[Process, Lifecycle]:
    """A node whose `configure` fails with one line that holds `said`."""
    node = start_node(ros, weights, autostart='false', **parameters)
    remote = Lifecycle(ros)
    assert not remote.change(Transition.TRANSITION_CONFIGURE), node.output
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED
    node.wait_for('configure failed')
    lines = node.output.splitlines()
    told, = (line for line in lines if 'configure failed' in line)
    assert said in told, told
    assert told == lines[-1], 'the reason comes last'
    assert 'Traceback' not in node.output
    return node, remote


def assert_corrected(ros: RosTest, node: Process, remote: Lifecycle, name: str,
                     value: object) -> None:
    """With this parameter the same node is configured, activated, and publishes meshes."""
    remote.set_parameter(name, value)
    assert remote.change(Transition.TRANSITION_CONFIGURE), node.output
    assert remote.change(Transition.TRANSITION_ACTIVATE), node.output
    camera = Camera(ros)
    camera.wait()
    assert camera.show(48, 64).meshes[0].is_metric
    assert node.stop() == 0
    assert 'Traceback' not in node.output


@pytest.mark.parametrize(('runtime', 'size'), [('torch', 5), ('torch', 5000), ('openvino', 0)])
def test_truncated_weights(ros: RosTest, files: Path, runtime: str, size: int) -> None:
    whole = files / 'small.safetensors'
    truncated = files / 'truncated.safetensors'
    truncated.write_bytes(whole.read_bytes()[:size])
    node, remote = refuse(ros, truncated, 'truncated.safetensors', runtime=runtime)
    assert_corrected(ros, node, remote, 'weights', whole)


def test_a_folder_in_the_place_of_weights(ros: RosTest, files: Path) -> None:
    node, remote = refuse(ros, files, f'no weights at {files}')
    assert_corrected(ros, node, remote, 'weights', files / 'small.safetensors')


@pytest.mark.parametrize(('name', 'runtime', 'other'), [
    ('model.xml', 'openvino', 'onnxruntime'), ('model.bin', 'openvino', 'torch'),
    ('model.onnx', 'onnxruntime', 'openvino')])
def test_a_truncated_export_in_the_cache(ros: RosTest, files: Path, name: str, runtime: str,
                                         other: str) -> None:
    path, = (files / 'cache' / 'exports').glob(f'*/{name}')
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    node, remote = refuse(ros, files / 'small.safetensors',
                          f'the exported network in {path.parent} is damaged', runtime=runtime)
    assert 'delete this folder' in node.output
    assert_corrected(ros, node, remote, 'runtime', other)


def test_a_damaged_export_is_made_again_once_it_is_deleted(ros: RosTest, files: Path) -> None:
    info, = (files / 'cache' / 'exports').glob('*/info.json')
    info.write_text('{')
    node, remote = refuse(ros, files / 'small.safetensors', 'delete this folder',
                          runtime='openvino')
    shutil.rmtree(info.parent)
    assert_corrected(ros, node, remote, 'runtime', 'openvino')


def test_a_runtime_that_is_not_installed(ros: RosTest, files: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    begin_with(WITHOUT.format(name='onnxruntime'), files / 'start', monkeypatch)
    node, remote = refuse(ros, files / 'small.safetensors',
                          'which is not installed (pip install onnxruntime); available: torch',
                          runtime='onnxruntime')
    assert_corrected(ros, node, remote, 'runtime', 'torch')


def test_tensorrt_where_it_is_not_installed(ros: RosTest, files: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    begin_with(WITHOUT.format(name='tensorrt'), files / 'start', monkeypatch)
    node, remote = refuse(ros, files / 'small.safetensors',
                          'tensorrt, which is not installed (pip install tensorrt cuda-python)',
                          runtime='tensorrt')
    assert_corrected(ros, node, remote, 'runtime', 'openvino')


def test_tensorrt_without_a_gpu(ros: RosTest, files: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    begin_with(WITHOUT_GPU, files / 'start', monkeypatch)
    node, remote = refuse(ros, files / 'small.safetensors', 'needs an NVIDIA GPU with its driver',
                          runtime='tensorrt', threads=0)
    assert len(list((files / 'cache' / 'exports').iterdir())) == 1, 'nothing is exported for it'
    assert_corrected(ros, node, remote, 'runtime', 'openvino')


def test_an_error_that_nobody_expected_comes_with_its_traceback(
        ros: RosTest, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_with(BROKEN_CODE, files / 'start', monkeypatch)
    node = start_node(ros, files / 'small.safetensors', autostart='false')
    remote = Lifecycle(ros)
    assert not remote.change(Transition.TRANSITION_CONFIGURE)
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED
    node.wait_for("configure failed, please report this: KeyError('no such detector')")
    node.wait_for('Traceback')
