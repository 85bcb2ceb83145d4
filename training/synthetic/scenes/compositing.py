"""Composites rendered people into scenes: background, shadow, other people, occluders, camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from training.synthetic.scenes.backgrounds import (
    Scene,
    draw_background,
    draw_furniture_shadow,
    draw_occluder,
    draw_shadow,
)
from training.synthetic.scenes.clutter import draw_furniture, draw_robot_arm, low_light
from training.synthetic.scenes.layers import Layers, Shadow
from training.synthetic.scenes.lights import Light
from training.synthetic.scenes.panoramas import Panorama, draw_panorama
from training.synthetic.scenes.photometric import degrade, soft_composite
from training.synthetic.scenes.solids import Rays
from training.synthetic.scenes.textures import TextureBank
from training.synthetic.scenes.viewpoints import Framing, Viewpoints, pixel_rays

__all__ = ['Compositor', 'openness']

CREASE_M, DARKEST_CREASE, CREASE_REACH = 0.2, 0.45, 14
"""Ambient occlusion: a point that is `CREASE_M` metres or more behind its surroundings loses the
share `DARKEST_CREASE` of its light; the surroundings are a square with 1 / `CREASE_REACH` of the
image's side."""
MOST_HIDDEN, MOST_HIDDEN_CROWDED = 0.45, 0.75
"""Largest hidden share of a person in usual and in crowded scenes; occluders that would hide more
are omitted."""
CROWD = 1.2
"""Mean number of other people in a crowded scene."""
CROWD_IN_FRONT = 0.35
"""Share of them in front of the person."""
NEAREST, NEAREST_IN_CROWD, FARTHEST = 0.3, 0.08, 0.65
"""Range of the distance to another person at one side, as a share of the image's side."""
CLUTTER_SHARE = 0.25
"""Share of crowded scenes with a robot arm or furniture in front of the person."""


