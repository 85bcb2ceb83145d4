"""Rendered rooms with people whose position is known: images, depth images, meshes and boxes.

Each scene has its own camera: 640x480 px, horizontal field of view 50 to 90 degrees, 0.5 to 2 m
high, aimed at the people. One to four people stand 1.2 to 8 m away (log-uniform) and up to a
little beyond the image border, in the poses, shapes and painted clothes of the training
generator. Their shapes are those of adults; `heights_m` gives their distribution. In two scenes
of five a box or a post stands in front of somebody. The depth image measures the clothed surface,
the true vertices are those of the body below. All lengths are in metres, in the camera optical
frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from decomr_core.body_models import BodyModel
from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.geometry.camera import intrinsics_from_fov, project_perspective
from training.records.root_frame import root_frame_body
from training.records.rotations import rotation_about
from training.synthetic.bodies.body_shapes import sample_shapes
from training.synthetic.bodies.plausible_poses import PoseCheck, draw_plausible
from training.synthetic.bodies.pose_rules import sample_wide_poses
from training.synthetic.painting import Appearances, Bodies, Painter
from training.synthetic.scenes.backgrounds import Scene as Background
from training.synthetic.scenes.backgrounds import draw_background
from training.synthetic.scenes.lights import Light, sample_light
from training.synthetic.scenes.photometric import degrade, soft_composite
from training.synthetic.scenes.solids import Material, Rays, Solid, cast, surface
from training.synthetic.scenes.textures import random_color, shared_textures
from training.synthetic.scenes.viewpoints import Framing, Viewpoints, orient_poses

__all__ = [
    'HEIGHT',
    'WIDTH',
    'Camera',
    'Layer',
    'Person',
    'Room',
    'Scene',
    'SceneRenderer',
    'detected_boxes',
    'measured_depth',
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
OBJECT_SHARE = 0.4
SOFTNESS_PX = 0.6
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
        depth = _room_depth(camera, back)
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
            _person(camera, bodies.vertices[one].numpy() + places[one], places[one], owner == one,
                    layers[one].whole)
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
        pose = draw_plausible(rng, sample_wide_poses, count, self._check)[0]
        pose = torch.from_numpy(orient_poses(rng, pose, views).astype(np.float32))
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
        drawn = self.painter.draw(rng, body, own, framing, [light], 2 * side)
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
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return max(float(mask.sum()) / scale**2, 1.0)


def _room_depth(camera: Camera, back_m: float) -> np.ndarray:
    """Depth (H, W) of the ground and of a wall at a distance along the ground."""
    rays = np.concatenate([camera.rays, np.ones((HEIGHT, WIDTH, 1), np.float32)], axis=-1)
    rise = rays @ camera.up.astype(np.float32)
    ahead = -camera.camera_from_world[:, 2]
    along = np.maximum(rays @ ahead.astype(np.float32), 1e-3)
    ground = np.where(rise < -1e-4, camera.height_m / np.maximum(-rise, 1e-4), np.inf)
    return np.minimum(ground, back_m / along).astype(np.float32)


def _middle_depth(layer: Layer) -> float:
    is_there = np.isfinite(layer.depth)
    return float(np.median(layer.depth[is_there])) if is_there.any() else np.inf


def _part(bodies: Bodies, index: int) -> Bodies:
    one = slice(index, index + 1)
    return Bodies(bodies.vertices[one], bodies.joints[one], bodies.pose[one], bodies.shape[one])
