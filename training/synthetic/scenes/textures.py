"""A bank of procedural textures for floors, walls and objects, generated with a fixed seed."""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

__all__ = ['TEXTURE_SIDE', 'TextureBank', 'random_color', 'shared_textures']

TEXTURE_SIDE = 256
"""Side of each square texture, px; they repeat."""


class TextureBank:
    """Procedural textures by use.

    Attributes:
        floors: (n, 256, 256, 3) uint8 RGB: tiles, planks, carpet, grass, asphalt.
        walls: (n, 256, 256, 3) uint8 RGB: plaster, bricks, doors, windows, shelves, posters.
        plain: (n, 256, 256, 3) uint8 RGB: noise, stripes, checks, clutter.
        noise: (n, 256, 256) float32, mean 0, about -1 to 1.
    """

    def __init__(self, each: int = 40, seed: int = 11) -> None:
        rng = np.random.default_rng(seed)
        self.noise = np.stack([fractal_noise(rng) for _ in range(12)])
        self.floors = self._make(rng, [_tiles, _planks, _speckle, _speckle], each)
        self.walls = self._make(rng, [_plaster, _tiles, _furnished, _furnished, _facade], each)
        self.plain = self._make(rng, [_plaster, _stripes, _clutter, _speckle, _clutter], each)

    def _make(
        self,
        rng: np.random.Generator,
        makers: list[Callable[[np.random.Generator], np.ndarray]],
        count: int,
    ) -> np.ndarray:
        made = []
        for index in range(count):
            texture = makers[index % len(makers)](rng).astype(np.float32)
            noise = self.noise[rng.integers(len(self.noise))][..., None]
            made.append(np.clip(texture * (1 + noise * rng.uniform(0, 0.3)), 0, 255))
        return np.stack(made).astype(np.uint8)


@functools.cache
def shared_textures() -> TextureBank:
    """The default bank, made once per process; its arrays are read-only."""
    bank = TextureBank()
    for textures in vars(bank).values():
        textures.setflags(write=False)
    return bank


def random_color(rng: np.random.Generator) -> np.ndarray:
    """A random colour (3,), 0 to 255, usually nearly grey, like floors and walls."""
    color = rng.uniform(10, 255, 3)
    return color + (color.sum() / 3 - color) * rng.choice([0.95, 0.8, 0.3], p=[0.55, 0.33, 0.12])


def fractal_noise(rng: np.random.Generator, side: int = TEXTURE_SIDE) -> np.ndarray:
    """Smooth noise of several octaves (side, side) float32, mean 0."""
    total = np.zeros((side, side), np.float32)
    for octave in range(2, 8):
        cells = rng.normal(0, 1, (2**octave, 2**octave)).astype(np.float32)
        weight = rng.uniform(0.2, 1) * 0.75**octave * 2
        total += weight * cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
    return total / max(total.std() * 2, 1e-6)


def _flat(rng: np.random.Generator) -> np.ndarray:
    return np.full((TEXTURE_SIDE, TEXTURE_SIDE, 3), random_color(rng), np.float32)


def _plaster(rng: np.random.Generator) -> np.ndarray:
    image = _flat(rng)
    if rng.random() < 0.5:
        split = int(rng.uniform(0.3, 0.7) * TEXTURE_SIDE)
        image[split:] = random_color(rng)
    return image


