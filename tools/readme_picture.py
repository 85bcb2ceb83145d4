"""Makes docs/demo.webp, the animation of the README, with the shipped weights.

    scripts/with-env python -m tools.readme_picture

Three panels side by side: part of a video, the meshes over it, the IUV image. The estimator
processes the whole frames and starts some frames earlier, so that people are tracked at the first
visible frame. Nothing is edited by hand; time span and crop are chosen for meshes that fit.

The video is `vtest.avi` of Debian's package `opencv-doc`: OpenCV's sample data, Apache-2.0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from decomr_core.drawing import compose_iuv, draw_meshes
from decomr_core.estimator import load_estimator

VIDEO = '/usr/share/doc/opencv-doc/examples/data/vtest.avi'
WARM_UP_FRAMES = 20
"""Frames before the time span that the estimator processes: two seconds of the video."""

GAP_PX = 4
"""Width of the white gap between two panels."""


def frames(video: str, start: int, count: int) -> Iterator[np.ndarray]:
    """Yields frames (H, W, 3) uint8 RGB of a video; fewer if it ends early."""
    capture = cv2.VideoCapture(video)
    for index in range(start + count):
        found, frame = capture.read()
        if not found:
            return
        if index >= start:
            yield np.ascontiguousarray(frame[..., ::-1])


def panels(
    video: str, start: int, count: int, crop: tuple[int, int, int, int], weights: str
) -> list[np.ndarray]:
    """Draws pictures (h, 3 w + 2 gaps, 3) uint8 RGB: frame, meshes and IUV image side by side.

    Args:
        video: the video file.
        start: index of the first frame to show.
        count: number of frames to show.
        crop: x, y, width, height of the part to show, px.
        weights: a shipped network by name, or a safetensors file.
    """
    estimator = load_estimator(weights)
    rate_hz = cv2.VideoCapture(video).get(cv2.CAP_PROP_FPS)
    first = max(start - WARM_UP_FRAMES, 0)
    x, y, width, height = crop
    gap = np.full((height, GAP_PX, 3), 255, np.uint8)
    pictures = []
    for index, frame in enumerate(frames(video, first, start - first + count), first):
        meshes, _ = estimator.estimate(frame, time_s=index / rate_hz)
        if index >= start:
            overlay = draw_meshes(frame, meshes, estimator.topology.faces)
            iuv = compose_iuv(meshes, *frame.shape[:2])
            shown = [image[y : y + height, x : x + width] for image in (frame, overlay, iuv)]
            pictures.append(np.hstack([shown[0], gap, shown[1], gap, shown[2]]))
    return pictures


def write_animation(path: Path, pictures: list[np.ndarray], rate_hz: float, quality: int) -> None:
    """Writes pictures (h, w, 3) uint8 RGB as a looping animation.

    Raises:
        OSError: the file cannot be written.
    """
    animation = cv2.Animation()
    animation.frames = [picture[..., ::-1].copy() for picture in pictures]
    animation.durations = [round(1000 / rate_hz)] * len(pictures)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, quality]):
        raise OSError(f'cannot write {path}; OpenCV needs WebP, and a name that ends in .webp')


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--video', default=VIDEO, help='default: %(default)s')
    parser.add_argument('--start', type=int, default=44, help='index of the first frame shown')
    parser.add_argument('--count', type=int, default=24, help='number of frames shown')
    parser.add_argument(
        '--crop',
        type=int,
        nargs=4,
        default=(440, 184, 328, 236),
        metavar=('X', 'Y', 'WIDTH', 'HEIGHT'),
        help='part to show, px',
    )
    parser.add_argument('--weights', default='rt', help='rt or a .safetensors file')
    parser.add_argument('--quality', type=int, default=80, help='quality of WebP, 1 to 100')
    parser.add_argument('--out', type=Path, default=Path('docs/demo.webp'), help='file to write')
    args = parser.parse_args()
    pictures = panels(args.video, args.start, args.count, tuple(args.crop), args.weights)
    if len(pictures) < args.count:
        sys.stderr.write(
            f'{args.video} does not exist or ends before frame '
            f'{args.start + args.count}; vtest.avi is in the Debian package '
            'opencv-doc\n'
        )
        return 2
    write_animation(
        args.out, pictures, cv2.VideoCapture(args.video).get(cv2.CAP_PROP_FPS), args.quality
    )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
