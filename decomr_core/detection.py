"""Where the people are: the whole frame, OpenCV's HOG detector, or boxes from outside.

Every detector is called with an image and answers `Detections`: boxes clipped to the image, best
first, the same for the same image. The crops' `scale` (see `crop.py`) expects boxes that touch
the person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from decomr_core.crop import as_stored, check_boxes, check_image
from decomr_core.structures import check_shape

__all__ = ['DETECTORS', 'Detections', 'GivenBoxes', 'HogPeople', 'WholeFrame', 'box_overlaps',
           'clip_boxes', 'load_detector']

HOG_WINDOW_PX = (64, 128)
"""Width and height of what the people detector of Dalal and Triggs (CVPR 2005) looks at."""

HOG_PERSON = (0.55, 0.78)
"""Share of that window that the person fills, across and down; the rest is margin."""

HOG_HEIGHT_NOISE = 0.18
"""Standard deviation of the logarithm of its boxes' heights, of 183 rendered walkers."""


@dataclass(frozen=True)
class Detections:
    """People in one image, best first.

    Attributes:
        boxes: (N, 4) float32 x_min, y_min, x_max, y_max, image px, inside the image.
        scores: (N,) float32 confidence in [0, 1].
        looks: (N, K) colours of the people, see `appearance.py`; None: not looked at.
        time_s: when the image was taken, on the tracker's clock; None: the present image.
        height_noise: standard deviation of the logarithm of a box's height.
    """

    boxes: np.ndarray
    scores: np.ndarray
    looks: np.ndarray | None = None
    time_s: float | None = None
    height_noise: float = 0.08

    def at(self, indices: np.ndarray) -> Detections:
        """Those at some indices (K,), in their order."""
        looks = None if self.looks is None else self.looks[indices]
        return replace(self, boxes=self.boxes[indices], scores=self.scores[indices], looks=looks)


class WholeFrame:
    """One person, as large as the image: for pictures that are cut to a person already."""

    def __call__(self, image: np.ndarray) -> Detections:
        """The box of the whole (H, W, 3) image, score 1."""
        height, width = image.shape[:2]
        box = np.array([[-0.5, -0.5, width - 0.5, height - 0.5]], np.float32)
        return Detections(box, np.ones(1, np.float32))


class GivenBoxes:
    """The same boxes for every image, from outside."""

    def __init__(self, boxes: np.ndarray, scores: np.ndarray | None = None) -> None:
        """Keeps the boxes.

        Args:
            boxes: (N, 4) x_min, y_min, x_max, y_max, image px.
            scores: (N,) confidences in [0, 1]; None: all 1.
        """
        self.boxes = check_boxes(boxes)
        count = len(self.boxes)
        self.scores = np.asarray(np.ones(count) if scores is None else scores, np.float32)
        check_shape('scores', self.scores, (count,))

    def __call__(self, image: np.ndarray) -> Detections:
        """The boxes inside the (H, W, 3) image; one that is wholly outside is left out."""
        boxes, inside = clip_boxes(self.boxes, image.shape[1], image.shape[0])
        return Detections(boxes[inside], self.scores[inside])


