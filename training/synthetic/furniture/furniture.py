"""Generates chairs, stools, sofas, benches, beds and tables that fit the person on them.

All coordinates are in the frame of `resting.Resting`: forward, left, up, metres, with the ground
at 0. Parts that would intersect the body are omitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from decomr_core.body_models.joints import HEAD
from training.synthetic.furniture.furniture_parts import (
    Seat,
    any_material,
    backrest,
    board,
    legs,
    seat_under,
)
from training.synthetic.furniture.resting import Resting
from training.synthetic.furniture.tables import table_before
from training.synthetic.scenes.solids import Material, Solid, box, cylinder
from training.synthetic.scenes.textures import TextureBank

__all__ = ['Furniture', 'furnish']

DEEPEST_M = 0.015
"""Largest depth of a body vertex inside furniture: flesh and cushions deform."""
DEEPEST_IN_BED_M = 0.08
DEEPEST_SEAT_M = 0.8
"""Largest depth of lying limbs in a mattress, and the largest depth of a seat: a backrest farther
behind is omitted."""
LYING_KINDS = {'floor': 0.35, 'mattress': 0.2, 'bed': 0.45}
TRIES = 4


@dataclass
class Furniture:
    """The furniture of one person.

    Attributes:
        base: the parts that support the person.
        extras: groups of optional parts: backrest, armrests, table, headboard, pillow.
        lift_m: height of the person's lowest point above the floor.
    """

    base: list[Solid]
    extras: list[list[Solid]] = field(default_factory=list)
    lift_m: float = 0.0


def furnish(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> Furniture | None:
    """Furniture for a person, in the person's frame; None for the bare floor or if nothing fits.

    Args:
        rng: source of the random numbers.
        bank: textures.
        resting: the person.
    """
    if resting.is_lying:
        kind = rng.choice(list(LYING_KINDS), p=list(LYING_KINDS.values()))
        return None if kind == 'floor' else _bed(rng, bank, resting, kind == 'bed')
    if resting.is_on_cushion:
        found = _cushion(rng, bank, resting)
        return found if found is not None and _fits(found.base, resting) else None
    for _ in range(TRIES):
        found = BUILDERS[rng.choice(len(BUILDERS), p=SHARES)](rng, bank, resting)
        if found is not None and _fits(found.base, resting):
            found.extras.append(table_before(rng, bank, resting))
            found.extras = [group for group in found.extras if group and _fits(group, resting)]
            return found
    return None


def _fits(solids: list[Solid], resting: Resting) -> bool:
    """Whether the body is outside the solids."""
    return all(solid.depth_of(resting.points).max() <= DEEPEST_M for solid in solids)


def _with_back(
    resting: Resting, furniture: Furniture, seat: Seat, rest: tuple[list[Solid], float]
) -> tuple[Furniture, Seat]:
    """Adds a backrest if it is near enough; returns the seat extended back to it."""
    parts, begin = rest
    if seat.front - begin > DEEPEST_SEAT_M:
        return furniture, seat
    furniture.extras.append(parts)
    return furniture, replace(seat, back=min(seat.back, begin))


def _chair(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> Furniture | None:
    """Four legs, a board, usually a backrest, sometimes armrests."""
    seat = seat_under(
        rng, resting, rng.uniform(0.36, 0.5), rng.uniform(0.38, 0.5), resting.front_m
    )
    if seat is None:
        return None
    frame = any_material(rng, bank, 'wood', 'metal')
    cover = frame if rng.random() < 0.4 else any_material(rng, bank, 'wood', 'cloth', 'metal')
    furniture, thick = Furniture([]), rng.uniform(0.015, 0.07)
    if rng.random() < 0.88:
        rest = backrest(
            resting,
            seat,
            (rng.uniform(0.02, 0.22), rng.uniform(0.32, 0.6)),
            rng.uniform(0.015, 0.06),
            cover if rng.random() < 0.6 else frame,
            int(rng.integers(0, 5)),
        )
        furniture, seat = _with_back(resting, furniture, seat, rest)
    furniture.base = [
        board(seat, thick, cover),
        *legs(seat, rng.uniform(0.02, 0.05), seat.top - thick, frame, rng.random() < 0.5),
    ]
    if rng.random() < 0.3:
        furniture.extras.append(_arms(rng, seat, rng.uniform(0.03, 0.06), frame, True))
    return furniture


def _office_chair(
    rng: np.random.Generator, bank: TextureBank, resting: Resting
) -> Furniture | None:
    """A thick seat on a column with five feet, a backrest, often armrests."""
    seat = seat_under(
        rng, resting, rng.uniform(0.4, 0.52), rng.uniform(0.44, 0.54), resting.front_m
    )
    if seat is None:
        return None
    cover = any_material(rng, bank, 'cloth', 'cloth', 'metal')
    frame = any_material(rng, bank, 'metal')
    furniture, thick = Furniture([]), rng.uniform(0.05, 0.09)
    rest = backrest(
        resting,
        seat,
        (rng.uniform(0.0, 0.15), rng.uniform(0.4, 0.8)),
        rng.uniform(0.03, 0.09),
        cover,
    )
    furniture, seat = _with_back(resting, furniture, seat, rest)
    middle = np.array([(seat.back + seat.front) / 2, (seat.left + seat.right) / 2, 0])
    furniture.base = [
        board(seat, thick, cover),
        cylinder((middle[0], middle[1], 0), 0.03, seat.top - thick, frame),
    ]
    for angle in rng.uniform(0, 2) + np.arange(5) * 2 * np.pi / 5:
        ahead = np.array([np.cos(angle), np.sin(angle), 0])
        axes = np.stack([ahead, [-ahead[1], ahead[0], 0], [0, 0, 1]])
        furniture.base.append(
            Solid(
                middle + 0.15 * ahead + [0, 0, 0.07],
                axes,
                np.array([0.15, 0.02, 0.02]),
                False,
                frame,
            )
        )
    if rng.random() < 0.6:
        furniture.extras.append(_arms(rng, seat, rng.uniform(0.04, 0.09), frame, True))
    return furniture


def _stool(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> Furniture | None:
    """A round seat on legs or on a column."""
    seat = seat_under(rng, resting, 2 * rng.uniform(0.15, 0.21), 0.4, resting.front_m)
    if seat is None:
        return None
    radius, thick = (seat.front - seat.back) / 2, rng.uniform(0.02, 0.07)
    middle = (seat.back + radius, (seat.left + seat.right) / 2)
    seat = replace(seat, left=middle[1] + 0.8 * radius, right=middle[1] - 0.8 * radius)
    frame = any_material(rng, bank, 'wood', 'metal')
    cover = any_material(rng, bank, 'wood', 'cloth')
    base = [cylinder((*middle, seat.top - thick), radius, thick, cover)]
    if rng.random() < 0.4:
        base += [
            cylinder((*middle, 0), 0.03, seat.top - thick, frame),
            cylinder((*middle, 0), 0.2, 0.03, frame),
        ]
    else:
        base += legs(seat, rng.uniform(0.02, 0.04), seat.top - thick, frame, True)
    return Furniture(base)


def _sofa(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> Furniture | None:
    """A block with a cushion, a thick backrest and usually thick armrests."""
    wide = rng.uniform(0.55, 0.75) if rng.random() < 0.5 else rng.uniform(1.2, 2.2)
    seat = seat_under(rng, resting, rng.uniform(0.5, 0.6), wide, resting.block_m)
    if seat is None:
        return None
    aside = rng.uniform(-0.5, 0.5) * max(wide - 0.6, 0)
    seat = replace(seat, left=seat.left + aside, right=seat.right + aside)
    cover = any_material(rng, bank, 'cloth')
    cushion = cover if rng.random() < 0.7 else any_material(rng, bank, 'cloth')
    rest = backrest(resting, seat, (0.0, rng.uniform(0.35, 0.65)), rng.uniform(0.1, 0.22), cover)
    furniture, seat = _with_back(resting, Furniture([]), seat, rest)
    thick, foot = min(rng.uniform(0.1, 0.18), 0.6 * seat.top), rng.uniform(0.0, 0.1)
    furniture.base = [board(seat, thick, cushion)]
    if seat.top - thick - foot > 0.03:
        furniture.base.append(board(seat, seat.top - thick - foot, cover, thick))
    if rng.random() < 0.8:
        furniture.extras.append(_arms(rng, seat, rng.uniform(0.08, 0.2), cover, False))
    return furniture


def _bench(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> Furniture | None:
    """A long board on two supports, sometimes with a backrest."""
    seat = seat_under(rng, resting, rng.uniform(0.3, 0.45), rng.uniform(1, 2.4), resting.front_m)
    if seat is None:
        return None
    wood, thick = any_material(rng, bank, 'wood', 'wood', 'metal'), rng.uniform(0.03, 0.07)
    furniture = Furniture([])
    if rng.random() < 0.5:
        rest = backrest(
            resting, seat, (0.12, rng.uniform(0.35, 0.5)), 0.03, wood, int(rng.integers(2, 4))
        )
        furniture, seat = _with_back(resting, furniture, seat, rest)
    furniture.base = [board(seat, thick, wood)]
    for side in (seat.left - 0.12, seat.right + 0.06):
        furniture.base.append(
            box(
                (seat.back + 0.03, side, 0),
                (seat.front - 0.03, side + 0.06, seat.top - thick),
                wood,
            )
        )
    return furniture


def _block(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> Furniture | None:
    """A crate, a wall or a platform."""
    seat = seat_under(rng, resting, rng.uniform(0.35, 1.2), rng.uniform(0.4, 2.5), resting.block_m)
    if seat is None:
        return None
    return Furniture([board(seat, seat.top, any_material(rng, bank, 'wood', 'cloth', 'metal'))])


def _cushion(rng: np.random.Generator, bank: TextureBank, resting: Resting) -> Furniture | None:
    """A cushion or a low block for a person who sits nearly on the ground."""
    seat = seat_under(
        rng, resting, rng.uniform(0.3, 0.5), rng.uniform(0.35, 0.55), resting.block_m
    )
    if seat is None:
        return None
    cover = any_material(rng, bank, 'cloth')
    if rng.random() < 0.5:
        return Furniture([board(seat, seat.top, cover)])
    radius = (seat.front - seat.back) / 2
    return Furniture(
        [cylinder((seat.back + radius, (seat.left + seat.right) / 2, 0), radius, seat.top, cover)]
    )


def _bed(rng: np.random.Generator, bank: TextureBank, resting: Resting, is_bed: bool) -> Furniture:
    """A mattress; a bed also has a frame and often a headboard; sometimes there is a pillow."""
    low, high = resting.points.min(0), resting.points.max(0)
    back, front = low[0] - rng.uniform(0.02, 0.2), high[0] + rng.uniform(0.05, 0.25)
    more = max(rng.uniform(0.8, 1.6) - (high[1] - low[1]), 0.1) * rng.dirichlet([2, 2])
    thick = rng.uniform(0.08, 0.22)
    # Heels and hands that are lower than the trunk sink into the mattress.
    top = min(resting.seat_m * rng.uniform(0.5, 1), DEEPEST_IN_BED_M) - rng.uniform(0, 0.008)
    lift = rng.uniform(0.3, 0.6) if is_bed else thick
    seat = Seat(back, front, high[1] + more[0], low[1] - more[1], top)
    sheet = any_material(rng, bank, 'cloth')
    furniture = Furniture([board(seat, thick + top, sheet)], lift_m=lift)
    if is_bed:
        frame = any_material(rng, bank, 'wood', 'metal', 'cloth')
        wide = replace(
            seat,
            back=back - 0.03,
            front=front + 0.03,
            left=seat.left + 0.03,
            right=seat.right - 0.03,
        )
        furniture.base.append(
            board(wide, rng.uniform(0.08, lift - thick + 0.03), frame, thick + top - 0.03)
        )
        if rng.random() < 0.7:
            furniture.extras.append(
                [
                    box(
                        (front, wide.right, -lift),
                        (front + 0.05, wide.left, rng.uniform(0.1, 0.6)),
                        frame,
                    )
                ]
            )
    furniture.extras.append(_pillow(rng, bank, resting, seat))
    furniture.extras = [group for group in furniture.extras if group and _fits(group, resting)]
    return furniture


def _pillow(
    rng: np.random.Generator, bank: TextureBank, resting: Resting, seat: Seat
) -> list[Solid]:
    """A pillow that fills the gap between mattress and head, if there is one."""
    x, y = resting.joints[HEAD, :2]
    under = np.abs(resting.points[:, :2] - [x + 0.08, y]).max(1) < 0.18
    top = float(resting.points[under, 2].min(initial=seat.top))
    if top - seat.top < 0.02:
        return []
    return [
        box(
            (x - 0.08, y - rng.uniform(0.2, 0.35), seat.top),
            (min(x + 0.3, seat.front), y + rng.uniform(0.2, 0.35), top),
            any_material(rng, bank, 'cloth'),
        )
    ]


def _arms(
    rng: np.random.Generator, seat: Seat, wide: float, material: Material, is_open: bool
) -> list[Solid]:
    """Two armrests: bars on posts, or solid down to the ground."""
    top = seat.top + rng.uniform(0.14, 0.26)
    solids = []
    for side in (seat.left, seat.right - wide):
        low = (seat.back, side, top - 0.04 if is_open else 0)
        solids.append(box(low, (seat.front, side + wide, top), material))
        if is_open:
            x = seat.back + 0.7 * (seat.front - seat.back)
            solids.append(box((x, side, seat.top - 0.05), (x + 0.03, side + wide, top), material))
    return solids


BUILDERS = (_chair, _office_chair, _stool, _sofa, _bench, _block)
SHARES = (0.36, 0.18, 0.16, 0.14, 0.08, 0.08)
