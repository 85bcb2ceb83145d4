"""Makes docs/demo.jpg, the picture of the README, with the shipped weights and clip.

    scripts/with-env python -m tools.readme_picture

Three panels side by side: a frame of the clip, the meshes over it, the IUV image.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.estimation.estimator import load_estimator
from decomr_core.geometry.camera import intrinsics_from_fov
from decomr_core.geometry.drawing import compose_iuv, draw_meshes

FOV_DEG = 60.0
"""Of the clip."""

PANEL_HEIGHT_PX = 400


def panels(frame: np.ndarray, weights: str) -> np.ndarray:
    """Frame, overlay and IUV image of one RGB frame (H, W, 3) uint8, side by side."""
    height, width = frame.shape[:2]
    estimator = load_estimator(weights, is_video=False)
    intrinsics = intrinsics_from_fov(width, height, FOV_DEG)
    meshes, _ = estimator.estimate(frame, intrinsics=intrinsics)
    overlay = draw_meshes(frame, meshes, estimator.topology.faces, intrinsics)
    iuv = compose_iuv(meshes, height, width, 'rgb8')
    return np.hstack([frame, overlay, iuv])


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--video', default=str(DATA_FOLDER / 'demo_clip.mp4'))
    parser.add_argument('--frame', type=int, default=130, help='index of the frame')
    parser.add_argument('--weights', default='rt')
    parser.add_argument('--out', type=Path, default=Path('docs/demo.jpg'))
    args = parser.parse_args()
    capture = cv2.VideoCapture(args.video)
    capture.set(cv2.CAP_PROP_POS_FRAMES, args.frame)
    found, frame = capture.read()
    if not found:
        sys.stderr.write(f'{args.video} has no frame {args.frame}\n')
        return 2
    picture = panels(np.ascontiguousarray(frame[..., ::-1]), args.weights)
    scale = PANEL_HEIGHT_PX / picture.shape[0]
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
