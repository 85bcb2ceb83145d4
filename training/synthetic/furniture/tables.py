"""Tables in front of sitting people, with objects on them; in the frame of `Resting`."""

from __future__ import annotations

import numpy as np

from decomr_core.body_models.joints import ELBOWS, WRISTS
from training.synthetic.furniture.furniture_parts import Seat, any_material, board, legs
from training.synthetic.furniture.resting import TRUNK_PARTS, Resting
from training.synthetic.scenes.solids import Solid, box, cylinder
from training.synthetic.scenes.textures import TextureBank

__all__ = ['table_before']

SHARE, WORKING_SHARE = 0.15, 0.85
"""Probability that a table is tried: for any sitting person, and for one with level forearms."""
FOREARM_PARTS, LEG_PARTS = (18, 19, 20, 21, 22, 23), (1, 2, 4, 5, 7, 8)
LOWEST_M, HIGHEST_M = 0.45, 1.1
OVER_LEGS_M = 0.015


def table_before(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> list[Solid]:
    """A table below the hands of a person or in front of the person; empty for none.

    Args:
        rng: source of the random numbers.
        bank: textures.
        resting: the sitting person.
    """
    points, parts = resting.points, resting.parts
    is_working = _is_working(resting)
    if rng.random() >= (WORKING_SHARE if is_working else SHARE):
        return []
    thick = rng.uniform(0.02, 0.05)
    edge = points[np.isin(parts, TRUNK_PARTS), 0].max(initial=0) + rng.uniform(0.03, 0.12)
    beyond = points[:, 0] > edge
    hands = points[beyond & np.isin(parts, FOREARM_PARTS), 2]
    knees = points[beyond & np.isin(parts, LEG_PARTS), 2].max(initial=0)
    low = knees + thick + OVER_LEGS_M
    top = (
        hands.min(initial=np.inf) - rng.uniform(0, 0.01)
        if is_working
        else (low + rng.uniform(0, 0.12))
    )
    if not max(low, LOWEST_M) <= top <= HIGHEST_M:
        return []
    deep, wide = rng.uniform(0.5, 1.0), rng.uniform(0.7, 2.0)
    aside = rng.uniform(-0.3, 0.3) * (wide - 0.5)
    table = Seat(edge, edge + deep, aside + wide / 2, aside - wide / 2, top)
    cover, frame = (any_material(rng, bank, 'wood', 'wood', 'metal') for _ in range(2))
    return [
        board(table, thick, cover),
        *legs(table, rng.uniform(0.03, 0.07), top - thick, frame, rng.random() < 0.4),
        *_objects(rng, bank, table, resting),
    ]


def _is_working(resting: Resting) -> bool:
    """Whether both forearms are roughly level in front of the trunk, above the thighs."""
    elbows, wrists = resting.joints[list(ELBOWS)], resting.joints[list(WRISTS)]
    reach = wrists - elbows
    steep = np.abs(reach[:, 2]) / np.maximum(np.linalg.norm(reach, axis=1), 1e-6)
    return bool(
        (steep < 0.6).all()
        and (wrists[:, 0] > 0.5 * resting.shin_m).all()
        and (wrists[:, 2] > resting.seat_m + 0.2 * resting.shin_m).all()
    )


def _objects(
    rng: np.random.Generator, bank: TextureBank, table: Seat, resting: Resting
) -> list[Solid]:
    """A few boxes and cylinders on a table that do not intersect the body."""
    found = []
    for _ in range(rng.poisson(1.2)):
        x = rng.uniform(table.back + 0.2, table.front - 0.05)
        y = rng.uniform(table.right + 0.1, table.left - 0.1)
        material = any_material(rng, bank, 'metal', 'cloth', 'wood')
        if rng.random() < 0.4:
            thing = cylinder(
                (x, y, table.top), rng.uniform(0.03, 0.07), rng.uniform(0.06, 0.25), material
            )
        else:
            half = rng.uniform(0.02, [0.12, 0.22])
            thing = box(
                (x - half[0], y - half[1], table.top),
                (x + half[0], y + half[1], table.top + rng.uniform(0.01, 0.35)),
                material,
            )
        if thing.depth_of(resting.points).max() < 0:
            found.append(thing)
    return found
