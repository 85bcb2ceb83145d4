"""What TensorRT's ONNX parser imports without a plugin, and what of a model is beyond it.

The table is a part of NVIDIA's own, `docs/operators.md` of github.com/onnx/onnx-tensorrt: the
operators below are supported there for the types below in the releases for TensorRT 10.1 and
10.15 alike, and NVIDIA's release notes of 10.3, 11.0, 11.3 and 11.5 take none of them away. Left
out are those that the parser turns into a plugin (ScatterElements that adds, RoiAlign), or
refuses (ScatterND that adds), and those that no network of ours has a use for. Both tables say
that UINT8 is for inputs and outputs of the network alone, with Cast to get away from it; its
changelog, that INT64 is a type of its own since 9.0 and InstanceNormalization needs no plugin
since 10.0.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

OPSETS = range(9, 21)
"""Operator sets that the oldest of these releases reads."""

FLOATS = {'FLOAT', 'FLOAT16', 'BFLOAT16'}
NUMBERS = FLOATS | {'INT32', 'INT64'}
ANYTHING = NUMBERS | {'BOOL'}

OPERATORS = {
    **dict.fromkeys(
        (
            'AveragePool',
            'BatchNormalization',
            'Clip',
            'Conv',
            'ConvTranspose',
            'Exp',
            'Floor',
            'Gemm',
            'GlobalAveragePool',
            'GlobalMaxPool',
            'LeakyRelu',
            'Log',
            'MatMul',
            'MaxPool',
            'Pow',
            'Reciprocal',
            'Round',
            'Sigmoid',
            'Softmax',
            'Sqrt',
            'Tanh',
            'InstanceNormalization',
            'LayerNormalization',
        ),
        FLOATS,
    ),
    **dict.fromkeys(
        (
            'Abs',
            'Add',
            'Div',
            'Equal',
            'Greater',
            'GreaterOrEqual',
            'Less',
            'LessOrEqual',
            'Max',
            'Min',
            'Mod',
            'Mul',
            'Neg',
            'Pad',
            'Range',
            'ReduceMax',
            'ReduceMean',
            'ReduceMin',
            'ReduceSum',
            'Relu',
            'Sub',
            'Sum',
        ),
        NUMBERS,
    ),
    **dict.fromkeys(
        (
            'Concat',
            'Constant',
            'ConstantOfShape',
            'Expand',
            'Flatten',
            'Gather',
            'Identity',
            'Reshape',
            'Resize',
            'Shape',
            'Slice',
            'Split',
            'Squeeze',
            'Tile',
            'Transpose',
            'Unsqueeze',
            'Where',
        ),
        ANYTHING,
    ),
    **dict.fromkeys(('And', 'Not', 'Or'), {'BOOL'}),
    'If': ANYTHING,
    'Cast': ANYTHING | {'UINT8'},
}
COMPARISONS = {'Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'}
# Attributes of Resize, and the values that are supported.
RESIZE = {
    'mode': {'nearest', 'linear'},
    'coordinate_transformation_mode': {
        'half_pixel',
        'pytorch_half_pixel',
        'tf_half_pixel_for_nn',
        'asymmetric',
        'align_corners',
    },
    'nearest_mode': {'floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil'},
}
NEEDS_CONSTANT_AXES = {'Squeeze': 1, 'Unsqueeze': 1, 'Slice': 3}


def beyond_tensorrt(model: onnx.ModelProto) -> list[str]:
    """The parts of a model that the parser rejects or needs a plugin for; empty if none."""
    found = [
        f'opset {entry.version} of {entry.domain or "onnx"}'
        for entry in model.opset_import
        if entry.domain or entry.version not in OPSETS
    ]
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    found += [f'function {function.name}' for function in model.functions]
    return found + list(_beyond(model.graph, {}, set()))


def _beyond(graph: onnx.GraphProto, types: dict[str, str], constants: set[str]) -> Iterator[str]:
    kind = onnx.TensorProto.DataType.Name
    types = {
        **types,
        **{tensor.name: kind(tensor.data_type) for tensor in graph.initializer},
        **{
            value.name: kind(value.type.tensor_type.elem_type)
            for value in (*graph.input, *graph.output, *graph.value_info)
        },
    }
    constants = (
        constants
        | {tensor.name for tensor in graph.initializer}
        | {node.output[0] for node in graph.node if node.op_type == 'Constant'}
    )
    for node in graph.node:
        if node.op_type not in OPERATORS or node.domain:
            yield f'{node.op_type} ({node.name})'
            continue
        allowed = OPERATORS[node.op_type]
        of_outputs = {'BOOL'} if node.op_type in COMPARISONS else allowed
        if node.op_type == 'If':
            allowed = {'BOOL'}
        for names, known in ((node.input, allowed), (node.output, of_outputs)):
            for name in filter(None, names):
                if types.get(name, 'unknown') not in known:
                    yield f'{node.op_type} of {types.get(name, "unknown")} ({node.name})'
        axes = NEEDS_CONSTANT_AXES.get(node.op_type, len(node.input))
        if axes < len(node.input) and node.input[axes] not in constants:
            yield f'{node.op_type} by computed axes ({node.name})'
        yield from _unknown_resize(node)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _beyond(attribute.g, types, constants)
            for subgraph in attribute.graphs:
                yield from _beyond(subgraph, types, constants)


def _unknown_resize(node: onnx.NodeProto) -> Iterator[str]:
    """The attributes of a Resize that have values which are not supported."""
    for attribute in node.attribute:
        value = attribute.s.decode()
        if node.op_type == 'Resize' and value not in RESIZE.get(attribute.name, {value}):
            yield f'Resize with {attribute.name} {value} ({node.name})'
