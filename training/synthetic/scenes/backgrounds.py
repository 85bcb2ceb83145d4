"""Generated backgrounds and occluders: rooms, streets, boxes, shadows, objects in front.

Floor, walls and boxes are drawn in the perspective of the person's camera, so that the horizon,
the feet and the walls agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.synthetic.scenes.layers import Shadow
from training.synthetic.scenes.textures import TEXTURE_SIDE, TextureBank, random_color

__all__ = ['Scene', 'draw_background', 'draw_furniture_shadow', 'draw_occluder', 'draw_shadow']

NEAR_M = 0.15
"""Smallest distance of boxes from the image plane; nearer ones are omitted."""
LAST_TEXEL = TEXTURE_SIDE - 1
"""Bit mask that wraps positions on textures, whose side is a power of two."""
BOX_SIDES = np.array([[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [1, 3, 7, 5]])
"""Corners of a box's four walls and its top; the corners are numbered by two horizontal
directions, then by height."""
FARTHEST_M = 60.0
"""Distance beyond which the background is sky."""


@dataclass(frozen=True)
class Scene:
    """The camera of one crop, in a room.

    Attributes:
        center: (2,) normalised image position of the crop's centre.
        half_side: normalised half side of the crop.
        up: (3,) unit, camera frame.
        height_m: height of the camera above the ground.
        distance_m: distance of the person along the ground.
    """

    center: np.ndarray
    half_side: float
    up: np.ndarray
    height_m: float
    distance_m: float

    def along(self, direction: np.ndarray, size: int) -> np.ndarray:
        """Component of each pixel's ray, at depth 1, along a direction (3,): (S S,) float32."""
        line = ((2 * np.arange(size, dtype=np.float32) + 1) / size - 1) * self.half_side
        x = np.float32(direction[0]) * (line + np.float32(self.center[0]))
        y = np.float32(direction[1]) * (line + np.float32(self.center[1])) + direction[2]
        return (x[None, :] + y[:, None].astype(np.float32)).ravel()

    def project(self, points: np.ndarray, size: int) -> np.ndarray:
        """Pixel positions (..., 2) of points (..., 3) in the camera frame, m."""
        crop = (points[..., :2] / points[..., 2:] - self.center) / self.half_side
        return (crop + 1) * (size / 2) - 0.5

    def horizontal(self, yaw: float) -> tuple[np.ndarray, np.ndarray]:
        """Two orthogonal unit directions along the ground; at yaw 0 the first is forward."""
        ahead = np.array([0.0, 0.0, 1.0]) - self.up[2] * self.up
        ahead /= max(np.linalg.norm(ahead), 1e-6)
        a, u = ahead, self.up
        right = np.array(
            [a[1] * u[2] - a[2] * u[1], a[2] * u[0] - a[0] * u[2], a[0] * u[1] - a[1] * u[0]]
        )
        return (
            ahead * np.cos(yaw) + right * np.sin(yaw),
            right * np.cos(yaw) - ahead * np.sin(yaw),
        )


def draw_background(
    rng: np.random.Generator, bank: TextureBank, scene: Scene, size: int
) -> np.ndarray:
    """A cluttered background (S, S, 3) float32, 0 to 255."""
    kind = rng.random()
    if kind < 0.12:
        image = _flat_clutter(rng, bank, size)
    else:
        image = _draw_room(rng, bank, scene, size, outdoors=kind < 0.40)
        for _ in range(rng.poisson(1.6)):
            _draw_box(rng, bank, scene, image, scene.distance_m + rng.uniform(0.4, 3.5))
    _scribble(rng, image, rng.poisson(2.0))
    return image


def draw_shadow(
    rng: np.random.Generator,
    image: np.ndarray,
    joints: np.ndarray,
    parents: list[int],
    scene: Scene,
    to_light: np.ndarray,
) -> None:
    """Draws the shadow of a person on the ground; in place.

    Args:
        rng: source of the random numbers.
        image: (S, S, 3) float32.
        joints: (24, 3) camera frame, m.
        parents: parent of each joint, -1 for the root.
        scene: the camera.
        to_light: (3,) unit, camera frame.
    """
    size = len(image)
    rise = max(float(to_light @ scene.up), 0.25)
    above = joints @ scene.up + scene.height_m
    ground = joints - to_light * (np.clip(above, 0, 3) / rise)[:, None]
    if ground[:, 2].min() < NEAR_M:
        return
    spots = np.clip(scene.project(ground, size), -4 * size, 4 * size)
    mask: np.ndarray = np.zeros((size, size), np.float32)
    pixels_per_m = size / 2 / scene.half_side / ground[:, 2].mean()
    wide = int(np.clip(0.13 * pixels_per_m, 1, 60))
    for joint, parent in enumerate(parents):
        if parent >= 0:
            cv2.line(mask, _pixel(spots[parent]), _pixel(spots[joint]), 1.0, wide)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.8, 4))
    image *= (1 - rng.uniform(0.1, 0.65) * mask)[..., None]


