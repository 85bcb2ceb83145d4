"""Models that do not load: the node reports why, stays unconfigured, and can be corrected."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lifecycle_msgs.msg import State, Transition
from rclpy.parameter import Parameter

from decomr_ros.decomr_node import DecomrNode
from tests.ros.conftest import Process, RosTest
from tests.ros.inner_node import keep_frozen
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
import decomr_core.estimation.detectors
decomr_core.estimation.detectors.load_detector = lambda name, **_: {}['no such detector']
"""


@pytest.fixture
def files(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `exported` to damage; the node uses its cache."""
    folder = tmp_path / 'files'
    shutil.copytree(exported, folder)
    monkeypatch.setenv('DECOMR_CACHE', str(folder / 'cache'))
    return folder


class InsideNode:
    """A node within the test that is used like one in its own process, but starts faster."""

    def __init__(
        self, ros: RosTest, capfd: pytest.CaptureFixture[str], **parameters: object
    ) -> None:
        self._capfd, self._output = capfd, ''
        values = {'threads': 1, 'detector': 'whole-frame', 'autostart': False, **parameters}
        self._node = DecomrNode(
            context=ros.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        ros.add(self._node)

    @property
    def output(self) -> str:
        self._output += self._capfd.readouterr().err
        return self._output

    def stop(self) -> int:
        """The last steps of `run_node`."""
        self._node.close()
        return self._node.exit_code or 0


@pytest.fixture
def inside(
    ros: RosTest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., InsideNode]:
    keep_frozen(monkeypatch)
    return lambda weights, runtime: InsideNode(ros, capfd, weights=str(weights), runtime=runtime)


def begin_with(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python process that starts from now on runs this first."""
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(code)
    monkeypatch.setenv('PYTHONPATH', f'{folder}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')


def assert_refused(ros: RosTest, node: Process | InsideNode, said: str) -> Lifecycle:
    """Its `configure` fails with one line that holds `said`; its services."""
    remote = Lifecycle(ros)
    assert not remote.change(Transition.TRANSITION_CONFIGURE), node.output
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED
    ros.spin_until(lambda: 'configure failed' in node.output)
    lines = node.output.splitlines()
    (told,) = (line for line in lines if 'configure failed' in line)
    assert said in told, told
    assert told == lines[-1], 'the reason comes last'
    assert 'Traceback' not in node.output
    return remote


def assert_corrected(
    ros: RosTest, node: Process | InsideNode, remote: Lifecycle, name: str, value: object
) -> None:
    """With this parameter the same node is configured, activated, and publishes meshes."""
    remote.set_parameter(name, value)
    assert remote.change(Transition.TRANSITION_CONFIGURE), node.output
    assert remote.change(Transition.TRANSITION_ACTIVATE), node.output
    camera = Camera(ros)
    camera.wait()
    assert camera.show_until_placed(48, 64).meshes
    assert node.stop() == 0
    assert 'Traceback' not in node.output


@pytest.mark.parametrize(('runtime', 'size'), [('torch', 5), ('torch', 5000), ('openvino', 0)])
def test_truncated_weights(
    ros: RosTest, files: Path, inside: Callable[..., InsideNode], runtime: str, size: int
) -> None:
    whole = files / 'small.safetensors'
    truncated = files / 'truncated.safetensors'
    truncated.write_bytes(whole.read_bytes()[:size])
    node = inside(truncated, runtime)
    remote = assert_refused(ros, node, 'truncated.safetensors')
    assert_corrected(ros, node, remote, 'weights', whole)


def test_a_folder_instead_of_weights(
    ros: RosTest, files: Path, inside: Callable[..., InsideNode]
) -> None:
    node = inside(files, 'torch')
    remote = assert_refused(ros, node, f'no weights at {files}')
    assert_corrected(ros, node, remote, 'weights', files / 'small.safetensors')


@pytest.mark.parametrize(
    ('name', 'runtime', 'other'),
    [
        ('model.xml', 'openvino', 'onnxruntime'),
        ('model.bin', 'openvino', 'torch'),
        ('model.onnx', 'onnxruntime', 'openvino'),
    ],
)
def test_a_truncated_export_in_the_cache(
    ros: RosTest,
    files: Path,
    inside: Callable[..., InsideNode],
    name: str,
    runtime: str,
    other: str,
) -> None:
    (path,) = (files / 'cache' / 'exports').glob(f'*/{name}')
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    node = inside(files / 'small.safetensors', runtime)
    remote = assert_refused(ros, node, f'the exported network in {path.parent} is damaged')
    assert 'delete this folder' in node.output
    assert_corrected(ros, node, remote, 'runtime', other)


@pytest.mark.full_size
def test_a_damaged_export_is_recreated_once_it_is_deleted(
    ros: RosTest, files: Path, inside: Callable[..., InsideNode]
) -> None:
    (info,) = (files / 'cache' / 'exports').glob('*/info.json')
    info.write_text('{')
    node = inside(files / 'small.safetensors', 'openvino')
    remote = assert_refused(ros, node, 'delete this folder')
    shutil.rmtree(info.parent)
    assert_corrected(ros, node, remote, 'runtime', 'openvino')


def test_a_runtime_that_is_not_installed(
    ros: RosTest, files: Path, inside: Callable[..., InsideNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    node = inside(files / 'small.safetensors', 'onnxruntime')
    remote = assert_refused(
        ros, node, 'which is not installed (pip install onnxruntime); available: torch'
    )
    assert_corrected(ros, node, remote, 'runtime', 'torch')


# In processes of their own, as users have them.


@pytest.mark.full_size
def test_tensorrt_where_it_is_not_installed(
    ros: RosTest, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(WITHOUT.format(name='tensorrt'), files / 'start', monkeypatch)
    node = start_node(ros, files / 'small.safetensors', runtime='tensorrt', autostart='false')
    remote = assert_refused(
        ros, node, 'tensorrt, which is not installed (pip install tensorrt cuda-python)'
    )
    assert_corrected(ros, node, remote, 'runtime', 'openvino')


def test_tensorrt_without_a_gpu(
    ros: RosTest, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(WITHOUT_GPU, files / 'start', monkeypatch)
    node = start_node(
        ros, files / 'small.safetensors', runtime='tensorrt', threads=0, autostart='false'
    )
    remote = assert_refused(ros, node, 'needs an NVIDIA GPU with its driver')
    assert len(list((files / 'cache' / 'exports').iterdir())) == 1, 'nothing is exported for it'
    assert_corrected(ros, node, remote, 'runtime', 'openvino')


def test_an_unexpected_error_is_logged_with_its_traceback(
    ros: RosTest, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(BROKEN_CODE, files / 'start', monkeypatch)
    node = start_node(ros, files / 'small.safetensors', autostart='false')
    remote = Lifecycle(ros)
    assert not remote.change(Transition.TRANSITION_CONFIGURE)
    assert remote.state() == State.PRIMARY_STATE_UNCONFIGURED
    node.wait_for("configure failed, please report this: KeyError('no such detector')")
    node.wait_for('Traceback')
