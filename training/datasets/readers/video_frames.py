"""Extracts video frames to image files, which training can read in any order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2

from training.records.image_files import write_image

__all__ = ['extract_frames']


def extract_frames(video: Path, targets: Mapping[int, Path], mirrored: bool = False) -> None:
    """Writes frames of a video to image files; existing files are kept.

    If the video ends early, the remaining frames are skipped.

    Args:
        video: the file.
        targets: output file by frame number; the first frame is 0.
        mirrored: whether to swap left and right.

    Raises:
        ValueError: the video cannot be read.
        OSError: an image cannot be written.
    """
    missing = {number: path for number, path in targets.items() if not path.exists()}
    if not missing:
        return
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise ValueError(
                f'{video} cannot be read as a video; download it again, or extract '
                f'its frames with another tool, to {min(targets.values())} etc.'
            )
        for number in range(max(missing) + 1):
            if not capture.grab():
                return
            if number in missing:
                _, frame = capture.retrieve()
                write_image(missing[number], cv2.flip(frame, 1) if mirrored else frame)
    finally:
        capture.release()