def draw_furniture_shadow(
    image: np.ndarray, shadow: Shadow, scene: Scene, to_light: np.ndarray
) -> None:
    """Draws the shadow of furniture on the floor; in place.

    Args:
        image: (S, S, 3) float32.
        shadow: shadow of the furniture.
        scene: the camera.
        to_light: (3,) unit, camera frame.
    """
    size = len(image)
    rise = max(float(to_light @ scene.up), 0.25)
    above = shadow.corners @ scene.up + scene.height_m
    ground = shadow.corners - to_light * (np.clip(above, 0, 3) / rise)[..., None]
    mask: np.ndarray = np.zeros((size, size), np.float32)
    for corners in ground[ground[..., 2].min(1) >= NEAR_M]:
        spots = np.clip(scene.project(corners, size), -4 * size, 4 * size)
        cv2.fillConvexPoly(mask, cv2.convexHull(spots.astype(np.int32)), 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), shadow.softness_px)
    image *= (1 - np.float32(shadow.darkness) * mask)[..., None]


def draw_occluder(
    rng: np.random.Generator, bank: TextureBank, scene: Scene, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """An object in front of the person.

    Returns:
        its colours (S, S, 3) float32 and its mask (S, S) uint8, 0 or 1.
    """
    mask = np.zeros((size, size), np.uint8)
    kind = rng.integers(4)
    if kind == 0:  # a table, a counter or a wall below
        top, slope = rng.uniform(0.55, 0.9) * size, rng.normal(0, 0.08) * size
        corners = [[0, top - slope], [size, top + slope], [size, size], [0, size]]
        cv2.fillConvexPoly(mask, np.array(corners, np.int32), 1)
    elif kind == 1:  # a pole, a door frame
        x, wide = rng.uniform(0, 1) * size, rng.uniform(0.03, 0.16) * size
        tilt = rng.normal(0, 0.06) * size
        corners = [[x, 0], [x + wide, 0], [x + wide + tilt, size], [x + tilt, size]]
        cv2.fillConvexPoly(mask, np.array(corners, np.int32), 1)
    elif kind == 2:  # something round
        axes = _pixel(rng.uniform(0.05, 0.22, 2) * size)
        cv2.ellipse(
            mask, _pixel(rng.uniform(0.1, 0.9, 2) * size), axes, rng.uniform(0, 180), 0, 360, 1, -1
        )
    else:
        colors = np.zeros((size, size, 3), np.float32)
        near = max(scene.distance_m * rng.uniform(0.45, 0.85), 0.6)
        mask = _draw_box(rng, bank, scene, colors, near, height_m=(0.3, 0.9))
        return colors, mask
    return _texture_patch(rng, bank.plain, size), mask


def _draw_room(
    rng: np.random.Generator, bank: TextureBank, scene: Scene, size: int, outdoors: bool
) -> np.ndarray:
    first, second = scene.horizontal(rng.uniform(-0.8, 0.8))
    up, right, ahead = (scene.along(axis, size) for axis in (scene.up, second, first))
    gap = rng.uniform(3, 18) if outdoors else rng.uniform(0.4, 4)
    sides = rng.uniform(2, 12, 2) if outdoors else rng.uniform(1.2, 5, 2)
    # Each plane: its normal along the rays, its distance, and the texture's two directions.
    planes = [(-up, scene.height_m, right, ahead, bank.floors)]
    if not outdoors:
        room = max(rng.uniform(2.3, 4), scene.height_m + 0.3)
        planes.append((up, room - scene.height_m, right, ahead, bank.plain))
    if not outdoors or rng.random() < 0.75:
        planes.append((ahead, scene.distance_m + gap, right, -up, bank.walls))
    for sign, side in zip((1, -1), sides, strict=True):
        if rng.random() < 0.8:
            planes.append((sign * right, side, ahead, -up, bank.walls))
    nearness = np.zeros(size * size, np.float32)
    winner = np.zeros(size * size, np.uint8)
    for index, (toward, distance, *_) in enumerate(planes):
        here = toward * np.float32(1 / distance)
        np.copyto(winner, np.uint8(index), where=here > nearness)
        np.maximum(nearness, here, out=nearness)
    sky = nearness < 1 / FARTHEST_M
    reach = 1 / np.maximum(nearness, 1 / FARTHEST_M)
    image = np.empty((size * size, 3), np.float32)
    image[sky] = random_color(rng) * 0.4 + 150 + rng.uniform(-60, 60) * up[sky, None]
    for index, (_, _, across, down, textures) in enumerate(planes):
        shown = np.flatnonzero((winner == index) & ~sky)
        texture = textures[rng.integers(len(textures))]
        is_wall = textures is bank.walls
        turn = np.float32(TEXTURE_SIDE / rng.uniform(2 if is_wall else 0.6, 4))
        low = np.float32(scene.height_m if is_wall else rng.uniform(0, 4))
        far = reach[shown]
        column = ((across[shown] * far + np.float32(rng.uniform(0, 9))) * turn).astype(np.int32)
        row = ((down[shown] * far - low) * turn).astype(np.int32)
        texel = (row & LAST_TEXEL) * TEXTURE_SIDE + (column & LAST_TEXEL)
        color = texture.reshape(-1, 3).take(texel, axis=0).astype(np.float32)
        fog = (far / (far + np.float32(rng.uniform(4, 40))))[:, None]
        average = texture[::16, ::16].mean((0, 1), dtype=np.float32)
        gain = rng.uniform(0.6, 1.25) * np.exp(rng.normal(0, 0.08, 3))
        image[shown] = (color + (average - color) * fog) * gain.astype(np.float32)
    return image.reshape(size, size, 3)


def _draw_box(
    rng: np.random.Generator,
    bank: TextureBank,
    scene: Scene,
    image: np.ndarray,
    distance_m: float,
    height_m: tuple[float, float] = (0.3, 2.2),
) -> np.ndarray:
    """Draws a box on the ground into the image, in place; returns its mask (S, S) uint8."""
    size = len(image)
    mask = np.zeros((size, size), np.uint8)
    ahead, right = scene.horizontal(0.0)
    first, second = scene.horizontal(rng.uniform(0, np.pi / 2))
    bearing = np.arctan(scene.center[0]) + rng.normal(0, 1.2 * scene.half_side)
    middle = distance_m * (ahead + np.tan(bearing) * right) - scene.height_m * scene.up
    wide, deep, tall = rng.uniform(0.2, 1.5), rng.uniform(0.2, 1.0), rng.uniform(*height_m)
    corners = np.array(
        [
            middle + a * wide / 2 * first + b * deep / 2 * second + c * tall * scene.up
            for a in (-1, 1)
            for b in (-1, 1)
            for c in (0, 1)
        ]
    )
    if corners[:, 2].min() < NEAR_M:
        return mask
    pixels = np.clip(scene.project(corners, size), -8 * size, 8 * size).astype(np.int32)
    base = random_color(rng)
    textured = rng.random() < 0.35
    patch = _texture_patch(rng, bank.plain, size) if textured else None
    away = (corners[BOX_SIDES].mean(1) ** 2).sum(1)
    for side in np.argsort(-away):
        color = base * rng.uniform(0.5, 1.15)
        outline = pixels[BOX_SIDES[side]]
        cv2.fillConvexPoly(mask, outline, 1)
        if patch is None:
            cv2.fillConvexPoly(image, outline, color.tolist())
        else:
            face = np.zeros((size, size), np.uint8)
            cv2.fillConvexPoly(face, outline, 1)
            cv2.copyTo(patch * np.float32(rng.uniform(0.6, 1.1)), face, image)
        if rng.random() < 0.3:
            cv2.polylines(image, [outline], True, (color * 0.5).tolist(), 1)
    return mask


def _flat_clutter(rng: np.random.Generator, bank: TextureBank, size: int) -> np.ndarray:
    image = _texture_patch(rng, bank.plain, size)
    noise = cv2.resize(bank.noise[rng.integers(len(bank.noise))], (size, size))
    return image * (1 + rng.uniform(0, 0.5) * noise[..., None])


def _texture_patch(rng: np.random.Generator, textures: np.ndarray, size: int) -> np.ndarray:
    """A random scaled part (S, S, 3) float32 of a random texture."""
    side = int(rng.integers(TEXTURE_SIDE // 6, TEXTURE_SIDE))
    x, y = rng.integers(0, TEXTURE_SIDE - side, 2)
    cut = textures[rng.integers(len(textures)), y : y + side, x : x + side]
    return cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)


def _scribble(rng: np.random.Generator, image: np.ndarray, count: int) -> None:
    """Draws cables, edges, lamps and other small objects; in place."""
    size = len(image)
    for _ in range(count):
        color = random_color(rng).tolist()
        start, end = rng.uniform(-0.2, 1.2, (2, 2)) * size
        if rng.random() < 0.6:
            cv2.line(image, _pixel(start), _pixel(end), color, int(rng.integers(1, 4)))
        elif rng.random() < 0.5:
            cv2.circle(image, _pixel(start), int(rng.integers(1, size // 8)), color, -1)
        else:
            span = rng.uniform(0.02, 0.3, 2) * size
            cv2.rectangle(image, _pixel(start), _pixel(start + span), color, -1)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return int(point[0]), int(point[1])
