"""Pedestrians found in `vtest.avi` of OpenCV's samples (Debian package opencv-doc), 10 Hz.

The video has no labels, so the reference is made here by methods that the node does not use. The
detector also runs on tiles of every second image, with a lower threshold; and since the camera is
fixed, the median of the video is the empty street. A reference person is a detection of at least
60 px height in whose middle at least a quarter of the pixels differ from the empty street, and
which overlaps a detection in the two searched images before or after. Because the reference uses
the detector under test, it lacks people whom the detector finds at no scale.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from decomr_core.estimation.detectors import load_detector
from decomr_core.estimator import HumanMeshEstimator
from decomr_core.people.appearance import box_descriptors
from decomr_core.people.detection import Detections, Detector, box_overlaps
from decomr_core.people.tracking import Tracker, TrackerConfig
from decomr_core.runtimes import Runtime

__all__ = ['VIDEO', 'measure_pedestrians', 'read_video']

VIDEO = Path('/usr/share/doc/opencv-doc/examples/data/vtest.avi')
RATE_HZ, STRIDE, LATE_IMAGES = 10, 10, 1
"""Rate of the video; stride of the detector; delay of its results, images, as on two cores."""
SMALLEST_PX, SEARCH_EVERY = 60, 2
FINE: dict[str, Any] = {'tiles': 2, 'min_score': 0.2}
MOVED_LEVEL, MOVED_SHARE, NEIGHBOUR_OVERLAP, FOUND_OVERLAP = 25, 0.25, 0.4, 0.3
STILL_SHARE = 0.1
"""Meshes whose boxes have a smaller share of moving pixels are false, or of standing people."""


class _LateTracker(Tracker):
    """Takes the detections in an image `LATE_IMAGES` images later."""

    def __init__(self, detector: Detector) -> None:
        super().__init__(TrackerConfig(detect_every=STRIDE))
        self._detector, self._age = detector, 0
        self._found: Detections | None = None

    def is_detection_due(self, image_size: tuple[int, int], time_s: float | None = None) -> bool:
        return self._found is not None and self._age >= LATE_IMAGES

    def take(self, image: np.ndarray) -> Detections:
        found, self._found = self._found, None
        assert found is not None  # called only if `is_detection_due`
        return found

    def detect_if_due(self, image: np.ndarray) -> None:
        if self._found is None and self.should_search_present_image:
            found = self._detector(image)
            self._found = replace(
                found, descriptors=box_descriptors(image, found.boxes), time_s=self.now_s
            )
            self._age = 0
        self._age += 1


def read_video(count: int) -> np.ndarray:
    """The first images, (T, 576, 768, 3) uint8 RGB."""
    video = cv2.VideoCapture(str(VIDEO))
    images: list[np.ndarray] = []
    while len(images) < count:
        is_read, image = video.read()
        if not is_read:
            break
        images.append(np.ascontiguousarray(image[..., ::-1]))
    return np.stack(images)


def measure_pedestrians(runtime: Runtime, images: np.ndarray) -> dict[str, Any]:
    """Shares of images with a person found, of people found, and of meshes without motion."""
    street = np.median(images[::8], 0).astype(np.int16)
    moved = [(np.abs(image - street).max(-1) > MOVED_LEVEL) for image in images[::SEARCH_EVERY]]
    truth = reference(images, moved)
    tracker = _LateTracker(load_detector())
    estimator = HumanMeshEstimator(runtime, tracker.take, tracker)
    found, people, with_people, with_found, ghosts, shown, numbers = 0, 0, 0, 0, 0, 0, set()
    for index, image in enumerate(images):
        meshes, _ = estimator.estimate(image, time_s=index / RATE_HZ)
        tracker.detect_if_due(image)
        numbers |= {mesh.track_id for mesh in meshes}
        if index % SEARCH_EVERY:
            continue
        boxes = np.array([mesh.box for mesh in meshes], np.float32).reshape(-1, 4)
        true = truth[index // SEARCH_EVERY]
        shown += len(boxes)
        ghosts += sum(_share(moved[index // SEARCH_EVERY], box) < STILL_SHARE for box in boxes)
        if len(true):
            hits = (box_overlaps(true, boxes)[0] > FOUND_OVERLAP).any(1).sum()
            found, people = found + int(hits), people + len(true)
            with_people, with_found = with_people + 1, with_found + int(hits > 0)
    return {
        'images': len(images),
        'images_with_people': with_people,
        'images_found': with_found / max(with_people, 1),
        'people_found': found / max(people, 1),
        'people_per_image': people / len(truth),
        'meshes_without_motion': ghosts / max(shown, 1),
        'numbers': len(numbers),
        'detector_stride': STRIDE,
        'detector_late_images': LATE_IMAGES,
    }


def reference(images: np.ndarray, moved: list[np.ndarray]) -> list[np.ndarray]:
    """The boxes (P, 4) of people in every `SEARCH_EVERY`th image, px."""
    fine = load_detector(**FINE)
    seen = [fine(image).boxes for image in images[::SEARCH_EVERY]]
    people = []
    for index, boxes in enumerate(seen):
        near = seen[max(index - 2, 0) : index] + seen[index + 1 : index + 3]
        people.append(
            np.array(
                [
                    box
                    for box in boxes
                    if box[3] - box[1] >= SMALLEST_PX
                    and _share(moved[index], _middle(box)) >= MOVED_SHARE
                    and any(
                        (box_overlaps(box[None], other)[0] > NEIGHBOUR_OVERLAP).any()
                        for other in near
                    )
                ],
                np.float32,
            ).reshape(-1, 4)
        )
    return people


def _middle(box: np.ndarray) -> np.ndarray:
    """The central part of a box (4,): half of its width and three quarters of its height."""
    width, height = box[2:] - box[:2]
    inset = np.array([width / 4, height / 8])
    return np.concatenate([box[:2] + inset, box[2:] - inset])


def _share(mask: np.ndarray, box: np.ndarray) -> float:
    """Share of the pixels in a box (4,) that are set in the mask."""
    x_min, y_min, x_max, y_max = np.maximum(np.round(box), 0).astype(int)
    inside = mask[y_min : y_max + 1, x_min : x_max + 1]
    return float(inside.mean()) if inside.size else 0.0
