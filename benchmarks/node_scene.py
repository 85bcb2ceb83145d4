"""Images for the node's benchmarks: people from the demo clip, pasted into a larger image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from decomr_core.estimation.detectors import load_detector
from decomr_ros.bags.video_frames import VideoFrames

__all__ = ['crowd', 'people_entering_and_leaving']

SIZE = (1280, 720)
"""Width and height of the image, px."""
COLUMNS, ROWS = 10, 2
"""Grid of people in the image."""
PERSON_PX = 220
"""Height of each person's box in the image."""
MARGIN = 0.15
"""Margin that is cut out around a person's box, as a share of its height."""
PAUSE_FRAMES = 45
"""Blank images between two passes of the clip, so many that every track ends."""
GRAY = 110


def crowd(count: int, video: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image with people side by side.

    Args:
        count: number of people, at most 20.
        video: source of the people; the detector must find people in it.

    Returns:
        (720, 1280, 3) uint8 BGR, and the (count, 4) boxes x_min, y_min, x_max, y_max, px.

    Raises:
        ValueError: too many people.
    """
    if not 1 <= count <= COLUMNS * ROWS:
        raise ValueError(f'{count} people requested, expected 1 to {COLUMNS * ROWS}')
    image = np.full((SIZE[1], SIZE[0], 3), GRAY, np.uint8)
    cell = np.array([SIZE[0] / COLUMNS, SIZE[1] / ROWS])
    boxes = []
    for place, (patch, box) in zip(range(count), itertools.cycle(_people(video, 5)), strict=False):
        column, row = place % COLUMNS, place // COLUMNS
        middle = (np.array([column, row]) + 0.5) * cell
        # Wide patches are cropped at the sides, so that they do not overlap.
        cut = max(0, round((patch.shape[1] - cell[0]) / 2))
        patch = patch[:, cut : patch.shape[1] - cut]
        left, top = np.round(middle - (patch.shape[1] / 2, patch.shape[0] / 2)).astype(int)
        left, top = max(0, left), max(0, top)
        patch = patch[: SIZE[1] - top, : SIZE[0] - left]
        image[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
        boxes.append(box + (left - cut, top, left - cut, top))
    return image, np.array(boxes, np.float32)


def people_entering_and_leaving(video: Path) -> Iterator[np.ndarray]:
    """The frames of a clip, then a pause without people; each (H, W, 3) uint8 BGR."""
    frame = np.zeros((0, 0, 3), np.uint8)
    for _, frame in VideoFrames(video):
        yield frame
    for _ in range(PAUSE_FRAMES):
        yield np.full_like(frame, GRAY)


def _people(video: Path, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Patches with people whose boxes are PERSON_PX tall, and the boxes (4,) in them, px."""
    detector = load_detector()
    frames = [frame for _, frame in VideoFrames(video)]
    people = []
    for index in np.linspace(len(frames) / 4, len(frames) * 3 / 4, count).astype(int):
        frame = frames[index]
        found = detector(np.ascontiguousarray(frame[..., ::-1])).boxes
        if len(found):
            people.append(_cut_out(frame, found[0]))
    if not people:
        raise ValueError(
            f'the detector finds no people in {video}; choose a clip of people who walk'
        )
    return people


def _cut_out(frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A resized patch with a person and a margin, and the box (4,) in it, px."""
    margin = MARGIN * (box[3] - box[1])
    low = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
    high = np.ceil(box[2:] + margin).astype(int) + 1
    patch = frame[low[1] : high[1], low[0] : high[0]]
    zoom = PERSON_PX / (box[3] - box[1])
    patch = cv2.resize(patch, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    return patch, (box - (*low, *low)) * zoom
