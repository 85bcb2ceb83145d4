"""Where the people are: what detectors answer, and the two that look at nothing.

Every detector is called with an image and answers `Detections`: boxes clipped to the image, best
first, the same for the same image. The crops' `scale` (see `crop.py`) expects boxes that touch
the person.
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
        looks: (N, K) colours of the people, see `appearance.py`; None: not looked at.
        time_s: when the image was taken, on the tracker's clock; None: the present image.
        height_noise: standard deviation of the logarithm of a box's height.
        doubtful: who scores too low to be reported, best first: these may go on with a person
            who is tracked, and begin nothing (Zhang et al., "ByteTrack", ECCV 2022); None: the
            detector does not say.
    """

    boxes: np.ndarray
    scores: np.ndarray
    looks: np.ndarray | None = None
    time_s: float | None = None
    height_noise: float = 0.08
    doubtful: Detections | None = None

    def at(self, indices: np.ndarray) -> Detections:
        """Those at some indices (K,), in their order."""
        looks = None if self.looks is None else self.looks[indices]
        return replace(self, boxes=self.boxes[indices], scores=self.scores[indices], looks=looks)

    def surer_than(self, min_score: float) -> Detections:
        """Those from a score on; the others become doubtful where the detector knows such."""
        is_sure = self.scores >= min_score
        doubtful = self.doubtful
        if doubtful is not None:
            doubtful = replace(
                doubtful, boxes=np.concatenate([self.boxes[~is_sure], doubtful.boxes]),
                scores=np.concatenate([self.scores[~is_sure], doubtful.scores]))
        return replace(self.at(np.flatnonzero(is_sure)), doubtful=doubtful)


Detector = Callable[[np.ndarray], Detections]
"""From an (H, W, 3) uint8 RGB image to the people in it."""


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