@dataclass(frozen=True)
class Compositor:
    """Composites people over backgrounds, and occluders over people.

    Attributes:
        bank: textures of rooms and objects.
        parents: (24,) parent of each joint, -1 for the root.
        occluder_share: share of images with an object in front of the person.
        passer_by_share: share of images with a second person.
        is_crowded: several people, robot arms, furniture, people mostly hidden, low light.
    """

    bank: TextureBank
    parents: list[int]
    occluder_share: float
    passer_by_share: float
    is_crowded: bool = False

    def compose(
        self,
        rng: np.random.Generator,
        layers: Layers,
        joints: np.ndarray,
        views: Viewpoints,
        framing: Framing,
        lights: list[Light],
        places: list[tuple[Panorama, float] | None],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Composites people into scenes.

        Args:
            rng: source of the random numbers.
            layers: the rendered people.
            joints: (B, 24, 3) root frame, m.
            views: the cameras.
            framing: the crops.
            lights: light of each person.
            places: panorama of each person with its yaw, radians, or None for a generated scene.

        Returns:
            images (B, S, S, 3) uint8 and masks (B, S, S) uint8 of the visible people.
        """
        count, size = len(layers.people), layers.people.shape[1]
        images = np.empty((count, size, size, 3), np.uint8)
        masks = np.empty((count, size, size), np.uint8)
        for index in range(count):
            scene = Scene(
                framing.center[index],
                float(framing.half_side[index]),
                views.up[index],
                float(views.height_m[index] + layers.lift_m[index]),
                float(views.distance_m[index]),
            )
            placed = joints[index] + framing.translation_m[index]
            rays = pixel_rays(framing, index, size) if framing.strength(index) else None
            wide = scene if rays is None else _scene_around(scene, rays)
            image = self._behind(rng, wide, places[index], views.camera_from_world[index], size)
            self._cast_shadows(rng, image, placed, layers.shadows[index], wide, lights[index])
            if rays is not None:
                image = _as_seen(image, wide, rays)
            cover = self._crowd if self.is_crowded else self._cover
            image, mask = cover(rng, image, layers, index, scene)
            image = degrade(rng, low_light(rng, image) if self.is_crowded else image)
            outside = _outside(framing.border[index], size)
            image[outside] = 0
            mask[outside] = 0
            images[index], masks[index] = image, mask
        return images, masks

    def _behind(
        self,
        rng: np.random.Generator,
        scene: Scene,
        place: tuple[Panorama, float] | None,
        camera_from_world: np.ndarray,
        size: int,
    ) -> np.ndarray:
        """The background (S, S, 3) float32."""
        if place is not None:
            image = draw_panorama(rng, *place, scene, camera_from_world, size)
        else:
            image = draw_background(rng, self.bank, scene, size)
        return cv2.GaussianBlur(image, (5, 5), rng.uniform(0.3, 1.1))

    def _cast_shadows(
        self,
        rng: np.random.Generator,
        image: np.ndarray,
        joints: np.ndarray,
        furniture: Shadow | None,
        scene: Scene,
        light: Light,
    ) -> None:
        """Draws the shadows of a person, joints (24, 3), and of furniture; in place."""
        if rng.random() < 0.75:
            draw_shadow(rng, image, joints, self.parents, scene, light['to_light'])
        if furniture is not None:
            draw_furniture_shadow(image, furniture, scene, light['to_light'])

    def _cover(
        self, rng: np.random.Generator, image: np.ndarray, layers: Layers, index: int, scene: Scene
    ) -> tuple[np.ndarray, np.ndarray]:
        """Composites the person, another one and an occluder; returns image and visible mask."""
        people, silhouettes = layers.people, layers.silhouettes
        count, size = len(people), len(image)
        other = (index + 1) % count
        mask = layers.visible[index].copy()
        in_front = rng.random() < 0.2
        passer_by = None
        if rng.random() < self.passer_by_share and count > 1:
            passer_by = _moved(rng, people[other], silhouettes[other], in_front, NEAREST)
        if passer_by and not in_front:
            image = soft_composite(image, *passer_by, 0.6)
        image = soft_composite(
            image, people[index], silhouettes[index], float(rng.uniform(0.4, 0.8))
        )
        hidden = [passer_by] if passer_by and in_front else []
        if rng.random() < self.occluder_share:
            hidden.append(draw_occluder(rng, self.bank, scene, size))
        for above, hides in hidden:
            if (mask * hides).sum() < MOST_HIDDEN * mask.sum():
                image = soft_composite(image, above * hides[..., None], hides, 0.6)
                mask *= 1 - hides
        return image, mask

    def _crowd(
        self, rng: np.random.Generator, image: np.ndarray, layers: Layers, index: int, scene: Scene
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same as `_cover`, with several people and more occluders."""
        people, silhouettes = layers.people, layers.silhouettes
        count, size = len(people), len(image)
        mask = layers.visible[index].copy()
        others = rng.permutation(count - 1)[: rng.poisson(CROWD)]
        in_front = rng.random(len(others)) < CROWD_IN_FRONT
        above = []
        for other, is_front in zip((index + 1 + others) % count, in_front, strict=True):
            moved = _moved(
                rng, people[other], silhouettes[other], bool(is_front), NEAREST_IN_CROWD
            )
            if is_front:
                above.append(moved)
            else:
                image = soft_composite(image, *moved, 0.6)
        image = soft_composite(
            image, people[index], silhouettes[index], float(rng.uniform(0.4, 0.8))
        )
        if rng.random() < self.occluder_share:
            above.append(draw_occluder(rng, self.bank, scene, size))
        if rng.random() < CLUTTER_SHARE:
            above.append((draw_robot_arm if rng.random() < 0.4 else draw_furniture)(rng, size))
        whole = layers.whole[index]
        for colors, hides in above:
            if (mask * (1 - hides)).sum() >= (1 - MOST_HIDDEN_CROWDED) * whole:
                image = soft_composite(image, colors * hides[..., None], hides, 0.6)
                mask *= 1 - hides
        return image, mask


def openness(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Ambient light of each pixel (S, S, 1), up to 1: less behind nearer limbs.

    Args:
        depth: (S, S) metres, inf for the background.
        mask: (S, S) uint8, 1 at the person's pixels.
    """
    reach = max(len(mask) // CREASE_REACH, 1)
    share = cv2.blur(mask.astype(np.float32), (reach, reach))
    near = cv2.blur(np.where(mask, depth, np.float32(0)), (reach, reach))
    behind = np.where(mask, depth - near / np.maximum(share, 1e-6), 0)
    return 1 - DARKEST_CREASE * np.clip(behind / CREASE_M, 0, 1)[..., None]


def _moved(
    rng: np.random.Generator, person: np.ndarray, mask: np.ndarray, in_front: bool, nearest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Another person's image and mask, randomly mirrored, scaled and shifted to one side."""
    size = len(mask)
    scale = rng.uniform(0.7, 1.3) if in_front else rng.uniform(0.3, 1.0)
    aside = rng.choice([-1, 1]) * rng.uniform(nearest, FARTHEST) * size
    flip = rng.choice([-1, 1])
    middle = (size - 1) / 2
    drop = rng.normal(0, 0.05) * size + (1 - scale) * rng.uniform(-0.2, 0.4) * size
    matrix = np.array(
        [
            [flip * scale, 0, middle - flip * scale * middle + aside],
            [0, scale, middle - scale * middle + drop],
        ]
    )
    return (
        cv2.warpAffine(person, matrix, (size, size)),
        cv2.warpAffine(mask, matrix, (size, size), flags=cv2.INTER_NEAREST),
    )


def _scene_around(scene: Scene, rays: Rays) -> Scene:
    """The scene in a square pinhole crop that contains all rays of a lens."""
    low = np.array([rays.x.min(), rays.y.min()], float)
    high = np.array([rays.x.max(), rays.y.max()], float)
    return replace(scene, center=(low + high) / 2, half_side=float((high - low).max() / 2))


def _as_seen(image: np.ndarray, scene: Scene, rays: Rays) -> np.ndarray:
    """The image (S, S, 3) of a scene, resampled along rays."""
    size = len(image)
    column, row = (
        ((line - np.float32(center)) / np.float32(scene.half_side) + 1) * (size / 2)
        - np.float32(0.5)
        for line, center in zip((rays.x, rays.y), scene.center, strict=True)
    )
    return cv2.remap(image, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _outside(border: np.ndarray, size: int) -> np.ndarray:
    """Pixels (S, S) bool of the crop that are outside the camera image."""
    centers = (2 * np.arange(size) + 1) / size - 1
    across = (centers < border[0]) | (centers > border[2])
    down = (centers < border[1]) | (centers > border[3])
    return down[:, None] | across[None, :]
