"""What is done to an ONNX file after PyTorch wrote it: notes about its origin, half precision."""

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
"""Nearly all of the arithmetic: where they multiply by weights, they run in half precision."""

COMPANIONS = {'Add', 'AveragePool', 'Concat', 'Flatten', 'GlobalAveragePool', 'LeakyRelu',
              'MaxPool', 'Relu', 'Reshape', 'Resize', 'Unsqueeze'}
"""They run in half precision between two nodes that do."""

NORMALISATION = {'BatchNormalization', 'InstanceNormalization', 'LayerNormalization', 'Mul'}
"""Their sums leave the range of float16; `Mul` is the second half of group normalisation."""

NUM_DATA_INPUTS = {'Reshape': 1, 'Resize': 1, 'Unsqueeze': 1}
"""The inputs behind these are sizes, whose type is fixed."""

TAKES_ANY_TYPE = {'Cast', 'Shape'}

STAYS_FLOAT32 = '/alignment/'
"""In the names of nodes that solve equations, which half precision does not do."""


def write_notes(path: str | Path, notes: Mapping[str, str]) -> None:
    """Sets entries of a model's `metadata_props`; others stay.

    Args:
        path: of the ONNX file, which is changed.
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
    """Rewrites an exported float32 network for engines that compute in the types they are given.

    Convolutions and linear layers with their weights become float16, with what lies between
    them. float32 stay: the inputs and outputs, everything that counts, places, aligns or
    normalises, and the last layer of each head, since 11 bits are 0.5 mm of a metre and a
    hundredth of a texel.

    Args:
        path: of the ONNX file, which is changed.

    Raises:
        ValueError: a weight is out of the range of float16.
    """
    model = onnx.load(path)
    _HalfPrecision(model.graph).convert()
    onnx.checker.check_model(model, full_check=True)  # the types fit at every edge
    onnx.save(model, path)


class _HalfPrecision:
    """Turns one graph, in place."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.origin = {name: name for name in self.constants}  # of constants under other names
        self.nodes = []
        for node in graph.node:
            if node.op_type == 'Constant':
                self.constants[node.output[0]] = node.attribute[0].t
                self.origin[node.output[0]] = node.output[0]
            elif node.op_type == 'Identity' and node.input[0] in self.constants:
                # The exporter stores equal weights once.
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
        """Changes types of weights and adds casts where they meet float32."""
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
                    # A tensor crosses in one direction only.
                    if name not in casts:
                        casts[name] = f'{name}_as_{"half" if is_half else "float"}'
                        kind = onnx.TensorProto.FLOAT16 if is_half else onnx.TensorProto.FLOAT
                        nodes.append(onnx.helper.make_node(
                            'Cast', [name], [casts[name]], f'{casts[name]}_cast', to=kind))
                    node.input[place] = casts[name]
            nodes.append(node)
        self._replace_nodes(nodes)

    def _replace_nodes(self, nodes: list[onnx.NodeProto]) -> None:
        """Puts these nodes into the graph, without constants that none of them reads."""
        used = {name for node in nodes if node.output[0] not in self.constants
                for name in node.input}
        used |= {self.origin[name] for name in used & self.origin.keys()}
        kept = [node for node in nodes
                if node.output[0] not in self.constants or node.output[0] in used]
        weights = [tensor for tensor in self.graph.initializer if tensor.name in used]
        self.graph.ClearField('value_info')
        for field, values in (('node', kept), ('initializer', weights)):
            self.graph.ClearField(field)
            getattr(self.graph, field).extend(values)

    def _choose(self) -> set[str]:
        """The names of the nodes that run in half precision."""
        outputs = {output.name for output in self.graph.output}
        leads_on: set[str] = set()  # nodes whose result reaches a product with weights
        leads_out: set[str] = set()  # and an output of the graph, past no such product
        for node in reversed(self.nodes):
            after = [other for name in node.output for other in self.consumers[name]]
            if any(self._is_product(other) or other.name in leads_on and
                   other.op_type in COMPANIONS | NORMALISATION for other in after):
                leads_on.add(node.name)
            if outputs & set(node.output) or any(
                    other.name in leads_out and not self._is_product(other) for other in after):
                leads_out.add(node.name)
        candidates: set[str] = set()
        for node in self.nodes:
            begins = self._is_product(node) and node.name in leads_on - leads_out
            follows = node.op_type in COMPANIONS and any(
                self.producer.get(name) in candidates for name in node.input)
            if (begins or follows) and not outputs & set(node.output):
                candidates.add(node.name)
        half: set[str] = set()
        for node in reversed(self.nodes):
            is_needed = any(other.name in half for name in node.output
                            for other in self.consumers[name])
            if node.name in candidates and (self._is_product(node) or is_needed):
                half.add(node.name)
        return half

    def _is_product(self, node: onnx.NodeProto) -> bool:
        return (node.op_type in PRODUCTS and STAYS_FLOAT32 not in node.name
                and node.input[0] in self.producer and node.input[1] in self.constants)

    def _half_constant(self, name: str) -> str:
        """The name of a constant's copy in float16, made at the first call."""
        half_name = f'{self.origin[name]}_half'
        if half_name not in self.origin:
            with np.errstate(over='ignore'):
                values = onnx.numpy_helper.to_array(self.constants[name]).astype(np.float16)
            if not np.isfinite(values).all():
                raise ValueError(f'the weights {name} are out of the range of float16 '
                                 "(65504); export in float32: precision='f32'")
            self.origin[half_name] = half_name
            self.graph.initializer.append(onnx.numpy_helper.from_array(values, half_name))
        return half_name
