"""Person detector: EfficientDet-Lite0 (Tan, Pang and Le, CVPR 2020) reduced to one class.

The package contains two network files, made by `tools/bake_person_detector.py`: an int8 one for
CPUs and a float32 one for GPUs. Their graphs end with decoded boxes. Non-maximum suppression is
done here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from decomr_core.base.assets import DETECTOR_REMEDY, find_detector
from decomr_core.base.hardware import has_int8_dot_products
from decomr_core.geometry.crop import as_stored, check_image
from decomr_core.people.detection import Detections, clip_boxes
from decomr_core.runtimes import available_runtimes, check_runtime

__all__ = ['INPUT_NAME', 'INPUT_SIZE', 'OUTPUT_NAMES', 'PersonDetector']

INPUT_NAME, OUTPUT_NAMES = 'image', ('boxes', 'scores')
RUNTIMES = ('openvino', 'onnxruntime')
INPUT_SIZE = 448, 320
"""Width and height of the network's input, px."""

HEIGHT_NOISE = 0.125
"""Standard deviation of the logarithm of the boxes' heights, measured on 252 people in 117
photographs."""

DOUBTFUL_SHARE = 0.5
"""Boxes from this share of the score threshold on are reported as `Detections.doubtful`."""

TILE_OVERLAP = 0.2
"""Overlap of neighbouring tiles, as a share of their side."""
CUT_MARGIN = 0.03
"""A box that ends closer to the border of a tile than this share of the tile's side is dropped as
cut off, unless the image ends there too: the next tile or the whole image shows more."""

Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""The network: (1, 320, 448, 3) uint8 RGB to boxes (N, 4), px of that, and scores (N,)."""


class PersonDetector:
    """Detects people who stand, sit, bend or are cut off by the border of the image.

    The image is resized to 448 x 320 px. People smaller than 25 px in it (70 px in an image of
    1280 x 720 px) are mostly missed. With `tiles`, parts of the image are searched as well.
    """

    def __init__(
        self,
        *,
        tiles: int = 1,
        min_score: float = 0.3,
        max_overlap: float = 0.45,
        runtime: str = 'auto',
        provider: str = 'cpu',
        num_threads: int = 1,
    ) -> None:
        """Loads the network.

        Args:
            tiles: n: besides the whole image, n x n overlapping parts of it are searched for small
                people; 1: only the whole image.
            min_score: score threshold. Boxes from half of it on are reported as doubtful.
            max_overlap: intersection over union above which the worse of two boxes is suppressed.
            runtime: `openvino`, `onnxruntime`, or `auto` for the first of them that is installed.
            provider: execution provider of `onnxruntime`: `cpu` or `cuda`.
            num_threads: CPU threads; 0: all cores. One thread leaves the other cores to the mesh
                network.

        Raises:
            FileNotFoundError: the network file is missing.
            ValueError: the network file is damaged, or a parameter is out of its range.
            RuntimeError: the runtime is not installed, or the provider does not work on this
                machine.
        """
        if tiles < 1 or not 0 < min_score <= 1 or not 0 < max_overlap <= 1:
            raise ValueError(
                f'tiles={tiles}, min_score={min_score}, max_overlap={max_overlap}: '
                'expected 1 tile or more, a score and an overlap above 0, up to 1'
            )
        self.tiles, self.min_score, self.max_overlap = tiles, min_score, max_overlap
        self._forward = _load(runtime, provider, num_threads)

    def __call__(self, image: np.ndarray) -> Detections:
        """Detects the people in an (H, W, 3) uint8 RGB image."""
        check_image(image)
        height, width = image.shape[:2]
        parts = [(0, 0, width, height)]
        if self.tiles > 1:
            parts += _tiles(width, height, self.tiles)
        results = [self._detect(image, part) for part in parts]
        boxes, scores = (np.concatenate(values) for values in zip(*results, strict=True))
        kept = _best(boxes, scores, DOUBTFUL_SHARE * self.min_score, self.max_overlap)
        found = Detections(boxes[kept], scores[kept], height_noise=HEIGHT_NOISE)
        return replace(found, doubtful=found.select(np.arange(0))).with_min_score(self.min_score)

    def _detect(
        self, image: np.ndarray, part: tuple[int, int, int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4), image px, and scores (N,) of the people in one part of an image."""
        left, top, right, bottom = part
        pixels, is_bgr = as_stored(image[top:bottom, left:right])
        width, height = right - left, bottom - top
        zoom = min(INPUT_SIZE[0] / width, INPUT_SIZE[1] / height)
        size = max(round(width * zoom), 1), max(round(height * zoom), 1)
        small = cv2.resize(
            pixels, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        )
        canvas = np.zeros((1, INPUT_SIZE[1], INPUT_SIZE[0], 3), np.uint8)
        canvas[0, : size[1], : size[0]] = small[..., ::-1] if is_bgr else small
        boxes, scores = self._forward(canvas)
        is_person = scores >= DOUBTFUL_SHARE * self.min_score
        boxes, scores = boxes[is_person], scores[is_person]
        boxes = boxes * np.array([width / size[0], height / size[1]] * 2) - 0.5
        boxes, inside = clip_boxes(boxes.astype(np.float32), width, height)
        boxes = boxes + np.array([left, top] * 2, np.float32)
        inside &= ~_is_cut(boxes, part, image.shape[1], image.shape[0])
        return boxes[inside], scores[inside]


