"""The export for TensorRT: a dense warp, and half precision written into the graph."""

from __future__ import annotations

import copy
import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import POSED

from decomr_core.export import export, onnx_graph
from decomr_core.export.cached_exports import exported_model
from decomr_core.measures.parity import LIMITS_MM, Parity, measure_parity, parity_crops
from decomr_core.networks.decomr import DecoMR
from decomr_core.runtimes.exported_model import OUTPUT_NAMES, ExportedModel
from decomr_core.runtimes.tensorrt.plan import default_precision, onnx_of

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from decomr_core.runtimes.onnxruntime_runtime import run_onnx  # noqa: E402


@pytest.fixture
def files(
    trained: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The small network, with an empty cache."""
    monkeypatch.setenv('DECOMR_CACHE', str(tmp_path / 'cache'))
    return trained


@pytest.fixture(scope='module')
def torch_said(small_network: Callable[..., DecoMR]) -> Callable[[str], dict[str, np.ndarray]]:
    """The outputs of PyTorch for the images of the parity check, by preset."""
    return functools.cache(
        lambda preset: export.torch_outputs(small_network(preset), parity_crops(64))
    )


def parity(path: Path, expected: dict[str, np.ndarray]) -> Parity:
    return measure_parity(run_onnx(path, parity_crops(64)), expected)


@pytest.mark.parametrize('warp', ['scatter', 'dense'])
@pytest.mark.parametrize('preset', ['rt', 'paper'])
def test_both_warps_compute_what_pytorch_does(
    graph: Callable[..., Path],
    torch_said: Callable[[str], dict[str, np.ndarray]],
    preset: str,
    warp: str,
) -> None:
    measured = parity(graph(preset, warp), torch_said(preset))
    assert 0 < measured.vertices_mean_mm <= LIMITS_MM['f32']
    assert measured.foreground_iou > 0.999


@pytest.mark.parametrize('precision', ['f32', 'fp16'])
def test_the_dense_graph_takes_any_number_of_people(
    graph: Callable[..., Path], precision: str
) -> None:
    path = graph('rt', 'dense', precision)
    crops = parity_crops(64)[:5]
    together = onnxruntime.InferenceSession(str(path)).run(list(OUTPUT_NAMES), {'images': crops})
    singles = run_onnx(path, crops)
    for name, values in zip(OUTPUT_NAMES, together, strict=True):
        assert values.shape == singles[name].shape and values.dtype == np.float32
        assert np.median(np.abs(values - singles[name])) < 1e-5, name


def test_exporting_leaves_the_network_as_it_was(
    small_network: Callable[..., DecoMR], tmp_path: Path
) -> None:
    network = small_network('rt')
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export.export_onnx(network, tmp_path / 'model.onnx', 'dense', 'fp16')
    assert network.warp_form == 'scatter' and not network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert types_of_nodes(tmp_path / 'model.onnx')['Conv', 'FLOAT16'], 'exported as asked for'


@pytest.mark.parametrize(
    ('asked', 'said'),
    [
        ({'warp': 'gather'}, "warp is 'gather', expected one of: scatter, dense"),
        ({'precision': 'bf16'}, "precision is 'bf16', expected one of: f32, fp16"),
    ],
)
def test_an_unknown_form_is_rejected_with_the_known_ones(
    small_network: Callable[..., DecoMR], tmp_path: Path, asked: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        export.export_onnx(small_network('rt'), tmp_path / 'model.onnx', **asked)
    assert not list(tmp_path.iterdir())


def types_of_nodes(path: Path) -> Counter:
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*model.graph.value_info, *model.graph.output)
    }
    return Counter(
        (node.op_type, onnx.TensorProto.DataType.Name(types[node.output[0]]))
        for node in model.graph.node
    )


@pytest.mark.parametrize('preset', ['rt', 'paper'])
def test_in_half_precision_products_are_half_but_placing_and_normalising_is_not(
    graph: Callable[..., Path], preset: str
) -> None:
    path = graph(preset, 'dense', 'fp16')
    found = types_of_nodes(path)
    assert found['Conv', 'FLOAT16'] > 0.9 * (found['Conv', 'FLOAT16'] + found['Conv', 'FLOAT'])
    assert found['Gemm', 'FLOAT16'] >= 3
    halves = {name for name, kind in found if kind == 'FLOAT16'}
    assert halves <= onnx_graph.PRODUCTS | onnx_graph.COMPANIONS | {'Cast'}
    # The last layer of mask, u and v, location map; camera; in `rt` what the float32 warp takes.
    # What the exporter folds varies.
    most = 5 if preset == 'rt' else 4
    assert 3 <= found['Conv', 'FLOAT'] <= most and found['Gemm', 'FLOAT'] == 1
    outputs = onnx.load(path).graph.output
    assert {value.type.tensor_type.elem_type for value in outputs} == {onnx.TensorProto.FLOAT}
    assert [value.name for value in outputs] == list(OUTPUT_NAMES)


def test_in_half_precision_the_pose_of_the_reference_map_ends_in_float32(
    small_network: Callable[..., DecoMR], tmp_path: Path
) -> None:
    path = tmp_path / 'posed.onnx'
    export.export_onnx(small_network('rt', **POSED), path, 'dense', 'fp16')
    assert types_of_nodes(path)['Gemm', 'FLOAT'] == 3, (
        'the last layers of camera, posed and lifting head'
    )


def test_a_graph_in_half_precision_holds_half_the_bytes_and_is_coarser(
    graph: Callable[..., Path], torch_said: Callable[[str], dict[str, np.ndarray]]
) -> None:
    paths = {precision: graph('rt', 'dense', precision) for precision in ('f32', 'fp16')}
    sizes = {
        name: sum(len(tensor.raw_data) for tensor in onnx.load(path).graph.initializer)
        for name, path in paths.items()
    }
    assert sizes['fp16'] < 0.6 * sizes['f32']
    exact, coarse = (parity(paths[name], torch_said('rt')) for name in ('f32', 'fp16'))
    vertices = torch_said('rt')['vertices']
    between_crops = 1e3 * np.linalg.norm(vertices - vertices[::-1], axis=-1).mean()
    # Random weights magnify rounding; trained ones are gated at LIMITS_MM.
    assert exact.vertices_mean_mm < coarse.vertices_mean_mm < 0.2 * between_crops
    assert coarse.foreground_iou > 0.95


def test_a_weight_beyond_float16_is_reported(
    small_network: Callable[..., DecoMR], tmp_path: Path
) -> None:
    network = copy.deepcopy(small_network('rt'))
    with torch.no_grad():
        network.lnet.hourglass.up_layers[0][1].conv1.bias[0] = 7e4
    with pytest.raises(ValueError, match=r'out of the range of float16 .*precision=.f32'):
        export.export_onnx(network, tmp_path / 'half.onnx', 'dense', 'fp16')


def test_the_export_for_tensorrt_is_checked_and_kept_beside_the_one_for_cpus(
    files: dict[str, str], cpu_export: ExportedModel
) -> None:
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
    shutil.copytree(cpu_export.folder, model.folder.with_name(cpu_export.folder.name))
    assert exported_model(**files).folder != model.folder


@pytest.mark.parametrize(('limit', 'is_kept'), [(1e3, True), (-1.0, False)])
def test_half_precision_is_kept_only_if_it_passes(
    files: dict[str, str],
    small_gate: None,
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    is_kept: bool,
) -> None:
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


def test_an_unknown_target_is_rejected(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target is 'gpu', expected one of: cpu, tensorrt"):
        export.export_weights(files['weights'], tmp_path / 'out', target='gpu')
    assert not (tmp_path / 'out').exists()
