"""Panoramas of real places as backgrounds and light sources, from a folder of images.

Each image is an equirectangular panorama, twice as wide as high, like those of Poly Haven (CC0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.synthetic.scenes.backgrounds import Scene
from training.synthetic.scenes.lights import Light

__all__ = ['Panorama', 'Panoramas', 'draw_panorama', 'panorama_light']

WIDTH = 1024
"""Width of the panoramas in memory, px; larger files are downsampled."""
PICTURES = ('.jpg', '.jpeg', '.png')
NARROWEST, WIDEST = 1.0, 2.2
"""Range of the background's field of view over that of the crop; above 1, because a panorama has a
low resolution."""
SUN_BLUR = 6.0
"""Blur before the brightest spot is searched, px."""
BRIGHTNESS = 1.5
"""Total light from above, the same as in generated rooms."""
HOW_TO = (
    'give a folder of equirectangular .jpg or .png images, e.g. from polyhaven.com (CC0), '
    'or leave data.panoramas empty'
)


@dataclass(frozen=True)
class Panorama:
    """One place.

    Attributes:
        picture: (H, 2 H, 3) uint8 RGB; the first row is up.
        sky: (3,) colour of the light from above, mean 1.
        ground: (3,) light from below, in the same unit.
        sun_yaw, sun_height: direction of the brightest spot, radians.
    """

    picture: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    sun_yaw: float
    sun_height: float


class Panoramas:
    """The panoramas of a folder.

    Args:
        folder: folder of the images.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: there are no images, or one is not a panorama.
    """

    def __init__(self, folder: str | Path) -> None:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f'there is no folder of panoramas {folder}; {HOW_TO}')
        files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURES)
        if not files:
            raise ValueError(f'{folder} has no images; {HOW_TO}')
        self._places = [_read(path) for path in files]

    def choose(self, rng: np.random.Generator) -> tuple[Panorama, float]:
        """Samples a place and the yaw of the camera there, radians."""
        return self._places[rng.integers(len(self._places))], float(rng.uniform(-np.pi, np.pi))


def draw_panorama(
    rng: np.random.Generator,
    place: Panorama,
    yaw: float,
    scene: Scene,
    camera_from_world: np.ndarray,
    size: int,
) -> np.ndarray:
    """Renders the place behind a person (S, S, 3) float32, 0 to 255.

    Args:
        rng: source of the random numbers.
        place: the place.
        yaw: yaw of the camera, radians, from `Panoramas.choose`.
        scene: the camera.
        camera_from_world: (3, 3) rotation; the world has y up.
        size: S, px.
    """
    wide = scene.half_side * rng.uniform(NARROWEST, WIDEST)
    line = (((2 * np.arange(size) + 1) / size - 1) * wide).astype(np.float32)
    x, y = np.meshgrid(line + np.float32(scene.center[0]), line + np.float32(scene.center[1]))
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ camera_from_world.astype(np.float32)
    height, width = place.picture.shape[:2]
    across = np.arctan2(rays[..., 0], -rays[..., 2]) + np.float32(yaw)
    down = np.arctan2(np.hypot(rays[..., 0], rays[..., 2]), rays[..., 1])  # 0 straight up
    column = np.mod(across / np.float32(2 * np.pi) + np.float32(0.5), 1) * width - np.float32(0.5)
    row = down / np.float32(np.pi) * height - np.float32(0.5)
    image = cv2.remap(place.picture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return image.astype(np.float32) * np.float32(np.exp(rng.normal(-0.05, 0.15)))


def panorama_light(
    rng: np.random.Generator, place: Panorama, yaw: float, camera_from_world: np.ndarray
) -> Light:
    """The place's light on a person.

    Args:
        rng: source of the random numbers.
        place: the place.
        yaw: yaw of the camera, radians, from `Panoramas.choose`.
        camera_from_world: (3, 3) rotation; the world has y up.
    """
    bearing, height = place.sun_yaw - yaw, max(place.sun_height, 0.15)
    to_sun = np.array(
        [np.cos(height) * np.sin(bearing), np.sin(height), -np.cos(height) * np.cos(bearing)]
    )
    balance = rng.uniform(0.1, 0.65)
    sky = place.sky * (1 - balance) * BRIGHTNESS
    return {
        'to_light': camera_from_world @ to_sun,
        'up': camera_from_world[:, 1],
        'lamp': balance * BRIGHTNESS * (2 - place.sky),
        'sky': sky,
        'ground': place.ground * (1 - balance) * BRIGHTNESS,
        'wrap': np.array(rng.uniform(0.05, 0.4)),
    }


def _read(path: Path) -> Panorama:
    """Reads an image and computes its light."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None or picture.shape[1] != 2 * picture.shape[0]:
        found = (
            'cannot be read'
            if picture is None
            else f'has {picture.shape[1]}x{picture.shape[0]} px'
        )
        raise ValueError(f'{path} {found}; expected an image twice as wide as high; {HOW_TO}')
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    picture = cv2.resize(picture, (WIDTH, WIDTH // 2), interpolation=cv2.INTER_AREA)
    linear = (picture.astype(np.float32) / 255) ** 2.2
    height, width = linear.shape[:2]
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    area = np.cos(latitude)[:, None, None]
    upper, lower = (
        (linear[rows] * area[rows]).sum((0, 1)) / (area[rows].sum() * width)
        for rows in (slice(0, height // 2), slice(height // 2, None))
    )
    spots = cv2.GaussianBlur(linear.mean(2), (0, 0), SUN_BLUR)[: height // 2]
    row, column = np.unravel_index(spots.argmax(), spots.shape)
    level = max(float(upper.mean()), 1e-3)
    sky = 0.5 + 0.5 * upper / level
    return Panorama(
        picture,
        sky,
        np.clip(lower / level, 0.1, 0.9) * 0.8,
        float(((column + 0.5) / width - 0.5) * 2 * np.pi),
        float(latitude[row]),
    )
