"""Reads a TFLite file: its operators in order, their constants, scales and options.

Needs `pip install tflite==2.18.0`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['TfliteFile', 'TfliteOperator']


@dataclass(frozen=True)
class TfliteOperator:
    """One operator.

    Attributes:
        name: its name in `tflite.BuiltinOperator`, for example `CONV_2D`.
        inputs: indices of the input tensors.
        outputs: indices of the output tensors.
        table: table of its options, see `TfliteFile.options`.
    """

    name: str
    inputs: list[int]
    outputs: list[int]
    table: Any


class TfliteFile:
    """A TFLite file with one graph."""

    def __init__(self, path: Path, sha256: str) -> None:
        """Reads the file.

        Args:
            path: the file.
            sha256: the expected hash.

        Raises:
            ValueError: the file has another hash.
            ImportError: the Python module tflite is not installed.
        """
        import tflite

        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ValueError(
                f'{path} has the sha256 {found}, expected {sha256}; download the '
                'version in the docstring of the program'
            )
        self._tflite = tflite
        self._names = {
            value: name
            for name, value in vars(tflite.BuiltinOperator).items()
            if isinstance(value, int)
        }
        self._types = {
            tflite.TensorType.FLOAT16: np.float16,
            tflite.TensorType.INT8: np.int8,
            tflite.TensorType.INT32: np.int32,
        }
        self._model = tflite.Model.GetRootAsModel(data, 0)
        self._graph = self._model.Subgraphs(0)

    def operators(self) -> Iterator[TfliteOperator]:
        """All operators, in the order of the file."""
        for index in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(index)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            # Old files have the code only in the deprecated one-byte field.
            name = self._names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            yield TfliteOperator(
                name,
                operator.InputsAsNumpy().tolist(),
                operator.OutputsAsNumpy().tolist(),
                operator.BuiltinOptions(),
            )

    def constant(self, index: int) -> np.ndarray:
        """The values of a constant tensor."""
        tensor = self._graph.Tensors(index)
        data = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        values = np.frombuffer(data.tobytes(), self._types[tensor.Type()])
        return values.reshape(tensor.ShapeAsNumpy())

    def quantization(self, index: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Scales and zero points of a quantised tensor, and their axis."""
        found = self._graph.Tensors(index).Quantization()
        return (
            found.ScaleAsNumpy().astype(np.float64),
            found.ZeroPointAsNumpy().astype(np.int64),
            found.QuantizedDimension(),
        )

    def options(self, operator: TfliteOperator, kind: str) -> Any:
        """The options of an operator, read as a class of `tflite` by name."""
        options = getattr(self._tflite, kind)()
        options.Init(operator.table.Bytes, operator.table.Pos)
        return options
