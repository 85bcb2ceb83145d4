"""Random folds of skirts and coats, and wrinkles of garments.

Folds displace the cloth and change the silhouette. Wrinkles perturb the normals and change only
the shading.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from training.synthetic.clothes.wardrobe import Garment

__all__ = ['hang_in_folds', 'turned_by_heights', 'wrinkle_heights']

NUM_FOLDS = (5, 12)
DEEPEST_FOLD = (0.25, 0.7)
"""Depth of the folds at the hem, as a share of the hem's distance from the body."""
INWARD = 0.4
"""Inward amplitude of folds, relative to the outward one."""
GROWTH = 1.3
"""The amplitude of folds is proportional to this power of the distance from their upper end."""
WAVELENGTH_M = (0.05, 0.16)
NUM_WRINKLES = 4
SLOPE = (0.25, 1.5)
"""Range of the sum of the slopes of the wrinkles."""
AT_JOINTS = 2.0
"""Additional height of wrinkles where several joints move the cloth."""


def hang_in_folds(
    rng: np.random.Generator, garment: Garment, columns: int, from_row: float, depth_m: float
) -> Garment:
    """Adds folds to a loose garment.

    Args:
        rng: source of the random numbers.
        garment: the garment; its vertices are rows around the body, from top to hem.
        columns: vertices per row.
        from_row: upper end of the folds, as a share of the height from top to hem.
        depth_m: distance of the hem from the body.
    """
    grid = garment.template.view(-1, columns, 3)
    share = torch.linspace(0, 1, len(grid))[:, None]
    growth = ((share - from_row) / (1 - from_row)).clamp(min=0) ** GROWTH
    angle = 2 * np.pi / columns * torch.arange(columns)
    count = int(rng.integers(*NUM_FOLDS))
    turn, shift = rng.uniform(0, 2 * np.pi, 2)
    # Two slow waves vary the width and the depth of the folds.
    phase = count * angle + rng.uniform(0.3, 0.9) * torch.sin(2 * angle + turn)
    wave = torch.sin(phase + shift) * (1 + 0.4 * torch.sin(3 * angle + turn)) / 1.4
    deep = rng.uniform(*DEEPEST_FOLD) * depth_m
    outward = grid - grid.mean(1, keepdim=True)
    outward[..., 1] = 0
    outward = torch.nn.functional.normalize(outward, dim=-1)
    offset = deep * growth * (wave + (1 - INWARD) / 2)
    return replace(garment, template=(grid + outward * offset[..., None]).reshape(-1, 3))


def wrinkle_heights(rng: np.random.Generator, garment: Garment) -> Tensor:
    """Samples heights of wrinkles at the vertices of a garment, metres (G,).

    Args:
        rng: source of the random numbers.
        garment: the garment; its template vertices are used.
    """
    shortest, longest = np.log(WAVELENGTH_M)
    wavelength = np.exp(rng.uniform(shortest, longest, NUM_WRINKLES))
    direction = rng.normal(0, 1, (3, NUM_WRINKLES))
    direction /= np.linalg.norm(direction, axis=0)
    slope = rng.uniform(*SLOPE) * rng.dirichlet(np.ones(NUM_WRINKLES))
    waves, phases, bends, heights = (
        torch.tensor(value, dtype=torch.float32)
        for value in (
            2 * np.pi / wavelength * direction,
            rng.uniform(0, 2 * np.pi, NUM_WRINKLES),
            rng.normal(0, 12, (3, NUM_WRINKLES)),
            2 * slope * wavelength / (2 * np.pi),
        )
    )
    place = garment.template
    crest = torch.sin(place @ waves + phases + 1.5 * torch.sin(place @ bends))
    # Sharp valleys between round crests, as in cloth.
    height = ((1 - (1 - crest).sqrt()) * heights).sum(1)
    return height * (0.5 + AT_JOINTS * (1 - garment.weights.amax(1)))


def turned_by_heights(flat: Tensor, corners: Tensor, heights: Tensor) -> Tensor:
    """Normals of faces after a displacement of their corners, to first order.

    Args:
        flat: (F, 3) normals; their lengths are twice the areas of the faces.
        corners: (F, 3, 3) corners of the faces, m.
        heights: (F, 3) displacements of the corners along the normal, m.

    Returns:
        (F, 3), with about the same lengths.
    """
    a, b, c = corners.unbind(1)
    slope = heights[:, :1] * (c - b) + heights[:, 1:2] * (a - c) + heights[:, 2:] * (b - a)
    # The gradient of the heights in the face is normal x slope / (2 area).
    return flat - torch.linalg.cross(torch.nn.functional.normalize(flat, dim=1), slope)
