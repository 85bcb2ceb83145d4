"""Rendered scenes of four people who cross each other's paths, with ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from decomr_core.body_models import load_body
from decomr_core.people.detection import Detections, box_overlaps
from tools.demo_walk import passing_by
from tools.render_demo_clip import FOCAL_PX, HEIGHT, WIDTH, Clip, in_camera, in_image

__all__ = ['INTRINSICS', 'FPS', 'Crossing', 'Scene', 'noisy_detections', 'render_crossing']

FPS, DURATION_S = 30, 9.0
WALKS = (  # x and z of the first and the last point, m; speed, m/s; start, s
    ((-2.3, -4.6), (2.3, -4.6), 0.60, 0.3),
    ((2.6, -5.2), (-2.6, -5.2), 0.65, 0.2),
    ((-3.0, -6.1), (3.0, -6.0), 0.70, 0.4),
    ((1.7, -3.9), (-1.9, -4.0), 0.45, 0.0),
)
SHAPES = ((0.5,), (-0.9, -0.3), (1.0, 0.4), (-0.2, 0.8))
OUTFITS = (29, 0, 7, 12)
FIRST_SCENE = (WALKS, SHAPES, OUTFITS)
DEPTHS_M, DEPTH_NOISE_M = (3.8, 4.6, 5.4, 6.2), 0.15
"""Lanes of the walkers of the other scenes, far enough apart that they do not collide."""
SIDE_M = 0.5
"""Lateral position at which these walkers start and end, as a multiple of the distance."""
INTRINSICS = np.array(
    [[FOCAL_PX, 0, (WIDTH - 1) / 2], [0, FOCAL_PX, (HEIGHT - 1) / 2], [0, 0, 1.0]]
)
HIDDEN_SHARE = 0.3
"""A person with a smaller visible share has no detection."""


class Crossing(Clip):
    """The room of the demo clip with four other people."""

    def __init__(self, seed: int = 0) -> None:
        """Prepares the people; `frame` renders.

        Args:
            seed: of the random walks, shapes and clothes; 0: four people chosen by hand.
        """
        super().__init__(load_body('builtin'))
        self.times = np.arange(round(DURATION_S * FPS)) / FPS
        walks, shapes, outfits = draw_walkers(seed) if seed else FIRST_SCENE
        courses = [passing_by([first, last], speed, start) for first, last, speed, start in walks]
        self.people = [
            self._person(*parts) for parts in zip(courses, shapes, outfits, strict=True)
        ]

    def truth(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (4, 4) image px of the people, and the visible share of each, (4,)."""
        order, boxes, masks = [], [], []
        for person in self.people:
            camera = in_camera(self._dressed(person, index).double().numpy())
            pixels = in_image(camera)
            boxes.append(np.concatenate([pixels.min(0), pixels.max(0)]))
            order.append(camera[:, 2].mean())
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            x, y = np.round(pixels).astype(int).T
            inside = (x >= 0) & (y >= 0) & (x < WIDTH) & (y < HEIGHT)
            mask[y[inside], x[inside]] = 1
            masks.append(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9))) > 0)
        shares = np.zeros(len(masks))
        covered = np.zeros((HEIGHT, WIDTH), bool)
        for number in np.argsort(order):
            box = boxes[number]
            area = max((box[2] - box[0]) * (box[3] - box[1]), 1)
            clipped = np.clip(box, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
            in_view = (clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) / area
            shown = (masks[number] & ~covered).sum() / max(masks[number].sum(), 1)
            shares[number] = shown * in_view
            covered |= masks[number]
        return np.array(boxes, np.float32), shares


def draw_walkers(seed: int) -> tuple[list[tuple], np.ndarray, list[int]]:
    """Walks, first shape components (4, 2) and clothes of four people."""
    rng = np.random.default_rng(seed)
    walks = []
    for depth, side in zip(
        rng.permutation(DEPTHS_M), rng.permutation([1, 1, -1, -1]), strict=True
    ):
        first, last = depth + rng.normal(0, DEPTH_NOISE_M, 2)
        walks.append(
            (
                (-side * SIDE_M * first, -first),
                (side * SIDE_M * last, -last),
                rng.uniform(0.5, 0.8),
                rng.uniform(-1.0, 1.0),
            )
        )
    return walks, rng.normal(0, 0.7, (4, 2)), rng.integers(0, 10_000, 4).tolist()


@dataclass(frozen=True)
class Scene:
    """T frames with P people.

    Attributes:
        images: (T, H, W, 3) uint8 RGB.
        boxes: (T, P, 4) image px.
        shares: (T, P) visible share of each person, 0 to 1.
    """

    images: np.ndarray
    boxes: np.ndarray
    shares: np.ndarray


def render_crossing(seed: int = 0) -> Scene:
    """The whole sequence; takes minutes."""
    clip = Crossing(seed)
    truth = [clip.truth(index) for index in range(len(clip.times))]
    return Scene(
        np.stack([clip.frame(index) for index in range(len(clip.times))]),
        np.stack([boxes for boxes, _ in truth]),
        np.stack([shares for _, shares in truth]),
    )


def noisy_detections(scene: Scene, index: int, rng: np.random.Generator) -> Detections:
    """The detections of a simulated, inaccurate detector in a frame.

    The standard deviations of position and size are 4 % and 6 % of the height. One person in ten
    is missed. Mostly hidden people have no box, and of two boxes that overlap by more than 0.5
    only the larger one is kept.
    """
    boxes = scene.boxes[index][scene.shares[index] >= HIDDEN_SHARE]
    heights = boxes[:, 3:] - boxes[:, 1:2]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 + rng.normal(0, 0.04, (len(boxes), 2)) * heights
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2 * np.exp(rng.normal(0, 0.06, (len(boxes), 1)))
    noisy = np.concatenate([centers - halves, centers + halves], 1).astype(np.float32)
    kept: list[int] = []
    for number in np.argsort(-heights[:, 0]):
        is_merged = kept and (box_overlaps(noisy[[number]], noisy[kept])[0] > 0.5).any()
        if not is_merged and rng.random() >= 0.1:
            kept.append(int(number))
    return Detections(noisy[kept], np.full(len(kept), 0.9, np.float32))
