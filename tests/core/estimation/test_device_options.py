"""The device of a runtime: `load_estimator(device=...)` and the node's parameter `device`."""

from __future__ import annotations

import pytest

from decomr_core import load_estimator
from decomr_core.estimation.loading import device_options
from decomr_core.runtimes import RUNTIMES


@pytest.mark.parametrize(
    ('runtime', 'device', 'options'),
    [
        ('torch', 'cuda', {'device': 'cuda:0'}),
        ('torch', 'cuda:3', {'device': 'cuda:3'}),
        ('onnxruntime', 'cuda:1', {'provider': 'cuda', 'device': 1}),
        ('tensorrt', 'cuda:2', {'device': 2}),
        ('torch', 'cpu', {}),
        ('openvino', 'cpu', {}),
    ],
)
def test_a_device_becomes_the_options_of_its_runtime(runtime, device, options):
    assert device_options(runtime, device) == options


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_without_a_device_each_runtime_decides(runtime):
    assert device_options(runtime, '') == {}


@pytest.mark.parametrize('device', ['gpu', 'cuda:', 'cuda:-1', 'CUDA', 'cuda:1000', 'cpu ', '0'])
def test_a_device_of_another_form_is_rejected(device):
    with pytest.raises(ValueError, match='expected cpu, cuda or cuda:N'):
        device_options('torch', device)


def test_a_runtime_that_does_not_run_on_the_device_is_named():
    with pytest.raises(ValueError, match='openvino runs on the CPU'):
        device_options('openvino', 'cuda')
    with pytest.raises(ValueError, match='tensorrt runs on a GPU'):
        device_options('tensorrt', 'cpu')


def test_a_missing_gpu_is_an_error_and_not_replaced_by_the_cpu():
    with pytest.raises(RuntimeError, match="device is 'cuda:9'"):
        load_estimator(runtime='torch', device='cuda:9', detector=None)
