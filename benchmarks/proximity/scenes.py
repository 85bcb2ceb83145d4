"""Rendered rooms with people whose position is known: images, depth images, meshes and boxes.

Each scene has its own camera: 640x480 px, horizontal field of view 50 to 90 degrees, 0.5 to 2 m
high, aimed at the people. One to four people stand 1.2 to 8 m away (log-uniform) and up to a
little beyond the image border, in the poses, shapes and painted clothes of the training
generator. Their shapes are those of adults: ten normally distributed components. They are
1.55 to 1.92 m tall, 1.73 m on average. In two scenes
of five a box or a post stands in front of somebody. The depth image measures the clothed surface,
the true vertices are those of the body below. All lengths are in metres, in the camera optical
frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from benchmarks.proximity.sensors import (
    HEIGHT,
    WIDTH,
    Camera,
    Person,
    degrade_image,
    on_feet,
    room_depth,
    sample_camera,
)
from decomr_core.body_models import BodyModel
from decomr_core.geometry.camera import project_perspective
from training.records.root_frame import root_frame_body
from training.records.rotations import rotation_about
from training.synthetic.bodies.body_shapes import sample_shapes
from training.synthetic.bodies.plausible_poses import PoseCheck, draw_plausible
from training.synthetic.bodies.pose_rules import sample_wide_poses
from training.synthetic.clothes.dressing import ClothStreams
from training.synthetic.painting import Appearances, Bodies, Painter
from training.synthetic.scenes.backgrounds import Scene as Background
from training.synthetic.scenes.backgrounds import draw_background
from training.synthetic.scenes.lights import Light, sample_light
from training.synthetic.scenes.photometric import soft_composite
from training.synthetic.scenes.solids import Material, Rays, Solid, cast, surface
from training.synthetic.scenes.textures import random_color, shared_textures
from training.synthetic.scenes.viewpoints import Framing, Viewpoints, orient_poses

__all__ = ['Layer', 'Room', 'Scene', 'SceneRenderer']

OBJECT_SHARE = 0.4
SOFTNESS_PX = 0.6


@dataclass(frozen=True)
class Scene:
    """One image.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) true depth along the optical axis, float32; inf where there is nothing.
        camera: its camera.
        people: the people, also those who have no box.
    """

    image: np.ndarray
    depth: np.ndarray
    camera: Camera
    people: list[Person]


@dataclass(frozen=True)
class Layer:
    """One person or object on black.

    Attributes:
        colors: (H, W, 3) float32, 0 to 255.
        depth: (H, W) float32, inf outside.
        whole: number of its pixels, with those outside the image.
    """

    colors: np.ndarray
    depth: np.ndarray
    whole: float


@dataclass(frozen=True)
class Room:
    """What surrounds the people: background, light and things.

    Attributes:
        image: (H, W, 3) float32, 0 to 255.
        depth: (H, W) float32, of the ground and the back wall.
        light: of the people.
        things: objects between the people.
    """

    image: np.ndarray
    depth: np.ndarray
    light: Light
    things: list[Layer]


class SceneRenderer:
    """Renders scenes; each is determined by its seed and number."""

    def __init__(self, body: BodyModel) -> None:
        """Prepares the surface of the body.

        Args:
            body: the body of all people.
        """
        self.body = body
        self.painter = Painter(body, None, 0.0)
        self._check = PoseCheck(body)
        self._bank = shared_textures()

    @torch.no_grad()
    def scene(self, seed: int, number: int) -> Scene:
        """Renders a scene."""
        rng = np.random.default_rng([seed, number])
        camera, places = sample_camera(rng)
        bodies, places = self._bodies(rng, camera, places)
        room = self.room(rng, camera, places)
        appearances = self.painter.sample_appearances(rng, len(places))
        image, depth, people = self.compose(rng, camera, room, bodies, places, appearances)
        return Scene(degrade_image(rng, image), depth, camera, people)

    def room(self, rng: np.random.Generator, camera: Camera, places: np.ndarray) -> Room:
        """A room around people at places (P, 3)."""
        back = float(np.linalg.norm(places, axis=1).max()) + rng.uniform(0.5, 3.0)
        focal, middle = camera.intrinsics[0, 0], camera.intrinsics[:2, 2]
        center = ((np.array([WIDTH, WIDTH]) - 1) / 2 - middle) / focal
        view = Background(center, WIDTH / 2 / focal, camera.up, camera.height_m, back)
        image = draw_background(rng, self._bank, view, WIDTH)[:HEIGHT]
        light = sample_light(rng, camera.up)
        depth = room_depth(camera, back)
        things = [self._thing(rng, camera, places)] if rng.random() < OBJECT_SHARE else []
        return Room(np.ascontiguousarray(image, np.float32), depth, light, things)

    def compose(
        self,
        rng: np.random.Generator,
        camera: Camera,
        room: Room,
        bodies: Bodies,
        places: np.ndarray,
        appearances: Appearances,
    ) -> tuple[np.ndarray, np.ndarray, list[Person]]:
        """Renders people into a room.

        Args:
            rng: source of the random numbers.
            camera: the camera.
            room: the room.
            bodies: P people.
            places: (P, 3) positions of their roots.
            appearances: their clothes.

        Returns:
            image (H, W, 3) float32, true depth (H, W), and the people.
        """
        layers = [
            self._layer(rng, camera, room.light, _part(bodies, one), places[one], appearances, one)
            for one in range(len(places))
        ]
        image, depth = room.image, room.depth.copy()
        owner = np.full(depth.shape, -1)
        everything = [*enumerate(layers), *((-2, thing) for thing in room.things)]
        for number, layer in sorted(everything, key=lambda item: -_middle_depth(item[1])):
            mask = np.isfinite(layer.depth)
            image = soft_composite(image, layer.colors, mask.astype(np.uint8), SOFTNESS_PX)
            depth[mask], owner[mask] = layer.depth[mask], number
        people = [
            _person(
                camera,
                bodies.vertices[one].numpy() + places[one],
                places[one],
                owner == one,
                layers[one].whole,
            )
            for one in range(len(places))
        ]
        return image, depth, people

    def _bodies(
        self, rng: np.random.Generator, camera: Camera, places: np.ndarray
    ) -> tuple[Bodies, np.ndarray]:
        """People on the ground at places (P, 3), and the positions (P, 3) of their roots."""
        count = len(places)
        views = Viewpoints(
            np.tile(camera.camera_from_world, (count, 1, 1)), *np.zeros((4, count, 1))
        )
        drawn = draw_plausible(rng, sample_wide_poses, count, self._check)[0]
        pose = torch.from_numpy(orient_poses(rng, drawn, views).astype(np.float32))
        shape = torch.from_numpy(sample_shapes(rng, count))
        vertices, joints = root_frame_body(self.body, pose, shape)
        return Bodies(vertices, joints, pose, shape), on_feet(camera, vertices.numpy(), places)

    def _layer(
        self,
        rng: np.random.Generator,
        camera: Camera,
        light: Light,
        body: Bodies,
        place: np.ndarray,
        appearances: Appearances,
        number: int,
    ) -> Layer:
        """Renders one person at twice the resolution, in the part of the image that shows it."""
        pixels = project_perspective(body.vertices[0].numpy() + place, camera.intrinsics)
        limit = np.array([WIDTH, HEIGHT])
        low = np.clip(np.floor(pixels.min(0)) - 6, 0, limit).astype(int)
        high = np.clip(np.ceil(pixels.max(0)) + 7, 0, limit).astype(int)
        colors = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        depth = np.full((HEIGHT, WIDTH), np.inf, np.float32)
        side = int((high - low).max())
        if (high - low).min() < 2:
            return Layer(colors, depth, 1.0)
        one = slice(number, number + 1)
        own = Appearances(
            {name: value[one] for name, value in appearances.outfit.items()},
            appearances.folds[one],
            appearances.stains[one],
        )
        framing = _framing(camera, low, side, place)
        drawn = self.painter.draw(ClothStreams(rng), body, own, framing, [light], 2 * side)
        wide, tall = high - low
        inside = (slice(low[1], high[1]), slice(low[0], high[0]))
        half = cv2.resize(drawn.people[0], (side, side), interpolation=cv2.INTER_AREA)
        surface_depth = drawn.surface.depth[0].numpy()[::2, ::2]
        colors[inside] = half[:tall, :wide]
        depth[inside] = surface_depth[:tall, :wide]
        colors[~np.isfinite(depth)] = 0
        return Layer(colors, depth, _whole_area(pixels))

    def _thing(self, rng: np.random.Generator, camera: Camera, places: np.ndarray) -> Layer:
        """A box or a post that stands before somebody."""
        place = places[rng.integers(len(places))] * rng.uniform(0.45, 0.8)
        up = camera.up
        ground = place - up * (place @ up + camera.height_m)
        right = np.cross(up, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        axes = rotation_about(2, rng.uniform(-0.6, 0.6)) @ np.stack(
            [right, np.cross(up, right), up]
        )
        is_post = bool(rng.random() < 0.4)
        wide = rng.uniform(0.04, 0.12) if is_post else rng.uniform(0.15, 0.6)
        tall = rng.uniform(0.9, 2.4) if is_post else rng.uniform(0.4, 1.1)
        half = np.array([wide, wide if is_post else rng.uniform(0.1, 0.4), tall / 2])
        ground = ground + right * rng.normal(0, 0.3)
        texture = self._bank.plain[rng.integers(len(self._bank.plain))]
        material = Material(random_color(rng), texture if rng.random() < 0.5 else None)
        solid = Solid(ground + up * tall / 2, axes, half, is_post, material)
        rays = Rays(camera.rays[..., 0], camera.rays[..., 1])
        hits = cast([solid], rays)
        shown = hits.solid >= 0
        colors = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        if shown.any():
            paint, normals = surface([solid], hits, rays, shown)
            light = 0.6 + 0.4 * np.clip(normals @ -np.array([0.3, 0.5, 0.8]), 0, 1)
            colors[shown] = paint * light[:, None]
        return Layer(colors, np.where(shown, hits.depth, np.inf).astype(np.float32), 1.0)


def _person(
    camera: Camera, vertices: np.ndarray, place: np.ndarray, shown: np.ndarray, whole: float
) -> Person:
    """The person whose visible pixels are `shown` (H, W) bool."""
    pixels = project_perspective(vertices, camera.intrinsics)
    is_inside = ((pixels >= -0.5) & (pixels < np.array([WIDTH, HEIGHT]) - 0.5)).all(1)
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    box = (
        np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) - 0.5
        if len(rows)
        else np.full(4, np.nan)
    )
    return Person(
        vertices.astype(np.float32),
        place,
        min(float(shown.sum()) / whole, 1.0),
        float(is_inside.mean()),
        box,
    )


def _framing(camera: Camera, low: np.ndarray, side: int, place: np.ndarray) -> Framing:
    """The framing of a square of the image that begins at a pixel (2,)."""
    focal, middle = camera.intrinsics[0, 0], camera.intrinsics[:2, 2]
    center = (low + (side - 1) / 2 - middle) / focal
    border = np.array([[-1.0, -1, 1, 1]])
    return Framing(place[None], center[None], np.array([side / 2 / focal]), border)


def _whole_area(pixels: np.ndarray) -> float:
    """Area, px, of the silhouette of vertices (V, 2), also outside the image."""
    low = pixels.min(0)
    scale = 200 / max(float((pixels.max(0) - low).max()), 1e-6)
    mask = np.zeros((206, 206), np.uint8)
    column, row = np.round((pixels - low) * scale + 2).astype(int).T
    mask[row, column] = 1
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return max(float(closed.sum()) / scale**2, 1.0)


def _middle_depth(layer: Layer) -> float:
    is_there = np.isfinite(layer.depth)
    return float(np.median(layer.depth[is_there])) if is_there.any() else np.inf


def _part(bodies: Bodies, index: int) -> Bodies:
    one = slice(index, index + 1)
    return Bodies(bodies.vertices[one], bodies.joints[one], bodies.pose[one], bodies.shape[one])
