"""Parts of furniture: materials, seats, legs, backrests.

All coordinates are in the frame of `resting.Resting`: forward, left, up, metres, with the ground
at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decomr_core.body_models.joints import NECK, PELVIS
from training.synthetic.furniture.resting import Resting
from training.synthetic.scenes.solids import Material, Solid, box, cylinder
from training.synthetic.scenes.textures import TextureBank, random_color

__all__ = ['Seat', 'any_material', 'backrest', 'board', 'legs', 'seat_under']

WOODS = np.array([[186, 140, 90], [120, 80, 50], [222, 190, 145], [70, 48, 34], [235, 230, 220]])
METALS = np.array([[45, 45, 48], [170, 172, 176], [235, 235, 235], [25, 25, 28]])
GAP_M = 0.008
"""Largest gap between a seat and the lowest skin on it; clothes fill it."""
NARROWEST_M = 0.1
"""Smallest depth of a seat."""
LEAN = (0.04, 0.45)
"""Smallest and largest angle of a backrest from the vertical, radians."""
SLAT_M = 0.06
"""Height of a slat."""
GRAIN_LENGTH = 12
"""Ratio of length to width of the grain of wood."""


@dataclass(frozen=True)
class Seat:
    """The top surface of a seat or of a table, m.

    Attributes:
        back, front: forward positions of its ends.
        left, right: positions of its sides; left is positive.
        top: its height.
    """

    back: float
    front: float
    left: float
    right: float
    top: float


def any_material(rng: np.random.Generator, bank: TextureBank, *kinds: str) -> Material:
    """A random material of one of the given kinds: `wood`, `metal`, `cloth`."""
    kind = kinds[rng.integers(len(kinds))]
    noise = bank.noise[rng.integers(len(bank.noise))]
    if kind == 'metal':
        return Material(METALS[rng.integers(len(METALS))] * rng.uniform(0.7, 1.1))
    fine = rng.uniform(100, 600)
    if kind == 'wood':
        return Material(
            WOODS[rng.integers(len(WOODS))] * rng.uniform(0.6, 1.1),
            None,
            noise,
            0.12,
            (fine / GRAIN_LENGTH, fine),
        )
    if rng.random() < 0.3:
        texture = bank.plain[rng.integers(len(bank.plain))]
        return Material(random_color(rng), texture, texels_per_m=(fine, fine))
    return Material(random_color(rng), None, noise, rng.uniform(0.03, 0.15), (fine, fine))


def seat_under(
    rng: np.random.Generator, resting: Resting, deep: float, wide: float, front_m: float
) -> Seat | None:
    """A seat below a pelvis; None if there is no room for one.

    Args:
        rng: source of the random numbers.
        resting: the sitting person.
        deep: requested depth, m; limited by `front_m`.
        wide: width, m.
        front_m: largest forward position of the seat, m.
    """
    back = resting.buttocks_m - rng.uniform(0, 0.06)
    front = min(front_m, back + deep)
    middle = rng.normal(0, 0.015)
    if front - back < NARROWEST_M:
        return None
    return Seat(
        back, front, middle + wide / 2, middle - wide / 2, resting.seat_m - rng.uniform(0, GAP_M)
    )


def board(seat: Seat, thick: float, material: Material, below: float = 0.0) -> Solid:
    """A board with a thickness, m, at a distance below the top of a seat, m."""
    return box(
        (seat.back, seat.right, seat.top - below - thick),
        (seat.front, seat.left, seat.top - below),
        material,
    )


def legs(
    seat: Seat, thick: float, top: float, material: Material, is_round: bool = False
) -> list[Solid]:
    """Four legs below a seat, from the ground to a height, m."""
    half, solids = thick / 2, []
    for x in (seat.back + thick, seat.front - thick):
        for y in (seat.left - thick, seat.right + thick):
            solids.append(
                cylinder((x, y, 0), half, top, material)
                if is_round
                else box((x - half, y - half, 0), (x + half, y + half, top), material)
            )
    return solids


def backrest(
    resting: Resting,
    seat: Seat,
    height: tuple[float, float],
    thick: float,
    material: Material,
    num_slats: int = 0,
) -> tuple[list[Solid], float]:
    """A backrest with the lean of the trunk, behind all of the body at its height.

    Args:
        resting: the sitting person.
        seat: the seat.
        height: lower and upper end of the backrest above the seat, m.
        thick: its thickness, m.
        material: its material.
        num_slats: number of slats between two posts; 0 for one panel.

    Returns:
        its parts, and the forward position of its face at the height of the seat, m.
    """
    trunk = resting.joints[NECK] - resting.joints[PELVIS]
    lean = float(np.clip(np.arctan2(-trunk[0], trunk[2]), *LEAN))
    forward = np.array([np.cos(lean), 0, np.sin(lean)])
    axes = np.stack([forward, [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]])
    low, high = seat.top + height[0], seat.top + height[1]
    points = resting.points
    meets = (
        (points[:, 2] > seat.top - 0.1)
        & (points[:, 2] < high + 0.1)
        & (points[:, 1] < seat.left + 0.02)
        & (points[:, 1] > seat.right - 0.02)
    )
    face = float((points[meets] @ forward).min(initial=seat.back))

    def panel(bottom: float, top: float, left: float, right: float) -> Solid:
        """A part between two heights and two lateral positions."""
        ends = np.array([bottom, top]) / np.cos(lean) - face * np.tan(lean)
        center = (face - thick / 2) * forward + ends.mean() * axes[2] + [0, (left + right) / 2, 0]
        half = np.array([thick, left - right, ends[1] - ends[0]]) / 2
        return Solid(center, axes, half, False, material)

    begin = (face - seat.top * np.sin(lean)) / np.cos(lean)
    if not num_slats:
        return [panel(low, high, seat.left, seat.right)], begin
    post = min(0.05, 0.12 * (seat.left - seat.right))
    slats = np.linspace(low, high - SLAT_M, num_slats)
    return [
        panel(seat.top - 0.04, high, seat.left, seat.left - post),
        panel(seat.top - 0.04, high, seat.right + post, seat.right),
        *(panel(y, y + SLAT_M, seat.left, seat.right) for y in slats),
    ], begin
