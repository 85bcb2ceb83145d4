"""Viewpoints of a robot's camera, and the square crops of people in its images.

All vectors are in the camera optical frame (x right, y down, z forward). Image positions are
normalised (x / z and y / z), so that no focal length is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from decomr_core.body_models.frames import ROOT_FROM_BODY
from training.records.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    rotation_about,
)
from training.synthetic.scenes.lenses import bent, straightened
from training.synthetic.scenes.solids import Rays

__all__ = [
    'SMALLEST_CUT',
    'UPPER_SHARE',
    'Framing',
    'Viewpoints',
    'crop_points',
    'fit_weak_perspective',
    'frame_people',
    'orient_poses',
    'pixel_rays',
    'sample_viewpoints',
    'with_lenses',
]

NEAREST_M = 0.4
"""Smallest distance of a person from the image plane."""
HIGH_SHARE = 0.15
"""Share of cameras that look down from a high position."""
EVERY_VERTEX = 4
"""Boxes are computed from every fourth vertex; neighbours are about a centimetre apart."""
UPPER_SHARE, SMALLEST_CUT, LARGEST_CUT = 0.08, 0.4, 0.85
"""Share of boxes that show only the upper part of the person, and the smallest and largest part as
a share of the height: the values of the held-out set, and the defaults of training."""
LENS_STRENGTH = (0.8, 1.2)
LENS_HALF_WIDTH = (40, 55)
"""Half the horizontal field of view of cameras with wide-angle lenses, degrees."""
LENS_BEARING = (0.1, 0.6)
"""Range of the people's bearing, as a share of the angle to the image's edge. Larger shares reduce
the accuracy, because the weak-perspective camera fits worse farther off axis."""
SMALLEST_VISIBLE_SHARE = 0.5
"""Smallest share of a person inside the image border."""


@dataclass(frozen=True)
class Viewpoints:
    """One camera per person.

    Attributes:
        camera_from_world: (B, 3, 3) rotation; the world has y up, its z towards the camera.
        height_m: (B,) height of the camera above the ground.
        distance_m: (B,) distance from the camera to the person, along the ground.
        bearing: (B,) direction of the person, radians to the right of the optical axis.
        half_image: (B, 2) half the size of the image: tangents of half the field of view.
        lens: (B,) strength of each lens (see `lenses.py`), 0 for a pinhole; None if all are
            pinholes.
    """

    camera_from_world: np.ndarray
    height_m: np.ndarray
    distance_m: np.ndarray
    bearing: np.ndarray
    half_image: np.ndarray
    lens: np.ndarray | None = None

    @property
    def up(self) -> np.ndarray:
        """Upward direction (B, 3), unit, camera frame."""
        return self.camera_from_world[:, :, 1]


@dataclass(frozen=True)
class Framing:
    """The square crops: crop_xy = (normalised_xy - center) / half_side.

    Attributes:
        translation_m: (B, 3) position of the root in the camera frame.
        center: (B, 2) normalised image position.
        half_side: (B,) normalised length.
        border: (B, 4) x_min, y_min, x_max, y_max of the camera image, crop frame.
        lens: (B,) strength of each lens, 0 for a pinhole; None if all are pinholes. Centre, side
            and border are distorted image positions.
    """

    translation_m: np.ndarray
    center: np.ndarray
    half_side: np.ndarray
    border: np.ndarray
    lens: np.ndarray | None = None

    def part(self, index: int) -> Framing:
        """The framing of one person."""
        one = slice(index, index + 1)
        return Framing(
            self.translation_m[one],
            self.center[one],
            self.half_side[one],
            self.border[one],
            None if self.lens is None else self.lens[one],
        )

    def strength(self, index: int) -> float:
        """Strength of one person's lens; 0 for a pinhole."""
        return 0.0 if self.lens is None else float(self.lens[index])

    def widened(self, factor: float) -> Framing:
        """The same people in squares with sides multiplied by a factor."""
        return replace(self, half_side=self.half_side * factor, border=self.border / factor)


