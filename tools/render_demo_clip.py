"""Renders the demo clip: python -m tools.render_demo_clip [--out FILE] [--sheet FILE.png].

Two people with the built-in body and the generator's clothes walk through a room: one walks on a
closed course, stops, turns, raises the arms and continues; the other passes by. The clip loops
without a jump. All seeds are fixed: the clip is reproducible with the same versions.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.body_models import BodyModel, load_body
from decomr_core.body_models.frames import ROOT_FROM_BODY
from decomr_core.geometry.rasterizer import rasterize
from tools.demo_walk import DURATION_S, Course, Motion, passing_by, round_with_a_stop, walk
from training.records.rotations import rotation_about
from training.synthetic.clothes import appearance
from training.synthetic.clothes.surface import NUM_WAVES, BodySurface
from training.synthetic.scenes.compositing import openness
from training.synthetic.scenes.textures import TextureBank

log = logging.getLogger('render_demo_clip')

WIDTH, HEIGHT, FPS = 640, 480, 25
CAMERA_HEIGHT_M, PITCH_DEG, FIELD_OF_VIEW_DEG = 1.3, 8.0, 60.0
FOCAL_PX = WIDTH / 2 / np.tan(np.deg2rad(FIELD_OF_VIEW_DEG) / 2)
CAMERA_FROM_WORLD = rotation_about(0, np.deg2rad(PITCH_DEG)) @ ROOT_FROM_BODY
ROOM_M = (4.3, 3.6, 7.6)
"""Half the width, the height and the depth of the room."""
NEAREST_FLOOR_M = 1.5
PIXELS_PER_M = 100
"""Resolution of the textures of floor and walls."""
FINER = 3
"""Supersampling factor of the room."""
TO_LIGHT = np.array([-0.38, 0.80, 0.46])
"""Direction of the lamp, world frame."""
SHADOW = 0.5
"""Share of the light that is blocked in a person's shadow."""
FLOOR_TEXTURE = 17
OUTFIT_SEEDS = (29, 0)
SHAPES = ((0.5,), (-0.9, -0.3))
"""The first shape components of the two people."""


@dataclass(frozen=True)
class Person:
    """One dressed person and the whole motion.

    Attributes:
        motion: poses at T times.
        shape: (1, 10) shape components.
        pelvis: (3,) joint 0 in T-pose.
        outfit: parameters of a batch of 1.
        stand_off: (V,) offset of the clothes, m.
        stain: (V,) blotches on the clothes.
    """

    motion: Motion
    shape: Tensor
    pelvis: np.ndarray
    outfit: appearance.Outfits
    stand_off: Tensor
    stain: Tensor


