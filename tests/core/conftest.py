"""A small network with an export cache of its own, and one in TensorRT on a pretended GPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_networks import save_small_network

from decomr_core.body_models import BodyModel
from decomr_core.runtimes import Runtime, load_runtime
from decomr_core.runtimes.exported import ExportedModel
from decomr_core.structures import NetworkOutput
from decomr_core.topology import Topology
from decomr_core.uv.uv_map import UVMap
from tests.core.fake_tensorrt import (
    CROP_SIZE,
    ONNX_FILE,
    ONNX_HALF_FILE,
    FakeGpu,
    network_outputs,
)

OURS = ('cuda_device', 'tensorrt_engine', 'tensorrt_runtime', 'tensorrt_build')


class Reference:
    """What PyTorch would say."""

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def run(self, images: np.ndarray) -> NetworkOutput:
        return NetworkOutput(**network_outputs(images))


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_body: BodyModel,
            tiny_uv_map: UVMap) -> dict[str, str]:
    """Weights of a small random network with its body and UV map, as files."""
    return save_small_network(tmp_path_factory.mktemp('trained'), tiny_body, tiny_uv_map)


@pytest.fixture(scope='module')
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp('cache')
        patch.setenv('DECOMR_CACHE', str(folder))
        yield folder


@pytest.fixture(scope='module')
def torch_runtime(trained: dict[str, str]) -> Runtime:
    return load_runtime('torch', **trained)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeGpu]:
    fake = FakeGpu()
    names = [f'decomr_core.runtimes.{name}' for name in OURS]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, module in fake.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path / 'cache'))
    yield fake
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def model(gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_body: BodyModel,
          tiny_uv_map: UVMap) -> ExportedModel:
    """An exported network; its weights are called `w`."""
    (tmp_path / 'model.onnx').write_bytes(ONNX_FILE)
    exported = ExportedModel(tmp_path, CROP_SIZE, Topology.from_body(tiny_body, tiny_uv_map),
                             {'passes_fp16': False, 'parity': {}})
    for name in ('tensorrt_runtime', 'tensorrt_build'):
        module = importlib.import_module(f'decomr_core.runtimes.{name}')
        monkeypatch.setattr(module, 'exported_model', lambda *_, **__: exported)
    monkeypatch.setattr(module, 'TorchRuntime', Reference)
    return exported


@pytest.fixture
def half(model: ExportedModel) -> ExportedModel:
    """The same with an export in half precision that passed its limit."""
    model.half_path.write_bytes(ONNX_HALF_FILE)
    model.info['passes_fp16'] = True
    return model


@pytest.fixture
def build(model: ExportedModel) -> SimpleNamespace:
    """The module that builds."""
    return sys.modules['decomr_core.runtimes.tensorrt_build']