def sample_viewpoints(rng: np.random.Generator, count: int) -> Viewpoints:
    """Samples cameras: 0.4 to 2.2 m high, 1.2 to 8 m away, 40 to 90 degrees wide, mostly level.

    Some are mounted on a wall or a mast: 2.5 to 6 m high, 4 to 16 m away.
    """
    high = rng.random(count) < HIGH_SHARE
    height = np.where(high, rng.uniform(2.5, 6, count), rng.uniform(0.4, 2.2, count))
    distance = np.exp(
        np.where(
            high,
            rng.uniform(np.log(4), np.log(16), count),
            rng.uniform(np.log(1.2), np.log(8), count),
        )
    )
    half_width = np.tan(np.deg2rad(rng.uniform(40, 90, count)) / 2)
    aspect = rng.choice([3 / 4, 9 / 16, 4 / 3], size=count, p=[0.5, 0.4, 0.1])
    to_body = np.arctan2(height - 0.85, distance)
    aimed = to_body + rng.normal(0, 0.1, count)
    level = rng.normal(0.03, 0.07, count)
    any_pitch = rng.uniform(-0.2, 0.6, count)
    pitch = np.choose(rng.choice(3, size=count, p=[0.4, 0.4, 0.2]), [aimed, level, any_pitch])
    limit = 0.75 * np.arctan(half_width * aspect)
    pitch = np.clip(pitch, to_body - limit, to_body + limit)
    bearing_limit = 0.8 * np.arctan(half_width)
    bearing = np.clip(rng.normal(0, 0.2, count), -bearing_limit, bearing_limit)
    rotation = (
        rotation_about(2, rng.normal(0, 0.035, count)) @ rotation_about(0, pitch) @ ROOT_FROM_BODY
    )
    return Viewpoints(
        rotation, height, distance, bearing, np.stack([half_width, half_width * aspect], axis=1)
    )


def with_lenses(rng: np.random.Generator, views: Viewpoints, share: float) -> Viewpoints:
    """Gives a share of the cameras a wide-angle lens and moves their people off the optical axis.

    Args:
        rng: source of the random numbers.
        views: pinhole cameras.
        share: 0 to 1.
    """
    count = len(views.bearing)
    is_wide = rng.random(count) < share
    half_angle = np.deg2rad(rng.uniform(*LENS_HALF_WIDTH, count))
    bearing = half_angle * rng.uniform(*LENS_BEARING, count) * rng.choice([-1, 1], count)
    half_width = np.tan(half_angle)
    half_image = np.stack(
        [half_width, half_width * views.half_image[:, 1] / views.half_image[:, 0]], axis=1
    )
    return replace(
        views,
        bearing=np.where(is_wide, bearing, views.bearing),
        half_image=np.where(is_wide[:, None], half_image, views.half_image),
        lens=np.where(is_wide, rng.uniform(*LENS_STRENGTH, count), 0.0),
    )


def orient_poses(rng: np.random.Generator, pose: np.ndarray, views: Viewpoints) -> np.ndarray:
    """Rotates people to a random heading, and to the axes of their cameras.

    Args:
        rng: source of the random numbers.
        pose: (B, 24, 3) axis-angle; the root rotation only tilts the body.
        views: the cameras.

    Returns:
        (B, 24, 3) the same poses with a global orientation such that the root frame of the posed
        body is parallel to the camera frame.
    """
    yaw = rotation_about(1, rng.uniform(-np.pi, np.pi, len(pose)))
    root = ROOT_FROM_BODY @ views.camera_from_world @ yaw @ matrix_from_axis_angle(pose[:, 0])
    turned = pose.copy()
    turned[:, 0] = axis_angle_from_matrix(root)
    return turned


