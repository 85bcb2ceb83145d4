"""Frames and calibration for the video source, independent of ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import yaml

__all__ = ['Calibration', 'VideoFrames', 'read_calibration']

# Rate of a file without a plausible frame rate, Hz.
DEFAULT_RATE_HZ = 30.0
HIGHEST_RATE_HZ = 240.0
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')


class Calibration(NamedTuple):
    """A camera calibration."""

    size: tuple[int, int]
    """(width, height) of the calibration images, px."""
    intrinsics: np.ndarray
    """(3, 3) pinhole matrix, px of the calibration images."""
    distortion: list[float]
    """Coefficients of the distortion model."""
    distortion_model: str = 'plumb_bob'
    """sensor_msgs name: plumb_bob, rational_polynomial, equidistant."""

    def intrinsics_at(self, width: int, height: int) -> np.ndarray:
        """(3, 3) pinhole matrix of images resized to width x height, px."""
        scale = np.array([width / self.size[0], height / self.size[1]])
        intrinsics = self.intrinsics.copy()
        # Pixel centres are at integer coordinates, so the image starts at -0.5.
        intrinsics[:2, 2] = (intrinsics[:2, 2] + 0.5) * scale - 0.5
        intrinsics[0, :2] *= scale[0]
        intrinsics[1, 1] *= scale[1]
        return intrinsics


class VideoFrames:
    """The frames of a video file, a folder of images or a webcam.

    Attributes:
        rate_hz: frame rate of the video.
        is_live: whether it is a webcam, which determines the pace and never ends.
    """

    def __init__(
        self, video: str | Path, is_looping: bool = False, size: tuple[int, int] | None = None
    ) -> None:
        """Opens the video.

        Args:
            video: a file, a folder of images (in the order of their names) or /dev/videoN.
            is_looping: start again at the end.
            size: (width, height) to resize frames to, px; also requested from a webcam.

        Raises:
            FileNotFoundError: there is no such video.
            ValueError: it cannot be read as a video, or is a folder without images.
        """
        self.path = Path(video)
        self.is_live = str(video).startswith('/dev/')
        self._is_looping, self._size = is_looping, size
        if not self.path.exists():
            raise FileNotFoundError(
                f'there is no video {video}; give a video file, a folder of '
                'images or a device such as /dev/video0'
            )
        self.rate_hz = DEFAULT_RATE_HZ
        if self.path.is_dir():
            if not self._images():
                raise ValueError(
                    f'the folder {self.path} contains no images '
                    f'({", ".join(IMAGE_SUFFIXES)}); give another folder, or a '
                    'video file'
                )
        else:
            capture = self._open()
            rate_hz = capture.get(cv2.CAP_PROP_FPS)
            capture.release()
            if 0 < rate_hz <= HIGHEST_RATE_HZ:
                self.rate_hz = rate_hz

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Index in the video and pixels, (H, W, 3) uint8 BGR, of each frame.

        Raises:
            ValueError: no frame can be read, or the webcam stops.
        """
        while True:
            index = -1
            for index, frame in enumerate(self._play_once()):
                yield index, frame if self._size is None else cv2.resize(frame, self._size)
            if index < 0:
                raise ValueError(
                    f'{self.path} contains no frame that OpenCV can read; convert '
                    f'it, e.g. ffmpeg -i {self.path.name} -c:v libx264 video.mp4'
                )
            if self.is_live:
                raise ValueError(
                    f'{self.path} stopped after {index + 1} frames; check the camera and its cable'
                )
            if not self._is_looping:
                return

    def _play_once(self) -> Iterator[np.ndarray]:
        if self.path.is_dir():
            for path in self._images():
                frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
                if frame is None:
                    raise ValueError(f'{path} is not an image that OpenCV can read; remove it')
                yield frame
            return
        capture = self._open()
        try:
            while (read := capture.read())[0]:
                yield read[1]
        finally:
            capture.release()

    def _images(self) -> list[Path]:
        """The images in the folder, in the order of their names."""
        return sorted(
            path for path in self.path.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES
        )

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise ValueError(
                f'OpenCV cannot open {self.path} as a video; check the file or, for '
                'a device, that no other program uses it'
            )
        if self.is_live and self._size:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        return capture


def read_calibration(path: str | Path) -> Calibration:
    """Reads a calibration file of ROS camera_calibration.

    Raises:
        ValueError: the file is not such a calibration.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
        return Calibration(
            (int(content['image_width']), int(content['image_height'])),
            np.array(content['camera_matrix']['data'], float).reshape(3, 3),
            [
                float(number)
                for number in content.get('distortion_coefficients', {}).get('data', [])
            ],
            str(content.get('distortion_model', 'plumb_bob')),
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path} is not a calibration file of ROS camera_calibration '
            f'(image_width, camera_matrix, ...): {error!r}'
        ) from error