class Clip:
    """Renders the frames one by one.

    Args:
        body: the body of both people.
    """

    def __init__(self, body: BodyModel) -> None:
        self.body = body
        self.surface = BodySurface(body)
        self.times = np.arange(round(DURATION_S * FPS)) / FPS
        courses = (
            round_with_a_stop((0.15, -4.75), (1.3, 0.95), strides=9),
            passing_by(
                [
                    (3.6, -5.0),
                    (2.0, -5.6),
                    (-0.6, -5.9),
                    (-1.75, -4.9),
                    (-1.5, -3.7),
                    (-2.6, -2.9),
                ],
                speed=1.18,
                start_s=0.2,
            ),
        )
        self.people = [
            self._person(*parts) for parts in zip(courses, SHAPES, OUTFIT_SEEDS, strict=True)
        ]
        self.room = draw_room()

    def _person(self, course: Course, shape: tuple[float, ...], seed: int) -> Person:
        rng = np.random.default_rng(seed)
        betas = torch.zeros(1, 10)
        betas[0, : len(shape)] = torch.tensor(shape)
        vertices, joints = self.body(torch.zeros(1, 24, 3), betas)
        outfit = appearance.sample_outfits(rng, 1)
        mixes = torch.from_numpy(rng.normal(0, (2 / NUM_WAVES) ** 0.5, (2, NUM_WAVES))).float()
        folds, stain = self.surface.mix_waves(mixes)
        stand_off = appearance.offsets(self.surface.vertices, outfit, folds[None])[0]
        rest = joints[0].double().numpy()
        sole = float(vertices[0, :, 1].min()) - float(outfit['shoe_off'])
        return Person(
            walk(course, rest, sole, self.times), betas, rest[0], outfit, stand_off, stain
        )

    @torch.no_grad()
    def frame(self, index: int) -> np.ndarray:
        """Renders a frame (480, 640, 3) uint8 RGB by its index."""
        dressed = [self._dressed(person, index) for person in self.people]
        image = self.room.copy()
        for world in dressed:
            _draw_shadow(image, world.double().numpy())
        depths = [-float(person.motion.root[index, 2]) for person in self.people]
        for number in np.argsort(depths)[::-1]:
            self._draw_person(image, self.people[number], dressed[number])
        return np.clip(image, 0, 255).astype(np.uint8)

    def _dressed(self, person: Person, index: int) -> Tensor:
        """The dressed surface (V, 3) in the world frame, m."""
        pose = torch.from_numpy(person.motion.pose[index]).float()[None]
        vertices, _ = self.body(pose, person.shape)
        root = torch.from_numpy(person.motion.root[index] - person.pelvis).float()
        vertices = vertices + root
        return (vertices + self.surface.normals(vertices) * person.stand_off[:, None])[0]

    def _draw_person(self, image: np.ndarray, person: Person, world: Tensor) -> None:
        camera = in_camera(world.double().numpy())
        if camera[:, 2].min() < 0.5:
            return
        pixels = in_image(camera)
        low = np.floor(pixels.min(0)).astype(int) - 4
        side = int(np.ceil((pixels.max(0) - low).max())) + 5
        if (low >= [WIDTH, HEIGHT]).any() or (low + side <= 0).any():
            return
        crop = (pixels + 0.5 - low) * (2 / side) - 1
        points = torch.from_numpy(np.concatenate([crop, camera[:, 2:]], 1)).float()[None]
        colors, shown = self._colors(person, world, points, 2 * side)
        colors = cv2.resize(
            cv2.GaussianBlur(colors, (0, 0), 0.9), (side, side), interpolation=cv2.INTER_AREA
        )
        share = cv2.resize(
            cv2.GaussianBlur(shown, (0, 0), 0.9), (side, side), interpolation=cv2.INTER_AREA
        )[..., None]
        first, last = np.maximum(low, 0), np.minimum(low + side, [WIDTH, HEIGHT])
        here = (slice(first[1], last[1]), slice(first[0], last[0]))
        there = (
            slice(first[1] - low[1], last[1] - low[1]),
            slice(first[0] - low[0], last[0] - low[0]),
        )
        # The colours are black outside the person, so their blur is already weighted by the share.
        image[here] = image[here] * (1 - share[there]) + colors[there]

    def _colors(
        self, person: Person, world: Tensor, points: Tensor, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The lit person on black (S, S, 3), 0 to 255, and the mask (S, S); float32."""
        fragments = rasterize(points, self.body.faces, size, cull_backfaces=True)
        shown = fragments.face_index[0] >= 0
        face, weights = fragments.face_index[0][shown], fragments.barycentric[0][shown]
        corners = self.body.faces[face]
        normals = (self.surface.normals(world[None])[0][corners] * weights[..., None]).sum(1)
        normals = torch.nn.functional.normalize(normals, dim=-1)
        count = len(face)
        own = {
            name: value.expand(count, *value.shape[1:]) for name, value in person.outfit.items()
        }
        stain = (person.stain[corners] * weights).sum(1)
        albedo, gloss = appearance.paint(self.surface.points(face, weights), own, stain)
        # Shading is in the camera frame, because the highlight depends on the view direction.
        turn = torch.from_numpy(CAMERA_FROM_WORLD).float()
        light = {
            'to_light': turn @ _tensor(TO_LIGHT / np.linalg.norm(TO_LIGHT)),
            'up': turn[:, 1],
            'lamp': _tensor([0.80, 0.77, 0.72]),
            'sky': _tensor([0.52, 0.55, 0.60]),
        }
        light = {name: value.expand(count, 3) for name, value in light.items()}
        light['wrap'] = torch.full((count,), 0.25)
        colors = torch.zeros(size, size, 3)
        colors[shown] = appearance.shade(albedo, gloss, normals @ turn.T, light) * 255
        depth = fragments.depth[0].numpy()
        return colors.numpy() * openness(depth, shown.numpy()), shown.float().numpy()


def in_camera(world: np.ndarray) -> np.ndarray:
    """Transforms points (..., 3) from the world frame to the camera optical frame, m."""
    return (world - [0, CAMERA_HEIGHT_M, 0]) @ CAMERA_FROM_WORLD.T


def in_image(camera: np.ndarray) -> np.ndarray:
    """Projects points (..., 3) of the camera frame to pixel positions (..., 2)."""
    middle = [(WIDTH - 1) / 2, (HEIGHT - 1) / 2]
    return camera[..., :2] / camera[..., 2:] * FOCAL_PX + middle


def draw_room() -> np.ndarray:
    """Draws the empty room (480, 640, 3) float32, 0 to 255."""
    bank = TextureBank()
    half, tall, deep = ROOM_M
    near = -NEAREST_FLOOR_M
    image: np.ndarray = np.zeros((HEIGHT * FINER, WIDTH * FINER, 3), np.float32)
    floor = _tile(bank.floors[FLOOR_TEXTURE], 2 * half, deep + near, 2.0)
    floor *= np.array([0.74, 0.62, 0.50], np.float32) * 1.25
    floor *= _fading(floor.shape[:2], rows=60)[..., None]
    _lay(image, floor, [[-half, 0, -deep], [half, 0, -deep], [half, 0, near], [-half, 0, near]])
    side = _wall(bank, deep + near) * 0.86
    _lay(
        image,
        side,
        [[-half, tall, near], [-half, tall, -deep], [-half, 0, -deep], [-half, 0, near]],
    )
    _lay(
        image,
        side * 0.92,
        [[half, tall, -deep], [half, tall, near], [half, 0, near], [half, 0, -deep]],
    )
    back = _wall(bank, 2 * half)
    _furnish(back, bank)
    _lay(
        image,
        back,
        [[-half, tall, -deep], [half, tall, -deep], [half, 0, -deep], [-half, 0, -deep]],
    )
    _box(image, (0.95, 0, -deep), (2.75, 0.78, -deep + 0.5), (118, 92, 70))
    _box(image, (1.1, 0.78, -deep + 0.1), (1.4, 1.1, -deep + 0.35), (70, 105, 110))
    _box(image, (2.2, 0.78, -deep + 0.1), (2.6, 0.95, -deep + 0.4), (150, 60, 50))
    image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    x, y = np.meshgrid(np.linspace(-1, 1, WIDTH), np.linspace(-1, 1, HEIGHT))
    return image * (1 - 0.16 * (x * x + y * y)).astype(np.float32)[..., None]


def _wall(bank: TextureBank, wide_m: float) -> np.ndarray:
    """A painted wall with a skirting board, (h, w, 3) float32."""
    noise = _tile(bank.noise[2][..., None].repeat(3, 2) * 100, wide_m, ROOM_M[1], 3.5) / 100
    wall = np.full_like(noise, (196, 192, 180))
    wall[-130:] = (120, 140, 146)
    wall[-132:-128] = (230, 228, 220)
    wall *= 1 + 0.035 * noise
    wall[-12:] = (222, 218, 208)
    return wall * _fading(wall.shape[:2], rows=-40)[..., None]


def _furnish(wall: np.ndarray, bank: TextureBank) -> None:
    """Draws a door, a window and posters on the back wall; in place."""
    base = len(wall)

    def block(
        left: float, right: float, low: float, high: float, color: tuple[int, int, int]
    ) -> None:
        cv2.rectangle(
            wall,
            (round(left * 100), base - round(high * 100)),
            (round(right * 100), base - round(low * 100)),
            color,
            -1,
        )

    block(0.75, 1.85, 0, 2.16, (232, 229, 220))
    block(0.83, 1.77, 0, 2.08, (142, 108, 78))
    for low, high in ((0.25, 0.9), (1.05, 1.9)):
        block(0.98, 1.62, low, high, (124, 93, 66))
    block(1.64, 1.72, 0.98, 1.03, (210, 205, 190))
    block(3.0, 4.7, 1.35, 2.6, (236, 234, 228))
    for left in (3.08, 3.9):
        block(left, left + 0.72, 1.43, 2.52, (176, 205, 226))
        block(left, left + 0.72, 1.43, 1.75, (128, 158, 120))
    for left, texture in ((5.35, bank.plain[2]), (6.5, bank.plain[4]), (7.45, bank.plain[12])):
        block(left - 0.03, left + 0.73, 1.42, 2.35, (50, 48, 46))
        poster = cv2.resize(texture, (70, 87), interpolation=cv2.INTER_AREA)
        wall[base - 232 : base - 145, round(left * 100) : round(left * 100) + 70] = poster * 0.9


def _box(
    image: np.ndarray, low: tuple[float, ...], high: tuple[float, ...], color: tuple[int, ...]
) -> None:
    """Draws a box between two opposite corners in the world frame: front, top and inner side."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    inner = x0 if x0 > 0 else x1
    faces = (
        ([[inner, y0, z0], [inner, y0, z1], [inner, y1, z1], [inner, y1, z0]], 0.75),
        ([[x0, y1, z0], [x1, y1, z0], [x1, y1, z1], [x0, y1, z1]], 1.2),
        ([[x0, y0, z1], [x1, y0, z1], [x1, y1, z1], [x0, y1, z1]], 1.0),
    )
    for corners, gain in faces:
        spots = (in_image(in_camera(np.array(corners))) + 0.5) * FINER - 0.5
        cv2.fillConvexPoly(
            image, spots.round().astype(np.int32), (np.array(color) * gain).tolist(), cv2.LINE_AA
        )


def _lay(image: np.ndarray, texture: np.ndarray, corners: list[list[float]]) -> None:
    """Draws a texture on a rectangle in the world frame, given from its top left corner on."""
    height, width = texture.shape[:2]
    spots = (in_image(in_camera(np.array(corners))) + 0.5) * FINER - 0.5
    source = np.array(
        [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]],
        np.float32,
    )
    matrix = cv2.getPerspectiveTransform(source, spots.astype(np.float32))
    cv2.warpPerspective(
        texture, matrix, image.shape[1::-1], image, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT
    )


