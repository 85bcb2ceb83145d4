"""The export for TensorRT: a dense warp, and half precision written into the graph."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import lively_network, small_config

from decomr_core import export, onnx_graph
from decomr_core.body_models import BodyModel
from decomr_core.checkpoint import save_checkpoint
from decomr_core.networks.decomr import DecoMR
from decomr_core.parity import LIMITS_MM, Parity, measure_parity, parity_crops
from decomr_core.runtimes.exported import OUTPUT_NAMES, exported_model
from decomr_core.runtimes.tensorrt_plan import default_precision, onnx_of
from decomr_core.uv.uv_map import UVMap

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from decomr_core.runtimes.onnxruntime_runtime import run_onnx  # noqa: E402


@pytest.fixture(scope='module')
def networks(tiny_body: BodyModel, tiny_uv_map: UVMap) -> Callable[[str], DecoMR]:
    made = {name: lively_network(small_config(name), tiny_body, tiny_uv_map)
            for name in ('rt', 'paper')}
    return made.__getitem__


@pytest.fixture
def files(networks: Callable[[str], DecoMR], tmp_path: Path, tiny_body: BodyModel,
          tiny_uv_map: UVMap, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path / 'cache'))
    tiny_body.save(tmp_path / 'body.npz')
    tiny_uv_map.save(tmp_path / 'uv.npz')
    save_checkpoint(tmp_path / 'tiny.safetensors', networks('rt'), {})
    return {'weights': str(tmp_path / 'tiny.safetensors'), 'body': str(tmp_path / 'body.npz'),
            'uv_map': str(tmp_path / 'uv.npz')}


def parity(network: DecoMR, path: Path) -> Parity:
    crops = parity_crops(network.config.crop_size)
    return measure_parity(run_onnx(path, crops), export.torch_outputs(network, crops))


@pytest.mark.parametrize('warp', ['scatter', 'dense'])
@pytest.mark.parametrize('preset', ['rt', 'paper'])
def test_both_warps_compute_what_pytorch_does(networks: Callable[[str], DecoMR], tmp_path: Path,
                                              preset: str, warp: str) -> None:
    export.export_onnx(networks(preset), tmp_path / 'model.onnx', warp)
    measured = parity(networks(preset), tmp_path / 'model.onnx')
    assert 0 < measured.vertices_mean_mm <= LIMITS_MM['f32']
    assert measured.foreground_iou > 0.999


@pytest.mark.parametrize('precision', ['f32', 'fp16'])
def test_the_dense_graph_takes_any_number_of_people(networks: Callable[[str], DecoMR],
                                                    tmp_path: Path, precision: str) -> None:
    export.export_onnx(networks('rt'), tmp_path / 'model.onnx', 'dense', precision)
    crops = parity_crops(64)[:5]
    session = onnxruntime.InferenceSession(str(tmp_path / 'model.onnx'))
    together = session.run(list(OUTPUT_NAMES), {'images': crops})
    singles = run_onnx(tmp_path / 'model.onnx', crops)
    for name, values in zip(OUTPUT_NAMES, together, strict=True):
        assert values.shape == singles[name].shape and values.dtype == np.float32
        assert np.median(np.abs(values - singles[name])) < 1e-5, name


def test_exporting_leaves_the_network_as_it_was(networks: Callable[[str], DecoMR],
                                                tmp_path: Path) -> None:
    network = networks('rt')
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export.export_onnx(network, tmp_path / 'model.onnx', 'dense', 'fp16')
    assert network.warp_form == 'scatter' and not network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(('asked', 'said'), [
    ({'warp': 'gather'}, "warp is 'gather', expected one of: scatter, dense"),
    ({'precision': 'bf16'}, "precision is 'bf16', expected one of: f32, fp16")])
def test_an_unknown_form_is_refused_with_those_there_are(
        networks: Callable[[str], DecoMR], tmp_path: Path, asked: dict[str, str],
        said: str) -> None:
    with pytest.raises(ValueError, match=said):
        export.export_onnx(networks('rt'), tmp_path / 'model.onnx', **asked)
    assert not list(tmp_path.iterdir())


def types_of_nodes(path: Path) -> Counter:
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type
             for value in (*model.graph.value_info, *model.graph.output)}
    return Counter((node.op_type, onnx.TensorProto.DataType.Name(types[node.output[0]]))
                   for node in model.graph.node)


@pytest.mark.parametrize('preset', ['rt', 'paper'])
def test_in_half_precision_products_are_half_and_what_places_and_normalises_is_not(
        networks: Callable[[str], DecoMR], tmp_path: Path, preset: str) -> None:
    export.export_onnx(networks(preset), tmp_path / 'half.onnx', 'dense', 'fp16')
    found = types_of_nodes(tmp_path / 'half.onnx')
    assert found['Conv', 'FLOAT16'] > 0.9 * (found['Conv', 'FLOAT16'] + found['Conv', 'FLOAT'])
    assert found['Gemm', 'FLOAT16'] >= 3
    halves = {name for name, kind in found if kind == 'FLOAT16'}
    assert halves <= onnx_graph.PRODUCTS | onnx_graph.COMPANIONS | {'Cast'}
    # The last layer of mask, u and v, location map; camera. What the exporter folds varies.
    assert 3 <= found['Conv', 'FLOAT'] <= 4 and found['Gemm', 'FLOAT'] == 1
    graph = onnx.load(tmp_path / 'half.onnx').graph
    assert {value.type.tensor_type.elem_type for value in graph.output} == {
        onnx.TensorProto.FLOAT}
    assert [value.name for value in graph.output] == list(OUTPUT_NAMES)


def test_a_graph_in_half_precision_holds_half_the_bytes_and_is_coarser(
        networks: Callable[[str], DecoMR], tmp_path: Path) -> None:
    network = networks('rt')
    for precision in ('f32', 'fp16'):
        export.export_onnx(network, tmp_path / precision, 'dense', precision)
    sizes = {name: sum(len(tensor.raw_data) for tensor in onnx.load(tmp_path / name)
                       .graph.initializer) for name in ('f32', 'fp16')}
    assert sizes['fp16'] < 0.6 * sizes['f32']
    exact, coarse = (parity(network, tmp_path / name) for name in ('f32', 'fp16'))
    vertices = export.torch_outputs(network, parity_crops(64))['vertices']
    between_crops = 1e3 * np.linalg.norm(vertices - vertices[::-1], axis=-1).mean()
    # Random weights magnify rounding; trained ones are gated at LIMITS_MM.
    assert exact.vertices_mean_mm < coarse.vertices_mean_mm < 0.2 * between_crops
    assert coarse.foreground_iou > 0.95


def test_a_weight_that_float16_cannot_hold_is_told(networks: Callable[[str], DecoMR],
                                                   tmp_path: Path) -> None:
    network = copy.deepcopy(networks('rt'))
    with torch.no_grad():
        network.lnet.hourglass.up_layers[0][1].conv1.bias[0] = 7e4
    with pytest.raises(ValueError, match=r'out of the range of float16 .*precision=.f32'):
        export.export_onnx(network, tmp_path / 'half.onnx', 'dense', 'fp16')


def test_the_export_for_tensorrt_is_gated_and_kept_beside_the_one_for_cpus(
        files: dict[str, str], tmp_path: Path) -> None:
    model = exported_model(**files, target='tensorrt')
    assert model.info['target'] == 'tensorrt'
    assert model.info['parity']['onnxruntime f32']['vertices_mean_mm'] <= LIMITS_MM['f32']
    half = model.info['parity']['onnxruntime fp16']
    assert model.info['passes_fp16'] == (half['vertices_mean_mm'] <= LIMITS_MM['fp16'])
    assert model.half_path.exists() == model.info['passes_fp16']
    assert not model.openvino_path.exists()
    operators = {node.op_type for node in onnx.load(model.onnx_path).graph.node}
    assert not {'ScatterElements', 'ScatterND'} & operators
    notes = onnx_graph.read_notes(model.onnx_path)
    assert notes['target'] == 'tensorrt' and json.loads(notes['parity']) == model.info['parity']
    assert exported_model(**files).folder != model.folder


@pytest.mark.parametrize(('limit', 'is_kept'), [(1e3, True), (-1.0, False)])
def test_half_precision_is_kept_if_it_passes_and_only_then(
        files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float,
        is_kept: bool) -> None:
    monkeypatch.setitem(LIMITS_MM, 'fp16', limit)
    model = exported_model(**files, target='tensorrt')
    assert model.info['passes_fp16'] == model.half_path.exists() == is_kept
    assert default_precision(model) == ('fp16' if is_kept else 'f32')
    assert onnx_of(model, 'f32') == onnx_of(model, 'tf32') == model.onnx_path
    if not is_kept:
        with pytest.raises(ValueError, match=r'its vertices are \d+\.\d\d mm off; use f32'):
            onnx_of(model, 'fp16')
    if is_kept:
        assert onnx_of(model, 'fp16') == model.half_path
        notes = onnx_graph.read_notes(model.half_path)
        assert json.loads(notes['parity']) == model.info['parity']


def test_an_unknown_target_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target is 'gpu', expected one of: cpu, tensorrt"):
        export.export_weights(files['weights'], tmp_path / 'out', target='gpu')
    assert not (tmp_path / 'out').exists()