class HogPeople:
    """Upright people, by OpenCV's histogram of gradients: no weights, one CPU, crude.

    Finds standing and walking people at least `smallest_px` tall whose whole body shows; misses
    people who sit, bend, are cut by the frame or stand in a crowd.
    """

    def __init__(self, *, smallest_px: float = 60.0, max_image_side: int = 1280,
                 stride_px: int = 8, pyramid_step: float = 1.25, min_score: float = 0.3,
                 max_overlap: float = 0.35) -> None:
        """Builds the detector.

        Args:
            smallest_px: height of the smallest person looked for, image px; the image is
                resized so that this person just fills the detector's window.
            max_image_side: but never to a longer side than this, px: bounds the time.
            stride_px: of the sliding window, a multiple of 8.
            pyramid_step: ratio between the sizes looked for, above 1.
            min_score: margin of the classifier below which nothing is reported.
            max_overlap: of two boxes that overlap more (intersection over union, or over the
                smaller one), the better stays.

        Raises:
            RuntimeError: this OpenCV has no HOG detector (OpenCV 5 dropped it).
            ValueError: a parameter is out of its range.
        """
        if not hasattr(cv2, 'HOGDescriptor'):
            raise RuntimeError(f'OpenCV {cv2.__version__} has no HOG detector; install '
                               '"opencv-python-headless<5" or give boxes')
        if smallest_px <= 0 or max_image_side < 1 or stride_px % 8 or not pyramid_step > 1:
            raise ValueError(
                f'HOG parameters smallest_px={smallest_px}, max_image_side={max_image_side}, '
                f'stride_px={stride_px}, pyramid_step={pyramid_step}: expected sizes above 0, a '
                'stride that is a multiple of 8 and a pyramid step above 1')
        self.smallest_px, self.max_image_side = smallest_px, max_image_side
        self.stride_px, self.pyramid_step = stride_px, pyramid_step
        self.min_score, self.max_overlap = min_score, max_overlap
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())

    def __call__(self, image: np.ndarray) -> Detections:
        """The people in an (H, W, 3) uint8 RGB image."""
        check_image(image)
        height, width = image.shape[:2]
        zoom = min(self.max_image_side / max(height, width),
                   HOG_WINDOW_PX[1] * HOG_PERSON[1] / self.smallest_px)
        size = round(width * zoom), round(height * zoom)
        if size[0] < HOG_WINDOW_PX[0] or size[1] < HOG_WINDOW_PX[1]:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        stored, is_bgr = as_stored(image)
        resized = cv2.resize(stored, size,
                             interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
        gray = cv2.cvtColor(resized, cv2.COLOR_BGR2GRAY if is_bgr else cv2.COLOR_RGB2GRAY)
        found, margins = self._hog.detectMultiScale(
            gray, hitThreshold=self.min_score, winStride=(self.stride_px, self.stride_px),
            padding=(8, 8), scale=self.pyramid_step, groupThreshold=0)
        if len(found) == 0:
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        windows, margins = np.asarray(found, np.float64), np.asarray(margins, np.float64).ravel()
        centers = (windows[:, :2] + windows[:, 2:] / 2) / zoom - 0.5
        halves = windows[:, 2:] * HOG_PERSON / 2 / zoom
        boxes = np.concatenate([centers - halves, centers + halves], 1).astype(np.float32)
        boxes, inside = clip_boxes(boxes, width, height)
        boxes, margins = boxes[inside], margins[inside]
        kept = best_boxes(boxes, margins, self.max_overlap)
        scores = 1 / (1 + np.exp(-2 * margins[kept]))
        return Detections(boxes[kept], scores.astype(np.float32), height_noise=HOG_HEIGHT_NOISE)


DETECTORS: dict[str, Callable[..., WholeFrame | HogPeople]] = {
    'hog': HogPeople, 'whole-frame': WholeFrame}
"""Detectors by name; boxes from outside need no name."""


def load_detector(name: str, **options: float) -> WholeFrame | HogPeople:
    """A detector by its name.

    Args:
        name: `hog` or `whole-frame`.
        options: what its constructor takes.

    Raises:
        ValueError: there is no such detector.
    """
    if name not in DETECTORS:
        raise ValueError(f'detector is {name!r}, expected one of: {", ".join(DETECTORS)}')
    return DETECTORS[name](**options)


def clip_boxes(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes cut at the edges of an image.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max, image px.
        width: of the image, px.
        height: of the image, px.

    Returns:
        The cut boxes (N, 4), and whether anything is left of each, (N,) bool.
    """
    low = np.float32(-0.5)
    high = np.array([width - 0.5, height - 0.5] * 2, np.float32)
    clipped = np.clip(boxes, low, high)
    return clipped, (clipped[:, 2:] > clipped[:, :2]).all(1)


def box_overlaps(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much boxes overlap.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max, image px.
        others: (M, 4) likewise.

    Returns:
        (N, M) intersection over union, and (N, M) intersection over the smaller of the two.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]
    other_areas = (others[:, 2:] - others[:, :2]).prod(1)[None]
    tiny = np.finfo(np.float32).tiny
    return (both / np.maximum(areas + other_areas - both, tiny),
            both / np.maximum(np.minimum(areas, other_areas), tiny))


def best_boxes(boxes: np.ndarray, margins: np.ndarray, max_overlap: float) -> np.ndarray:
    """Indices of the boxes left after non-maximum suppression, best first.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max, image px.
        margins: (N,) the higher the better.
        max_overlap: between two boxes that both stay: intersection over union; the same number
            plus 0.3 for the intersection over the smaller one.

    Returns:
        (K,) int64.
    """
    union, smaller = box_overlaps(boxes, boxes)
    clash = (union > max_overlap) | (smaller > max_overlap + 0.3)
    left = np.argsort(-margins, kind='stable').tolist()
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [index for index in left if not clash[best, index]]
    return np.array(kept, np.int64)
