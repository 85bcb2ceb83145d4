"""Cameras, depth images and boxes of rendered scenes, see `scenes.py`.

All lengths are in metres, in the camera optical frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.geometry.camera import intrinsics_from_fov
from training.records.rotations import rotation_about
from training.synthetic.scenes.photometric import degrade

__all__ = [
    'HEIGHT',
    'WIDTH',
    'Camera',
    'Person',
    'degrade_image',
    'detected_boxes',
    'measured_depth',
    'on_feet',
    'room_depth',
    'sample_camera',
]

WIDTH, HEIGHT = 640, 480
NEAREST_M, FARTHEST_M = 1.2, 8.0
COUNT_SHARES = (0.3, 0.3, 0.25, 0.15)
"""Shares of the scenes with one, two, three and four people."""
APART_M = 0.7
"""Smallest distance between two people's roots."""
CLOSEST_SURFACE_M = 0.3
"""Nobody reaches nearer to the image plane."""
DEPTH_NOISE = 0.0015
"""Standard deviation of the depth at 1 m, metres; it grows with the square of the depth. Half of
the variance is common to `NOISE_PATCH_PX` neighbouring pixels, as in stereo cameras."""
NOISE_PATCH_PX = 7
HOLE_STEP_M, HOLE_SHARE, DEPTH_RANGE_M = 0.15, 0.7, (0.2, 10.0)
"""At steps of the depth larger than this, this share of the pixels is not measured; nor is depth
outside this range."""
BOX_SHIFT, BOX_SCALE = 0.03, 0.06
"""Standard deviations of the boxes' position, as a share of their height, and of the logarithm of
their sides."""
MIN_VISIBLE = 0.25
"""A person of whom less is visible has no box."""


@dataclass(frozen=True)
class Camera:
    """The camera of a scene.

    Attributes:
        intrinsics: (3, 3) px.
        camera_from_world: (3, 3) rotation; the world has y up, its z towards the camera.
        height_m: height above the ground.
    """

    intrinsics: np.ndarray
    camera_from_world: np.ndarray
    height_m: float

    @property
    def up(self) -> np.ndarray:
        """Upward direction (3,), unit, camera frame."""
        return self.camera_from_world[:, 1]

    def on_ground(self, bearing: float, distance_m: float) -> np.ndarray:
        """The point (3,) of the ground at a bearing, radians to the right, and a distance."""
        ahead = np.array([np.sin(bearing), 0, -np.cos(bearing)]) * distance_m
        return self.camera_from_world @ (ahead - [0, self.height_m, 0])

    @cached_property
    def rays(self) -> np.ndarray:
        """(H, W, 2) normalised image positions of the pixels."""
        grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1)
        focal, middle = self.intrinsics[[0, 1], [0, 1]], self.intrinsics[:2, 2]
        return ((grid - middle) / focal).astype(np.float32)


@dataclass(frozen=True)
class Person:
    """One person with the truth.

    Attributes:
        vertices: (V, 3) of the undressed body.
        translation: (3,) position of the root.
        visible_share: share of the person's surface in view that is in the image and not hidden.
        inside_share: share of the vertices inside the image.
        box: (4,) box of the visible pixels; NaN if there are none.
    """

    vertices: np.ndarray
    translation: np.ndarray
    visible_share: float
    inside_share: float
    box: np.ndarray


def sample_camera(rng: np.random.Generator) -> tuple[Camera, np.ndarray]:
    """A camera, and the points (P, 3) of the ground where people stand."""
    fov = rng.uniform(50, 90)
    count = rng.choice(len(COUNT_SHARES), p=COUNT_SHARES) + 1
    height = rng.uniform(0.5, 2.0)
    distances = np.exp(rng.uniform(np.log(NEAREST_M), np.log(FARTHEST_M), 8 * count))
    bearings = np.deg2rad(fov) * rng.uniform(-0.52, 0.52, 8 * count)
    pitch = np.arctan2(height - 0.9, np.median(distances[:count])) + rng.normal(0, 0.1)
    turn = rotation_about(2, rng.normal(0, 0.03)) @ rotation_about(0, pitch) @ ROOT_FROM_BODY
    camera = Camera(intrinsics_from_fov(WIDTH, HEIGHT, fov), turn, float(height))
    places: list[np.ndarray] = []
    for bearing, distance in zip(bearings, distances, strict=True):
        place = camera.on_ground(bearing, distance)
        if len(places) < count and all(np.linalg.norm(place - p) > APART_M for p in places):
            places.append(place)
    return camera, np.array(places)


