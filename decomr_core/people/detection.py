"""Detections, and two detectors that ignore the image.

A detector is a function of an image. It returns `Detections`: boxes clipped to the image, best
first, the same for the same image. The `scale` of the crops (see `crop.py`) assumes tight boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from decomr_core.base.structures import check_shape
from decomr_core.geometry.crop import check_boxes

__all__ = ['Detections', 'Detector', 'GivenBoxes', 'WholeFrame', 'box_overlaps', 'clip_boxes']


@dataclass(frozen=True)
class Detections:
    """People in one image, best first.

    Attributes:
        boxes: (N, 4) float32 x_min, y_min, x_max, y_max, image px, inside the image.
        scores: (N,) float32 confidence in [0, 1].
        descriptors: (N, K) colours of the people, see `appearance.py`; None: not computed.
        time_s: time of the image on the tracker's clock; None: the present image.
        height_noise: standard deviation of the logarithm of a box's height.
        doubtful: detections below the score threshold, best first. They may continue a track but
            do not begin one (Zhang et al., "ByteTrack", ECCV 2022). None: the detector does not
            report them.
    """

    boxes: np.ndarray
    scores: np.ndarray
    descriptors: np.ndarray | None = None
    time_s: float | None = None
    height_noise: float = 0.08
    doubtful: Detections | None = None

    def select(self, indices: np.ndarray) -> Detections:
        """The detections at indices (K,), in that order."""
        descriptors = None if self.descriptors is None else self.descriptors[indices]
        return replace(
            self, boxes=self.boxes[indices], scores=self.scores[indices], descriptors=descriptors
        )

    def with_min_score(self, min_score: float) -> Detections:
        """The detections with this score or a higher one.

        The others become `doubtful` if the detector reports doubtful detections.
        """
        is_sure = self.scores >= min_score
        doubtful = self.doubtful
        if doubtful is not None:
            doubtful = replace(
                doubtful,
                boxes=np.concatenate([self.boxes[~is_sure], doubtful.boxes]),
                scores=np.concatenate([self.scores[~is_sure], doubtful.scores]),
            )
        return replace(self.select(np.flatnonzero(is_sure)), doubtful=doubtful)


Detector = Callable[[np.ndarray], Detections]
"""From an (H, W, 3) uint8 RGB image to the people in it."""


class WholeFrame:
    """Reports one person who fills the image, for images that are already cropped to a person."""

    def __call__(self, image: np.ndarray) -> Detections:
        """The box of the whole (H, W, 3) image, score 1."""
        height, width = image.shape[:2]
        box = np.array([[-0.5, -0.5, width - 0.5, height - 0.5]], np.float32)
        return Detections(box, np.ones(1, np.float32))


class GivenBoxes:
    """Reports the same given boxes for every image."""

    def __init__(self, boxes: np.ndarray, scores: np.ndarray | None = None) -> None:
        """Stores the boxes.

        Args:
            boxes: (N, 4) x_min, y_min, x_max, y_max, image px.
            scores: (N,) confidences in [0, 1]; None: all 1.
        """
        self.boxes = check_boxes(boxes)
        count = len(self.boxes)
        self.scores = np.asarray(np.ones(count) if scores is None else scores, np.float32)
        check_shape('scores', self.scores, (count,))

    def __call__(self, image: np.ndarray) -> Detections:
        """The boxes clipped to the (H, W, 3) image, without those entirely outside."""
        boxes, inside = clip_boxes(self.boxes, image.shape[1], image.shape[0])
        return Detections(boxes[inside], self.scores[inside])


def clip_boxes(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips boxes to an image.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max, image px.
        width: width of the image, px.
        height: height of the image, px.

    Returns:
        The clipped boxes (N, 4), and whether each is at least partly inside, (N,) bool.
    """
    low = np.float32(-0.5)
    high = np.array([width - 0.5, height - 0.5] * 2, np.float32)
    clipped = np.clip(boxes, low, high)
    return clipped, (clipped[:, 2:] > clipped[:, :2]).all(1)


def box_overlaps(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps of all pairs of boxes.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max, image px.
        others: (M, 4) as `boxes`.

    Returns:
        (N, M) intersection over union, and (N, M) intersection over the area of the smaller box.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.maximum(high - low, 0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]
    other_areas = (others[:, 2:] - others[:, :2]).prod(1)[None]
    tiny = np.finfo(np.float32).tiny
    return (
        both / np.maximum(areas + other_areas - both, tiny),
        both / np.maximum(np.minimum(areas, other_areas), tiny),
    )
