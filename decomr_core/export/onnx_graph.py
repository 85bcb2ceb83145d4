"""Post-processing of ONNX files: metadata about their origin, and half precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

try:
    import onnx
except ImportError as error:
    raise ImportError('the package onnx is not installed: pip install onnx') from error

__all__ = ['convert_to_half', 'read_notes', 'write_notes']

PRODUCTS = {'Conv', 'Gemm', 'MatMul'}
"""Operators with nearly all of the arithmetic; those with constant weights use half precision."""

COMPANIONS = {
    'Add',
    'AveragePool',
    'Concat',
    'Flatten',
    'GlobalAveragePool',
    'LeakyRelu',
    'MaxPool',
    'Relu',
    'Reshape',
    'Resize',
    'Unsqueeze',
}
"""Operators that run in half precision between two nodes in half precision."""

NORMALISATION = {'BatchNormalization', 'InstanceNormalization', 'LayerNormalization', 'Mul'}
"""Operators whose sums exceed the range of float16; `Mul` is a part of group normalisation."""

NUM_DATA_INPUTS = {'Reshape': 1, 'Resize': 1, 'Unsqueeze': 1}
"""Number of data inputs; the further inputs are sizes, whose type is fixed."""

TAKES_ANY_TYPE = {'Cast', 'Shape'}

STAYS_FLOAT32 = ('/alignment/', '/rigid_surface/')
"""Parts of the names of nodes that solve equations, which half precision is too coarse for."""


def write_notes(path: str | Path, notes: Mapping[str, str]) -> None:
    """Sets entries of a model's `metadata_props`; keeps the others.

    Args:
        path: the ONNX file to change.
        notes: text by name.
    """
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {**_notes(model), **notes})
    onnx.save(model, path)


def read_notes(path: str | Path) -> dict[str, str]:
    """The `metadata_props` of an ONNX file: text by name."""
    return _notes(onnx.load(path))


def _notes(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def convert_to_half(path: str | Path) -> None:
    """Rewrites an exported float32 network for engines that compute in the types of the graph.

    Convolutions and linear layers with their weights become float16, and so do the nodes between
    them. Inputs, outputs, counting, positions, alignment, rigid surface and normalisation stay
    float32. So does the last layer of each head, because the 11 bits of float16 are 0.5 mm at a
    metre and a hundredth of a texel.

    Args:
        path: the ONNX file to change.

    Raises:
        ValueError: a weight is out of the range of float16.
    """
    model = onnx.load(path)
    _HalfPrecision(model.graph).convert()
    onnx.checker.check_model(model, full_check=True)  # checks the types of all edges
    onnx.save(model, path)


class _HalfPrecision:
    """Converts one graph in place."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.origin = {name: name for name in self.constants}  # resolves aliases of constants
        self.nodes = []
        for node in graph.node:
            if node.op_type == 'Constant':
                self.constants[node.output[0]] = node.attribute[0].t
                self.origin[node.output[0]] = node.output[0]
            elif node.op_type == 'Identity' and node.input[0] in self.constants:
                # The exporter stores equal weights once, with identities as aliases.
                self.constants[node.output[0]] = self.constants[node.input[0]]
                self.origin[node.output[0]] = self.origin[node.input[0]]
            else:
                self.nodes.append(node)
        self.producer = {name: node.name for node in self.nodes for name in node.output}
        self.consumers = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)
        self.half = self._choose()

    def convert(self) -> None:
        """Converts weights and inserts casts between half precision and float32."""
        casts: dict[str, str] = {}
        nodes = []
        for node in self.graph.node:
            if node.op_type in TAKES_ANY_TYPE or node.output[0] in self.constants:
                nodes.append(node)
                continue
            is_half = node.name in self.half
            for place in range(NUM_DATA_INPUTS.get(node.op_type, len(node.input))):
                name = node.input[place]
                if is_half and name in self.constants:
                    node.input[place] = self._half_constant(name)
                elif name in self.producer and is_half != (self.producer[name] in self.half):
                    # A tensor is cast in one direction only.
                    if name not in casts:
                        casts[name] = f'{name}_as_{"half" if is_half else "float"}'
                        kind = onnx.TensorProto.FLOAT16 if is_half else onnx.TensorProto.FLOAT
                        nodes.append(
                            onnx.helper.make_node(
                                'Cast', [name], [casts[name]], f'{casts[name]}_cast', to=kind
                            )
                        )
                    node.input[place] = casts[name]
            nodes.append(node)
        self._replace_nodes(nodes)

    def _replace_nodes(self, nodes: list[onnx.NodeProto]) -> None:
        """Replaces the nodes of the graph and drops unused constants."""
        used = {
            name for node in nodes if node.output[0] not in self.constants for name in node.input
        }
        used |= {self.origin[name] for name in used & self.origin.keys()}
        kept = [
            node
            for node in nodes
            if node.output[0] not in self.constants or node.output[0] in used
        ]
        weights = [tensor for tensor in self.graph.initializer if tensor.name in used]
        self.graph.ClearField('value_info')
        for field, values in (('node', kept), ('initializer', weights)):
            self.graph.ClearField(field)
            getattr(self.graph, field).extend(values)

    def _choose(self) -> set[str]:
        """The names of the nodes that run in half precision."""
        outputs = {output.name for output in self.graph.output}
        reaches_product: set[str] = set()  # nodes whose result reaches a product with weights
        reaches_output: set[str] = set()  # nodes that reach an output without such a product
        for node in reversed(self.nodes):
            consumers = [other for name in node.output for other in self.consumers[name]]
            if any(
                self._is_product(other)
                or other.name in reaches_product
                and other.op_type in COMPANIONS | NORMALISATION
                for other in consumers
            ):
                reaches_product.add(node.name)
            if outputs & set(node.output) or any(
                other.name in reaches_output and not self._is_product(other) for other in consumers
            ):
                reaches_output.add(node.name)
        candidates: set[str] = set()
        for node in self.nodes:
            starts = self._is_product(node) and node.name in reaches_product - reaches_output
            follows = node.op_type in COMPANIONS and any(
                self.producer.get(name) in candidates for name in node.input
            )
            if (starts or follows) and not outputs & set(node.output):
                candidates.add(node.name)
        half: set[str] = set()
        for node in reversed(self.nodes):
            is_needed = any(
                other.name in half for name in node.output for other in self.consumers[name]
            )
            if node.name in candidates and (self._is_product(node) or is_needed):
                half.add(node.name)
        return half

    def _is_product(self, node: onnx.NodeProto) -> bool:
        return (
            node.op_type in PRODUCTS
            and not any(part in node.name for part in STAYS_FLOAT32)
            and node.input[0] in self.producer
            and node.input[1] in self.constants
        )

    def _half_constant(self, name: str) -> str:
        """The name of a constant's float16 copy, created on the first call."""
        half_name = f'{self.origin[name]}_half'
        if half_name not in self.origin:
            with np.errstate(over='ignore'):
                values = onnx.numpy_helper.to_array(self.constants[name]).astype(np.float16)
            if not np.isfinite(values).all():
                raise ValueError(
                    f'the weights {name} are out of the range of float16 '
                    "(65504); export in float32: precision='f32'"
                )
            self.origin[half_name] = half_name
            self.graph.initializer.append(onnx.numpy_helper.from_array(values, half_name))
        return half_name