def _tiles(rng: np.random.Generator) -> np.ndarray:
    """Tiles, bricks or a chessboard with joints."""
    image = _flat(rng)
    rows, columns = int(rng.choice([4, 8, 16])), int(rng.choice([2, 4, 8]))
    tall, wide = TEXTURE_SIDE // rows, TEXTURE_SIDE // columns
    joint = int(rng.integers(1, 5))
    first, second = random_color(rng), random_color(rng)
    second = first if rng.random() < 0.6 else second
    spread, stagger = rng.uniform(0, 25), rng.random() < 0.5
    for row in range(rows):
        for column in range(-1, columns):
            color = (first if (row + column) % 2 else second) + rng.normal(0, spread)
            left = column * wide + (wide // 2 if stagger and row % 2 else 0)
            cv2.rectangle(
                image,
                (left, row * tall),
                (left + wide - joint, (row + 1) * tall - joint),
                color.tolist(),
                -1,
            )
    return image


def _planks(rng: np.random.Generator) -> np.ndarray:
    image = _flat(rng)
    base = random_color(rng)
    count = int(rng.choice([4, 8, 16]))
    wide = TEXTURE_SIDE // count
    for column in range(count):
        color = base * rng.uniform(0.75, 1.15)
        cv2.rectangle(
            image, (column * wide, 0), ((column + 1) * wide - 2, TEXTURE_SIDE), color.tolist(), -1
        )
        cut = int(rng.integers(TEXTURE_SIDE))
        cv2.line(image, (column * wide, cut), ((column + 1) * wide, cut), (base * 0.5).tolist(), 2)
    return image


def _speckle(rng: np.random.Generator) -> np.ndarray:
    """Grass, gravel, carpet, asphalt."""
    image = _flat(rng)
    fine = rng.normal(0, rng.uniform(5, 45), (TEXTURE_SIDE, TEXTURE_SIDE, 1)).astype(np.float32)
    return image + cv2.GaussianBlur(fine, (0, 0), rng.uniform(0.5, 2))[..., None] * 2


def _stripes(rng: np.random.Generator) -> np.ndarray:
    axis = np.arange(TEXTURE_SIDE) / TEXTURE_SIDE * 2 * np.pi
    x, y = np.meshgrid(axis, axis)
    wave = np.sin(x * rng.integers(0, 24) + y * rng.integers(0, 24))
    if rng.random() < 0.4:
        wave = wave * np.sin(x * rng.integers(1, 16) - y * rng.integers(1, 16))
    share = (1 / (1 + np.exp(-wave * rng.uniform(1, 20))))[..., None]
    return random_color(rng) * share + random_color(rng) * (1 - share)


def _clutter(rng: np.random.Generator) -> np.ndarray:
    """Overlapping boxes, ellipses and lines of random colours."""
    image = _flat(rng)
    for _ in range(rng.integers(15, 70)):
        color = random_color(rng).tolist()
        x, y = (int(v) for v in rng.integers(0, TEXTURE_SIDE, 2))
        wide, tall = (int(v) for v in rng.gamma(2, 18, 2))
        kind = rng.integers(4)
        if kind <= 1:
            cv2.rectangle(image, (x, y), (x + wide, y + tall), color, -1)
        elif kind == 2:
            cv2.ellipse(image, (x, y), (wide // 2, tall // 2), 0, 0, 360, color, -1)
        else:
            end = rng.integers(0, TEXTURE_SIDE, 2)
            cv2.line(image, (x, y), (int(end[0]), int(end[1])), color, int(rng.integers(1, 6)))
    return image


def _furnished(rng: np.random.Generator) -> np.ndarray:
    """A wall with doors, windows, posters and shelves; the last row is at the floor."""
    image = _plaster(rng)
    side = TEXTURE_SIDE
    for _ in range(rng.integers(1, 5)):
        left = int(rng.integers(0, side - 50))
        wide = int(rng.integers(25, 75))
        color = random_color(rng)
        kind = rng.integers(4)
        if kind == 0:  # a door
            top = side - int(rng.uniform(0.62, 0.75) * side)
            cv2.rectangle(image, (left, top), (left + wide, side), (color * 0.6).tolist(), -1)
            cv2.rectangle(image, (left + 4, top + 4), (left + wide - 4, side), color.tolist(), -1)
        elif kind == 1:  # a window
            top, low = int(rng.integers(20, 90)), int(rng.integers(120, 190))
            cv2.rectangle(image, (left, top), (left + wide, low), (235, 240, 250), -1)
            cv2.rectangle(image, (left, top), (left + wide, low), color.tolist(), 5)
            cv2.line(image, (left + wide // 2, top), (left + wide // 2, low), color.tolist(), 3)
        elif kind == 2:  # a poster
            top = int(rng.integers(20, 120))
            tall = int(rng.integers(20, 90))
            right, low = min(left + wide, side), min(top + tall, side)
            image[top:low, left:right] = _clutter(rng)[top:low, left:right]
        else:  # a shelf with books
            for level in range(side - 30, int(rng.integers(10, 150)), -36):
                cv2.line(image, (left, level), (left + wide, level), (color * 0.5).tolist(), 4)
                for book in range(left, left + wide, 5):
                    cv2.rectangle(
                        image,
                        (book, level - int(rng.integers(10, 30))),
                        (book + 4, level),
                        random_color(rng).tolist(),
                        -1,
                    )
    skirting = int(rng.integers(0, 12))
    image[side - skirting :] = random_color(rng)
    return image


def _facade(rng: np.random.Generator) -> np.ndarray:
    """A house front or a fence: a grid of windows or bars."""
    image = _flat(rng)
    columns, rows = int(rng.integers(2, 12)), int(rng.integers(1, 6))
    wide, tall = TEXTURE_SIDE // columns, TEXTURE_SIDE // rows
    color = random_color(rng)
    for row in range(rows):
        for column in range(columns):
            shade = color * rng.uniform(0.6, 1.2)
            cv2.rectangle(
                image,
                (column * wide + wide // 5, row * tall + tall // 6),
                ((column + 1) * wide - wide // 5, (row + 1) * tall - tall // 6),
                shade.tolist(),
                -1,
            )
    return image
