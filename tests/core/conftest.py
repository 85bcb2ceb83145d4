"""A small network with its own export cache, and one in TensorRT on a fake GPU."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from official_network import official_checkpoint, stored_stages
from small_networks import lively_network, save_network, small_config

from decomr_core.base.structures import NetworkOutput
from decomr_core.body_models import BodyModel
from decomr_core.estimation import loading
from decomr_core.estimation.loading import load_runtime
from decomr_core.export.cached_exports import exported_model
from decomr_core.measures import parity
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes import Runtime
from decomr_core.runtimes.exported_model import ExportedModel
from decomr_core.uv.topology import Topology
from decomr_core.uv.uv_map import UVMap
from tests.core.fake_tensorrt import CROP_SIZE, ONNX_FILE, ONNX_HALF_FILE, FakeGpu, network_outputs

OURS = (
    'decomr_core.runtimes.cuda_device',
    'decomr_core.runtimes.tensorrt.bindings',
    'decomr_core.runtimes.tensorrt.building',
    'decomr_core.runtimes.tensorrt.engine',
    'decomr_core.runtimes.tensorrt.runtime',
    'decomr_core.export.tensorrt_build',
)


class Reference:
    """The outputs of PyTorch."""

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def run(self, images: np.ndarray) -> NetworkOutput:
        return NetworkOutput(**network_outputs(images))


@pytest.fixture(scope='session')
def small_network(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Callable[..., DecoMR]:
    """Lively networks by preset and changes, each made once; copy one before changing it."""

    @functools.cache
    def make(preset: str, **changes: str) -> DecoMR:
        return lively_network(small_config(preset, **changes), tiny_body, tiny_uv_map)

    return make


@pytest.fixture(scope='session')
def graph(
    tmp_path_factory: pytest.TempPathFactory, small_network: Callable[..., DecoMR]
) -> Callable[..., Path]:
    """ONNX files of lively networks by preset, warp, precision and changes, each written once."""
    from decomr_core.export.export import export_onnx
    from decomr_core.export.onnx_graph import convert_to_half

    folder = tmp_path_factory.mktemp('graphs')

    def written(preset: str, warp: str = 'dense', precision: str = 'f32', **changes: str) -> Path:
        path = folder / '-'.join([preset, warp, precision, *changes.values()])
        if path.exists():
            return path
        part = path.with_suffix('.part')  # a failure leaves nothing for other tests to find
        if precision == 'fp16':  # as an export does it: from the graph in float32
            shutil.copyfile(written(preset, warp, **changes), part)
            convert_to_half(part)
        else:
            export_onnx(small_network(preset, **changes), part, warp, precision)
        return part.rename(path)

    return written


@pytest.fixture(scope='session')
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
    small_network: Callable[..., DecoMR],
) -> dict[str, str]:
    """Weights of a small random network with its body and UV map, as files that stay so."""
    return save_network(
        tmp_path_factory.mktemp('trained'), small_network('rt'), tiny_body, tiny_uv_map
    )


@pytest.fixture(scope='session')
def torch_runtime(trained: dict[str, str]) -> Runtime:
    return load_runtime('torch', **trained)


@pytest.fixture(scope='session')
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for exports that several files read; copy one before damaging it."""
    return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='module')
def cache(shared_cache: Path) -> Iterator[Path]:
    """Makes the shared cache the user's cache while the tests of a file run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DECOMR_CACHE', str(shared_cache))
        yield shared_cache


@pytest.fixture(scope='session')
def cpu_export(trained: dict[str, str], shared_cache: Path) -> ExportedModel:
    """The small network exported for CPUs, with the complete parity check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DECOMR_CACHE', str(shared_cache))
        return exported_model(**trained)


@pytest.fixture(scope='session')
def tensorrt_export(trained: dict[str, str], shared_cache: Path) -> ExportedModel:
    """The same for TensorRT; half precision is kept, which a random network would fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DECOMR_CACHE', str(shared_cache))
        patch.setitem(parity.LIMITS_MM, 'fp16', 100.0)
        return exported_model(**trained, target='tensorrt')


@pytest.fixture
def small_gate(monkeypatch: pytest.MonkeyPatch, graph: Callable[..., Path]) -> None:
    """Exports of `trained` are of a graph that is there, and measured on 4 images, in float32.

    For tests of what follows the export.
    """
    export = importlib.import_module('decomr_core.export.export')
    monkeypatch.setattr(
        export, 'export_onnx', lambda _, path, warp: shutil.copyfile(graph('rt', warp), path)
    )
    monkeypatch.setattr(export, 'parity_crops', lambda size: parity.parity_crops(size)[:4])
    if importlib.util.find_spec('openvino'):
        openvino_runtime = importlib.import_module('decomr_core.runtimes.openvino_runtime')
        monkeypatch.setattr(openvino_runtime, 'cpu_precisions', lambda: ('f32',))


@pytest.fixture(scope='session')
def stored() -> dict[str, torch.Tensor]:
    """The outputs of the official network for an image, see `official_network`."""
    return stored_stages()


@pytest.fixture(scope='session')
def official(stored: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The official checkpoint of random weights, of the paper's size."""
    return official_checkpoint(stored)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeGpu]:
    fake = FakeGpu()
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, module in fake.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path / 'cache'))
    yield fake
    for name in OURS:
        sys.modules.pop(name, None)


@pytest.fixture
def model(
    gpu: FakeGpu,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_body: BodyModel,
    tiny_uv_map: UVMap,
) -> ExportedModel:
    """An exported network; its weights are called `w`."""
    (tmp_path / 'model.onnx').write_bytes(ONNX_FILE)
    exported = ExportedModel(
        tmp_path,
        CROP_SIZE,
        Topology.from_body(tiny_body, tiny_uv_map),
        {'config': {}, 'passes_fp16': False, 'parity': {}},
    )
    build = importlib.import_module('decomr_core.export.tensorrt_build')
    for module in (build, loading):
        monkeypatch.setattr(module, 'exported_model', lambda *_, **__: exported)
    monkeypatch.setattr(build, 'load_with_topology', lambda *_: ())
    monkeypatch.setattr(build, 'TorchRuntime', Reference)
    return exported


@pytest.fixture
def half(model: ExportedModel) -> ExportedModel:
    """The same with an export in half precision that passed its limit."""
    model.half_path.write_bytes(ONNX_HALF_FILE)
    model.info['passes_fp16'] = True
    return model


@pytest.fixture
def build(model: ExportedModel) -> SimpleNamespace:
    """The module that builds engines."""
    return sys.modules['decomr_core.export.tensorrt_build']
