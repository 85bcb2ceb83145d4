"""Folds of skirts and coats, and wrinkles of garments, drawn at random for each person.

Folds move the cloth, so they change the outline. Wrinkles perturb the normals, so they change the
shading alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from training.synthetic.clothes.wardrobe import Garment

__all__ = ['hang_in_folds', 'turned_by_heights', 'wrinkle_heights']

NUM_FOLDS = (5, 12)
DEEPEST_FOLD = (.25, .7)
"""Depth of the folds at the hem, as a share of the hem's distance from the body."""
INWARD = 0.4
"""How far folds go inward, relative to how far they go outward."""
GROWTH = 1.3
"""Folds grow with this power of the way to the hem."""
WAVELENGTH_M = (.05, .16)
NUM_WRINKLES = 4
SLOPE = (.25, 1.5)
"""Least and largest sum of the slopes of the wrinkles."""
AT_JOINTS = 2.0
"""How much higher wrinkles are where several joints move the cloth."""


def hang_in_folds(rng: np.random.Generator, garment: Garment, columns: int, from_row: float,
                  depth_m: float) -> Garment:
    """A loose garment whose cloth hangs in folds.

    Args:
        rng: the source of chance.
        garment: its vertices are rows from top to hem around the body.
        columns: vertices per row.
        from_row: where folds begin, as a share of the way to the hem.
        depth_m: distance of the hem from the body.
    """
    grid = garment.template.view(-1, columns, 3)
    way = torch.linspace(0, 1, len(grid))[:, None]
    way = ((way - from_row) / (1 - from_row)).clamp(min=0) ** GROWTH
    angle = 2 * np.pi / columns * torch.arange(columns)
    count = int(rng.integers(*NUM_FOLDS))
    turn, shift = rng.uniform(0, 2 * np.pi, 2)
    # Two slow waves make folds differ in width and in depth.
    phase = count * angle + rng.uniform(.3, .9) * torch.sin(2 * angle + turn)
    wave = torch.sin(phase + shift) * (1 + .4 * torch.sin(3 * angle + turn)) / 1.4
    deep = rng.uniform(*DEEPEST_FOLD) * depth_m
    outward = grid - grid.mean(1, keepdim=True)
    outward[..., 1] = 0
    outward = torch.nn.functional.normalize(outward, dim=-1)
    offset = deep * way * (wave + (1 - INWARD) / 2)
    return replace(garment, template=(grid + outward * offset[..., None]).reshape(-1, 3))


def wrinkle_heights(rng: np.random.Generator, garment: Garment) -> Tensor:
    """Heights of wrinkles at the vertices of a garment, metres (G,).

    Args:
        rng: the source of chance.
        garment: the garment; its resting vertices are used.
    """
    wavelength = np.exp(rng.uniform(*np.log(WAVELENGTH_M), NUM_WRINKLES))
    direction = rng.normal(0, 1, (3, NUM_WRINKLES))
    direction /= np.linalg.norm(direction, axis=0)
    slope = rng.uniform(*SLOPE) * rng.dirichlet(np.ones(NUM_WRINKLES))
    waves, phases, bends, heights = (torch.tensor(value, dtype=torch.float32) for value in (
        2 * np.pi / wavelength * direction, rng.uniform(0, 2 * np.pi, NUM_WRINKLES),
        rng.normal(0, 12, (3, NUM_WRINKLES)), 2 * slope * wavelength / (2 * np.pi)))
    place = garment.template
    crest = torch.sin(place @ waves + phases + 1.5 * torch.sin(place @ bends))
    # Sharp valleys between round crests, as cloth has them.
    height = ((1 - (1 - crest).sqrt()) * heights).sum(1)
    return height * (.5 + AT_JOINTS * (1 - garment.weights.amax(1)))


def turned_by_heights(flat: Tensor, corners: Tensor, heights: Tensor) -> Tensor:
    """Normals of faces whose corners are raised, to first order.

    Args:
        flat: (F, 3) normals; their lengths are twice the areas of the faces.
        corners: (F, 3, 3) of the faces, m.
        heights: (F, 3) of the corners along the normal, m.

    Returns:
        (F, 3), of about the same lengths.
    """
    a, b, c = corners.unbind(1)
    slope = heights[:, :1] * (c - b) + heights[:, 1:2] * (a - c) + heights[:, 2:] * (b - a)
    # The gradient of the heights in the face is normal x slope / (2 area).
    return flat - torch.linalg.cross(torch.nn.functional.normalize(flat, dim=1), slope)
