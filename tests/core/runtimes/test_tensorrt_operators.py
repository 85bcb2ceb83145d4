"""The graphs for TensorRT contain no operators for which its parser needs a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

onnx = pytest.importorskip('onnx')
from tensorrt_operators import beyond_tensorrt  # noqa: E402

from decomr_core.export.export import OPSET, export_onnx  # noqa: E402
from decomr_core.networks.checkpoint import load_network  # noqa: E402


@pytest.mark.parametrize('precision', ['f32', 'fp16'])
@pytest.mark.parametrize(
    ('preset', 'changes'),
    [
        ('rt', {}),
        ('paper', {}),
        ('rt', {'lnet_input': 'raw+global'}),
        ('rt', {'lnet_input': 'global'}),
        ('paper', {'lnet_input': 'local'}),
    ],
)
def test_tensorrt_runs_every_node_of_the_dense_graph_without_a_plugin(
    graph: Callable[..., Path], preset: str, changes: dict[str, str], precision: str
) -> None:
    """By the parser's own tables; see `tensorrt_operators` for their source."""
    model = onnx.load(graph(preset, precision=precision, **changes))
    assert beyond_tensorrt(model) == []
    assert {entry.version for entry in model.opset_import} == {OPSET}


@pytest.mark.full_size
@pytest.mark.parametrize('precision', ['f32', 'fp16'])
def test_tensorrt_runs_every_node_of_the_shipped_network(tmp_path: Path, precision: str) -> None:
    """Its encoder, its posed reference map and its joint heatmaps are not in the small graphs."""
    path = tmp_path / 'rt.onnx'
    export_onnx(load_network('rt'), path, 'dense', precision)
    assert beyond_tensorrt(onnx.load(path)) == []


@pytest.mark.parametrize('precision', ['f32', 'fp16'])
@pytest.mark.parametrize('preset', ['rt', 'paper'])
def test_the_graph_for_cpus_is_unsupported_only_because_of_its_warp(
    graph: Callable[..., Path], preset: str, precision: str
) -> None:
    (found,) = beyond_tensorrt(onnx.load(graph(preset, 'scatter', precision)))
    assert found.startswith('ScatterElements (')


@pytest.fixture(scope='module')
def dense(graph: Callable[..., Path]) -> bytes:
    return graph('rt').read_bytes()


def with_nodes(dense: bytes, *nodes: onnx.NodeProto, **constants: list) -> onnx.ModelProto:
    model = onnx.load_from_string(dense)
    for name, (kind, shape, values) in constants.items():
        model.graph.initializer.append(onnx.helper.make_tensor(name, kind, shape, values))
    model.graph.node.extend(nodes)
    return model


INDEX = (onnx.TensorProto.INT64, [1, 1], [0])
UPDATE = (onnx.TensorProto.FLOAT, [1, 3], [0.0, 0.0, 0.0])


def test_a_scatter_is_named(dense: bytes) -> None:
    scatter = onnx.helper.make_node(
        'ScatterND', ['camera', 'index', 'update'], ['changed'], 'sneaky', reduction='add'
    )
    model = with_nodes(dense, scatter, index=INDEX, update=UPDATE)
    assert beyond_tensorrt(model) == ['ScatterND (sneaky)']


def test_a_scatter_inside_a_branch_is_named(dense: bytes) -> None:
    helper = onnx.helper
    branches = {}
    for name, operator in (('then_branch', 'ScatterND'), ('else_branch', 'Identity')):
        inputs = ['camera', 'index', 'update'] if operator == 'ScatterND' else ['camera']
        output = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        branches[name] = helper.make_graph(
            [helper.make_node(operator, inputs, [name], name)], name, [], [output]
        )
    chosen = helper.make_node('If', ['which'], ['chosen'], 'if', **branches)
    model = with_nodes(
        dense, chosen, index=INDEX, update=UPDATE, which=(onnx.TensorProto.BOOL, [], [True])
    )
    assert beyond_tensorrt(model) == ['ScatterND (then_branch)']


@pytest.mark.parametrize(
    ('operator', 'inputs', 'attributes', 'said'),
    [
        ('Cast', ['camera'], {'to': onnx.TensorProto.DOUBLE}, 'Cast of DOUBLE (sneaky)'),
        ('Identity', ['images'], {}, 'Identity of UINT8 (sneaky)'),
        ('Resize', ['iuv', '', 'scales'], {'mode': 'cubic'}, 'Resize with mode cubic (sneaky)'),
    ],
)
def test_a_type_or_an_attribute_beyond_the_table_is_named(
    dense: bytes, operator: str, inputs: list[str], attributes: dict, said: str
) -> None:
    node = onnx.helper.make_node(operator, inputs, ['result'], 'sneaky', **attributes)
    scales = (onnx.TensorProto.FLOAT, [4], [1.0, 1.0, 2.0, 2.0])
    assert said in beyond_tensorrt(with_nodes(dense, node, scales=scales))