def _tile(texture: np.ndarray, wide_m: float, tall_m: float, repeat_m: float) -> np.ndarray:
    side = round(repeat_m * PIXELS_PER_M)
    tile = cv2.resize(texture.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    wide, tall = round(wide_m * PIXELS_PER_M), round(tall_m * PIXELS_PER_M)
    return np.tile(tile, (-(-tall // side), -(-wide // side), 1))[:tall, :wide].copy()


def _fading(shape: tuple[int, ...], rows: int) -> np.ndarray:
    """Factors that darken the edges of a wall or floor; for negative `rows` the last rows."""
    row = np.arange(shape[0])[:: -1 if rows < 0 else 1]
    column = np.minimum(np.arange(shape[1]), np.arange(shape[1])[::-1])
    down, across = (1 - 0.3 * np.exp(-steps / abs(rows)) for steps in (row, column))
    return (down[:, None] * across[None]).astype(np.float32)


def _draw_shadow(image: np.ndarray, world: np.ndarray) -> None:
    """Draws the shadow of a person (V, 3), and contact shadows of the feet; in place."""
    finer = 2
    for fall, strength, blur in ((1.0, SHADOW, 2.5), (0.12, 0.4, 1.2)):
        along = TO_LIGHT * fall / TO_LIGHT[1]
        ground = world - along * np.maximum(world[:, 1:2], 0)
        ground[:, 1] = 0
        near = ground[world[:, 1] < (2.5 if fall == 1 else 0.25)]
        spots = in_image(in_camera(near)) * finer
        mask: np.ndarray = np.zeros((HEIGHT * finer, WIDTH * finer), np.float32)
        x, y = spots.round().astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
        mask[y[inside], x[inside]] = 1
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7)))
        mask = cv2.GaussianBlur(mask, (0, 0), blur * finer)
        mask = cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        image *= 1 - strength * mask[..., None]


def _tensor(values: object) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


def main() -> None:
    """Renders the clip, and optionally a contact sheet."""
    parser = argparse.ArgumentParser('render_demo_clip', description=__doc__.partition('\n')[0])
    parser.add_argument(
        '--out', type=Path, default=DATA_FOLDER / 'demo_clip.mp4', help='video file to write'
    )
    parser.add_argument('--step', type=int, default=1, help='render only every n-th frame (1)')
    parser.add_argument('--sheet', type=Path, help='also write a contact sheet of 20 frames')
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clip = Clip(load_body('builtin'))
    writer = cv2.VideoWriter(
        str(options.out), cv2.VideoWriter.fourcc(*'mp4v'), FPS / options.step, (WIDTH, HEIGHT)
    )
    if not writer.isOpened():
        raise SystemExit(f'render_demo_clip: cannot write {options.out}; give another --out')
    frames = []
    for index in range(0, len(clip.times), options.step):
        frames.append(cv2.cvtColor(clip.frame(index), cv2.COLOR_RGB2BGR))
        writer.write(frames[-1])
    writer.release()
    log.info('%s: %d frames, %.2f MB', options.out, len(frames), options.out.stat().st_size / 1e6)
    if options.sheet:
        chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, 20).astype(int)]
        rows = [np.concatenate(chosen[start : start + 4], 1) for start in range(0, 20, 4)]
        cv2.imwrite(
            str(options.sheet),
            cv2.resize(np.concatenate(rows), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
        )


if __name__ == '__main__':
    main()