def frame_people(
    rng: np.random.Generator,
    vertices: np.ndarray,
    views: Viewpoints,
    upper_share: float = UPPER_SHARE,
    smallest_cut: float = SMALLEST_CUT,
) -> Framing:
    """Places people on the ground in front of their cameras and crops them like a detector.

    Args:
        rng: source of the random numbers.
        vertices: (B, V, 3) root frame, m.
        views: the cameras.
        upper_share: share of boxes that show only the upper part of the person.
        smallest_cut: smallest part in such a box, as a share of the person's height.
    """
    count = len(vertices)
    vertices = vertices[:, ::EVERY_VERTEX]
    ground = (vertices @ views.up[:, :, None].astype(np.float32))[..., 0].min(1)
    ahead = np.stack([np.sin(views.bearing), np.zeros(count), -np.cos(views.bearing)], axis=1)
    ahead = np.einsum('bij,bj->bi', views.camera_from_world, ahead)
    nearest = vertices[..., 2].min(1)
    translation = ahead * views.distance_m[:, None] - views.up * (views.height_m + ground)[:, None]
    back = np.maximum(NEAREST_M - nearest - translation[:, 2], 0) / np.maximum(ahead[:, 2], 0.3)
    translation = translation + ahead * back[:, None]
    placed = vertices + translation[:, None].astype(np.float32)
    image = _through_lenses(placed[..., :2] / placed[..., 2:], views.lens)
    half_image = _half_images(views)
    inside = (np.abs(image) <= half_image[:, None]).all(-1)
    # Ignore a border that would hide most of a person: a detector would not detect the person.
    limit = np.where(inside.mean(1) >= SMALLEST_VISIBLE_SHARE, 1, 1e3)[:, None] * half_image
    low, high = np.maximum(image.min(1), -limit), np.minimum(image.max(1), limit)
    upper_only = rng.random(count) < upper_share
    cut = rng.uniform(smallest_cut, LARGEST_CUT, count)
    high[:, 1] = np.where(upper_only, low[:, 1] + cut * (high[:, 1] - low[:, 1]), high[:, 1])
    # Random scales and shifts of the boxes, because detectors differ.
    loose = rng.random(count) < 0.25
    scale = np.where(
        loose, rng.uniform(0.8, 1.8, count), np.clip(rng.normal(1.2, 0.09, count), 1.0, 1.45)
    )
    half = (high - low).max(1) / 2 * scale
    shift = np.clip(rng.normal(0, 0.04, (count, 2)), -0.12, 0.12) * 2 * half[:, None]
    center = (low + high) / 2 + shift
    border = np.concatenate([-limit - center, limit - center], axis=1) / half[:, None]
    return Framing(translation, center, half, border, views.lens)


def fit_weak_perspective(points: Tensor, crop_xy: Tensor) -> Tensor:
    """Fits weak-perspective cameras to given projections by least squares.

    Args:
        points: (B, V, 3) root frame, m.
        crop_xy: (B, V, 2) their projections, crop frame.

    Returns:
        (B, 3) s, tx, ty with crop_xy ~ s * (xy + t).
    """
    mean, crop_mean = points[..., :2].mean(1), crop_xy.mean(1)
    spread, target = points[..., :2] - mean[:, None], crop_xy - crop_mean[:, None]
    scale = ((spread * target).sum((1, 2)) / (spread * spread).sum((1, 2)))[:, None]
    return torch.cat([scale, crop_mean / scale - mean], dim=1)


def crop_points(points: Tensor, framing: Framing) -> Tensor:
    """Projects points (B, V, 3) of the root frame, m, to crop x, y and depth in metres."""
    placed = points + points.new_tensor(framing.translation_m)[:, None]
    image = placed[..., :2] / placed[..., 2:]
    if framing.lens is not None:
        image = torch.from_numpy(_through_lenses(image.numpy(), framing.lens))
    center = points.new_tensor(framing.center)[:, None]
    half = points.new_tensor(framing.half_side)[:, None, None]
    return torch.cat([(image - center) / half, placed[..., 2:]], dim=-1)


def pixel_rays(framing: Framing, index: int, size: int) -> Rays:
    """Rays of the pixel centres of one person's crop, S px wide, through the lens."""
    line = ((2 * np.arange(size, dtype=np.float32) + 1) / size - 1) * np.float32(
        framing.half_side[index]
    )
    center = framing.center[index].astype(np.float32)
    image = np.stack(np.meshgrid(line + center[0], line + center[1]), axis=-1)
    strength = framing.strength(index)
    if strength:
        image = straightened(image, strength)
    return Rays(np.ascontiguousarray(image[..., 0]), np.ascontiguousarray(image[..., 1]))


def _through_lenses(image: np.ndarray, lens: np.ndarray | None) -> np.ndarray:
    """Distorts pinhole image positions (B, ..., 2) by the lenses."""
    if lens is None or not lens.any():
        return image
    rows = np.flatnonzero(lens)
    shown = image.copy()
    shown[rows] = bent(image[rows], lens[rows])
    return shown


def _half_images(views: Viewpoints) -> np.ndarray:
    """Half sizes (B, 2) of the images, distorted by the lenses."""
    if views.lens is None or not views.lens.any():
        return views.half_image
    ends = views.half_image[:, :, None] * np.eye(2)  # (B, 2, 2): one point on each axis
    return _through_lenses(ends, views.lens)[:, [0, 1], [0, 1]]
