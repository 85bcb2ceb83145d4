"""Robot arms, tables and chairs in front of people, as in workplaces of robots, and low light."""

from __future__ import annotations

import cv2
import numpy as np

from training.synthetic.scenes.textures import random_color

__all__ = ['draw_furniture', 'draw_robot_arm', 'low_light']

ARM_COLORS = np.array(
    [
        [235, 110, 25],
        [240, 240, 240],
        [60, 60, 65],
        [245, 195, 20],
        [40, 90, 170],
        [190, 195, 200],
    ],
    np.float32,
)
DARK_SHARE = 0.08
"""Share of dark images."""


def draw_robot_arm(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A robot arm that reaches into the image: round links, joints, a gripper.

    Args:
        rng: source of the random numbers.
        size: S, px.

    Returns:
        its colours (S, S, 3) float32 and its mask (S, S) uint8, 0 or 1.
    """
    colors, mask = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.uint8)
    base = ARM_COLORS[rng.integers(len(ARM_COLORS))] * rng.uniform(0.5, 1.05)
    side = rng.choice([-1, 1])
    point = np.array(
        [size / 2 + side * rng.uniform(0.4, 0.75) * size, size * rng.uniform(0.5, 1.1)]
    )
    angle = np.pi / 2 + rng.normal(0, 0.5)
    wide = rng.uniform(0.05, 0.13) * size
    for _ in range(rng.integers(2, 5)):
        end = point + rng.uniform(0.15, 0.4) * size * np.array([np.cos(angle), -np.sin(angle)])
        _tube(colors, mask, point, end, wide, base)
        _disc(colors, mask, end, 0.62 * wide, base * rng.uniform(0.4, 1.0))
        point = end
        # The next link points towards the middle of the image.
        inward = np.arctan2(-(size / 2 - end[1]), size / 2 - end[0])
        angle = inward + rng.normal(0, 0.7)
        wide *= rng.uniform(0.6, 0.95)
    for turn in (-0.4, 0.4):
        tip = point + 0.6 * wide * np.array([np.cos(angle + turn), -np.sin(angle + turn)]) * 1.6
        _tube(colors, mask, point, tip, wide / 3, base * 0.5)
    return colors * mask[..., None], mask


def draw_furniture(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A table with objects on it, or the back of a chair, in front of the person.

    Args:
        rng: source of the random numbers.
        size: S, px.

    Returns:
        its colours (S, S, 3) float32 and its mask (S, S) uint8, 0 or 1.
    """
    colors, mask = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.uint8)
    base = random_color(rng)
    if rng.random() < 0.65:
        _draw_table(rng, colors, mask, base)
    else:
        _draw_chair_back(rng, colors, mask, base)
    return colors, mask


def low_light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Darkens some images (S, S, 3) float32: few photons, amplified with a high gain."""
    if rng.random() >= DARK_SHARE:
        return image
    photons = rng.uniform(8, 60)
    level = np.clip(image / 255, 0, 1) * photons
    counted = level + np.sqrt(level + 0.5) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(counted / photons, 0, 1) * 255 * rng.uniform(0.35, 0.9)


def _draw_table(
    rng: np.random.Generator, colors: np.ndarray, mask: np.ndarray, base: np.ndarray
) -> None:
    """Draws a table of a colour, with objects on it, into colours (S, S, 3) and mask (S, S)."""
    size = len(mask)
    left, right = np.sort(rng.uniform(-0.4, 1.4, 2)) * size
    right = max(right, left + 0.4 * size)
    back, front = np.sort(rng.uniform(0.5, 0.85, 2)) * size
    inset = rng.uniform(0, 0.15) * (right - left)
    thick = rng.uniform(0.01, 0.04) * size
    for foot in (left + 0.05 * size, right - 0.05 * size):
        _fill(
            colors,
            mask,
            [[foot, front], [foot + 1.5 * thick, front], [foot + 1.5 * thick, size], [foot, size]],
            base * 0.6,
        )
    _fill(
        colors,
        mask,
        [[left + inset, back], [right - inset, back], [right, front], [left, front]],
        base,
    )
    _fill(
        colors,
        mask,
        [[left, front], [right, front], [right, front + thick], [left, front + thick]],
        base * 0.7,
    )
    for _ in range(rng.poisson(2.0)):
        x, wide, tall = (rng.uniform(left, right), *rng.uniform(0.03, 0.2, 2) * size)
        foot = rng.uniform(back, front)
        _fill(
            colors,
            mask,
            [[x, foot - tall], [x + wide, foot - tall], [x + wide, foot], [x, foot]],
            random_color(rng),
        )


def _draw_chair_back(
    rng: np.random.Generator, colors: np.ndarray, mask: np.ndarray, base: np.ndarray
) -> None:
    """Draws the back of a chair of a colour into colours (S, S, 3) and mask (S, S)."""
    size = len(mask)
    middle, top = rng.uniform(0.2, 0.8) * size, rng.uniform(0.4, 0.75) * size
    wide, thick = rng.uniform(0.15, 0.3) * size, rng.uniform(0.02, 0.05) * size
    for x in (middle - wide, middle + wide - thick):
        _fill(colors, mask, [[x, top], [x + thick, top], [x + thick, size], [x, size]], base)
    for y in np.linspace(top, top + 0.3 * size, rng.integers(1, 5)):
        _fill(
            colors,
            mask,
            [
                [middle - wide, y],
                [middle + wide, y],
                [middle + wide, y + thick],
                [middle - wide, y + thick],
            ],
            base * 0.85,
        )


def _tube(
    colors: np.ndarray,
    mask: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    wide: float,
    color: np.ndarray,
) -> None:
    """Draws a round bar that is lighter along its middle."""
    for share, light in ((1.0, 0.55), (0.7, 0.8), (0.4, 1.0)):
        thickness = max(1, round(share * wide))
        cv2.line(colors, _pixel(start), _pixel(end), (color * light).tolist(), thickness)
    cv2.line(mask, _pixel(start), _pixel(end), 1, max(1, round(wide)))


def _disc(
    colors: np.ndarray, mask: np.ndarray, center: np.ndarray, radius: float, color: np.ndarray
) -> None:
    cv2.circle(colors, _pixel(center), max(1, round(radius)), color.tolist(), -1)
    cv2.circle(mask, _pixel(center), max(1, round(radius)), 1, -1)


def _fill(
    colors: np.ndarray, mask: np.ndarray, corners: list[list[float]], color: np.ndarray
) -> None:
    outline = np.array(corners).round().astype(np.int32)
    cv2.fillConvexPoly(colors, outline, color.tolist())
    cv2.fillConvexPoly(mask, outline, 1)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
