"""Frames of videos as image files, because training reads them in any order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2

from training.records.image_files import write_image

__all__ = ['extract_frames']


def extract_frames(video: Path, targets: Mapping[int, Path], mirrored: bool = False) -> None:
    """Writes frames of a video as image files; those that are there already stay.

    A video that ends early leaves the later ones out.

    Args:
        video: the file.
        targets: where each frame goes, by its number; the first is 0.
        mirrored: whether to swap left and right.

    Raises:
        ValueError: the video cannot be read.
        OSError: an image cannot be written.
    """
    wanted = {number: path for number, path in targets.items() if not path.exists()}
    if not wanted:
        return
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise ValueError(f'{video} cannot be read as a video; download it again, or extract '
                             f'its frames by other means, as {min(targets.values())}')
        for number in range(max(wanted) + 1):
            if not capture.grab():
                return
            if number in wanted:
                _, frame = capture.retrieve()
                write_image(wanted[number], cv2.flip(frame, 1) if mirrored else frame)
    finally:
        capture.release()