def on_feet(camera: Camera, vertices: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Positions (P, 3) of the roots at which bodies (P, V, 3) stand on the ground at places.

    A body that would reach nearer to the image plane than `CLOSEST_SURFACE_M` is moved back.
    """
    lowest = (vertices @ camera.up.astype(np.float32)).min(1)
    roots = places - lowest[:, None] * camera.up
    level = places + camera.up * camera.height_m  # horizontal, away from the camera
    ahead = level / np.linalg.norm(level, axis=1, keepdims=True)
    missing = CLOSEST_SURFACE_M - (vertices[..., 2].min(1) + roots[:, 2])
    return roots + ahead * (np.maximum(missing, 0) / np.maximum(ahead[:, 2], 0.3))[:, None]


def measured_depth(rng: np.random.Generator, depth: np.ndarray) -> np.ndarray:
    """What a depth camera measures of a true depth (H, W): uint16 mm, 0 where unknown."""
    known = np.where(np.isfinite(depth), depth, 0)
    white, smooth = rng.standard_normal((2, *depth.shape), dtype=np.float32)
    smooth = cv2.blur(smooth, (NOISE_PATCH_PX, NOISE_PATCH_PX)) * NOISE_PATCH_PX
    noisy = known + DEPTH_NOISE * known**2 * (white + smooth) * np.float32(0.5**0.5)
    around = np.ones((3, 3), np.uint8)
    is_step = cv2.dilate(known, around) - cv2.erode(known, around) > HOLE_STEP_M
    is_unknown = (is_step & (rng.random(depth.shape) < HOLE_SHARE)) | (noisy < DEPTH_RANGE_M[0])
    is_unknown |= noisy > DEPTH_RANGE_M[1]
    return np.where(is_unknown, 0, np.round(noisy * 1e3)).astype(np.uint16)


def detected_boxes(
    rng: np.random.Generator, people: list[Person], least: float = MIN_VISIBLE
) -> tuple[np.ndarray, list[int]]:
    """Boxes (B, 4) px of people as an inaccurate detector gives them, and their indices.

    Args:
        rng: source of the random numbers.
        people: the people.
        least: smallest visible share of a person with a box.
    """
    boxes, found = [], []
    for index, person in enumerate(people):
        if person.visible_share < least or not np.isfinite(person.box).all():
            continue
        low, high = person.box[:2], person.box[2:]
        middle = (low + high) / 2 + rng.normal(0, BOX_SHIFT, 2) * (high - low)[1]
        half = (high - low) / 2 * np.exp(rng.normal(0, BOX_SCALE, 2))
        boxes.append(np.concatenate([middle - half, middle + half]))
        found.append(index)
    return np.array(boxes, np.float32).reshape(-1, 4), found


def degrade_image(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8 after the degradations of training, which need a square."""
    square = np.zeros((WIDTH, WIDTH, 3), np.float32)
    square[:HEIGHT] = image
    return np.ascontiguousarray(degrade(rng, square)[:HEIGHT])


def room_depth(camera: Camera, back_m: float) -> np.ndarray:
    """Depth (H, W) of the ground and of a wall at a distance along the ground."""
    rays = np.concatenate([camera.rays, np.ones((HEIGHT, WIDTH, 1), np.float32)], axis=-1)
    rise = rays @ camera.up.astype(np.float32)
    ahead = -camera.camera_from_world[:, 2]
    along = np.maximum(rays @ ahead.astype(np.float32), 1e-3)
    ground = np.where(rise < -1e-4, camera.height_m / np.maximum(-rise, 1e-4), np.inf)
    return np.minimum(ground, back_m / along).astype(np.float32)