def _best(
    boxes: np.ndarray, scores: np.ndarray, min_score: float, max_overlap: float
) -> np.ndarray:
    """Indices of the boxes (N, 4) that non-maximum suppression keeps, best first."""
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), min_score, max_overlap)
    return np.asarray(kept, np.int64).reshape(-1)


def _tiles(width: int, height: int, count: int) -> list[tuple[int, int, int, int]]:
    """left, top, right, bottom of count x count overlapping tiles that cover an image, px."""

    def spans(length: int) -> list[tuple[int, int]]:
        """Start and end of the tiles along one side."""
        side = length / (1 + (count - 1) * (1 - TILE_OVERLAP))
        starts = np.linspace(0, length - side, count)
        return [(int(start), min(int(np.ceil(start + side)), length)) for start in starts]

    return [
        (left, top, right, bottom) for top, bottom in spans(height) for left, right in spans(width)
    ]


def _is_cut(
    boxes: np.ndarray, part: tuple[int, int, int, int], width: int, height: int
) -> np.ndarray:
    """Which boxes (N, 4), image px, are cut off by a border of their tile, (N,) bool."""
    left, top, right, bottom = part
    margin = CUT_MARGIN * np.array([right - left, bottom - top])
    before = (boxes[:, :2] < (left, top) + margin) & (np.array([left, top]) > 0)
    after = (boxes[:, 2:] > (right, bottom) - margin) & (
        np.array([right, bottom]) < (width, height)
    )
    is_cut: np.ndarray = before | after
    return np.any(is_cut, axis=1)


def _load(runtime: str, provider: str, num_threads: int) -> Forward:
    if runtime not in ('auto', *RUNTIMES):
        raise ValueError(
            f'the detector has no runtime {runtime!r}, expected one of: auto, '
            f'{", ".join(RUNTIMES)}'
        )
    if runtime == 'auto':
        installed = [name for name in RUNTIMES if name in available_runtimes()]
        runtime = [*installed, *RUNTIMES][0] if provider == 'cpu' else 'onnxruntime'
    check_runtime(runtime)
    if runtime == 'onnxruntime':
        return _in_onnxruntime(provider, num_threads)
    if provider != 'cpu':
        raise ValueError(f"the provider {provider} needs runtime='onnxruntime'")
    return _in_openvino(num_threads)


def _precision() -> str:
    """The model for CPUs: `int8`, or `float` where sums of int8 products saturate.

    Measured on a CPU with AVX2 on 292 people: recall 0.78 in int8 and 0.82 in float, at 1.5 times
    the time.
    """
    return 'int8' if has_int8_dot_products() else 'float'


def _in_openvino(num_threads: int) -> Forward:
    from decomr_core.runtimes.openvino_runtime import compile_model

    path = find_detector(_precision())
    options = {'INFERENCE_NUM_THREADS': num_threads} if num_threads else {}
    try:
        # If the network is quantised to int8, bfloat16 for the remaining layers is slower.
        request = compile_model(path, {'INFERENCE_PRECISION_HINT': 'f32', **options})
        inputs = request.get_tensor(INPUT_NAME)
        outputs = [request.get_tensor(name) for name in OUTPUT_NAMES]
    except RuntimeError as error:
        raise ValueError(_damage(path, error)) from error

    def forward(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Forward`. The next call overwrites the arrays."""
        inputs.data[:] = canvas
        request.infer()
        return outputs[0].data[0], outputs[1].data[0]

    return forward


def _in_onnxruntime(provider: str, num_threads: int) -> Forward:
    from decomr_core.runtimes.onnxruntime_runtime import open_model

    path = find_detector(_precision() if provider == 'cpu' else 'float')
    try:
        session = open_model(path, provider, num_threads)
    except ValueError as error:
        raise ValueError(_damage(path, error)) from error
    names = [port.name for port in (*session.get_inputs(), *session.get_outputs())]
    if names != [INPUT_NAME, *OUTPUT_NAMES]:
        raise ValueError(_damage(path, f'it takes and gives {", ".join(names)}'))
    run = functools.partial(session.run, list(OUTPUT_NAMES))

    def forward(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Forward`."""
        boxes, scores = run({INPUT_NAME: canvas})
        return boxes[0], scores[0]

    return forward


def _damage(path: object, error: object) -> str:
    return (
        f'{path} is damaged ({str(error).splitlines()[-1]}); reinstall decomr, or make the '
        f'file anew: {DETECTOR_REMEDY}'
    )
