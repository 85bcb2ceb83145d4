"""Generated skirts, dresses and coats: cones around hips and legs that follow the thighs.

MakeHuman's free garments all fit tightly. These are worn over an outfit.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from decomr_core.body_models import NUM_JOINTS, BodyModel
from decomr_core.body_models.joints import HIPS, KNEES, PELVIS
from training.synthetic.clothes.surface import ARM_PARTS, BodySurface
from training.synthetic.clothes.wardrobe import Garment

__all__ = ['CUTS', 'LOOSE_KIND', 'loose_garments']

LOOSE_KIND = 'loose'
"""The kind of these garments, in addition to those of a wardrobe."""
COLUMNS, ROWS, SECTORS = 40, 16, 20
CUTS = {
    'short skirt': (1.0, 2.4, 0.012, 0.04),
    'skirt': (1.0, 2.95, 0.012, 0.09),
    'long skirt': (1.0, 3.7, 0.014, 0.12),
    'wide skirt': (1.0, 2.9, 0.012, 0.2),
    'apron dress': (0.35, 2.6, 0.02, 0.06),
    'coat': (0.25, 2.5, 0.03, 0.05),
    'long coat': (0.25, 3.1, 0.035, 0.09),
}
"""Upper end and hem of each garment in the surface's `down` coordinate, and its distances from
the body at both, metres."""
NEAREST = 8
LEVEL_M = 0.025
SIDE_SOFTNESS_M = 0.06
"""Width of the transition from the left to the right thigh."""
THIGH_SHARE = 0.85
"""Weight of the thighs at the hem; the rest is the pelvis's."""
SHIN_SHARE, SHIN_SOFTNESS_M = 0.9, 0.12
"""With bending at the knees: the share of the thighs' weight that the shins have below the knees,
and the length of the transition."""


def loose_garments(
    body: BodyModel, texture: int, columns: int = COLUMNS, bends_at_knees: bool = False
) -> list[Garment]:
    """Makes the garments of `CUTS` for a body; the vertices are rows from top to hem.

    Args:
        body: the body.
        texture: row of a plain texture.
        columns: vertices around the body.
        bends_at_knees: whether cloth below the knees follows the shins, so that it hangs from the
            knees of a sitting person instead of extending forward.
    """
    points = BodySurface(body).vertices
    template = body.v_template.double().numpy()
    is_arm = np.isin(body.vertex_parts.numpy(), ARM_PARTS)
    on_trunk = np.flatnonzero(~is_arm)
    down = points.down.double().numpy()[on_trunk]
    return [
        _garment(
            name, cut, body, template[on_trunk], on_trunk, down, texture, columns, bends_at_knees
        )
        for name, cut in CUTS.items()
    ]


def _garment(
    name: str,
    cut: tuple[float, float, float, float],
    body: BodyModel,
    trunk: np.ndarray,
    on_trunk: np.ndarray,
    down: np.ndarray,
    texture: int,
    columns: int,
    bends_at_knees: bool,
) -> Garment:
    """Makes one garment: rows from its top to its hem, columns around the body."""
    first, last, off_top, off_hem = cut
    part = np.linspace(0, 1, ROWS)
    height = np.interp(first + (last - first) * part, *_by_height(down, trunk[:, 1]))
    angle = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    middle = np.array([np.median(_level(trunk, y)[:, 2]) for y in height])
    radius = np.stack([_radius(trunk, y, z, angle) for y, z in zip(height, middle, strict=True)])
    # Cloth hangs vertically from the widest level above.
    stand_off = off_top + (off_hem - off_top) * part
    radius = np.maximum.accumulate(radius, axis=0) + stand_off[:, None]
    points = np.stack(
        [
            radius * np.sin(angle),
            np.broadcast_to(height[:, None], radius.shape),
            middle[:, None] + radius * np.cos(angle),
        ],
        axis=-1,
    ).reshape(-1, 3)
    neighbours = on_trunk[cKDTree(trunk).query(points, NEAREST)[1]]
    shapedirs = body.shapedirs.numpy()[neighbours].mean(1)
    column, row = np.meshgrid(np.arange(columns), np.arange(ROWS - 1))
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    faces = np.concatenate(
        [
            np.stack([a, a + columns, b], -1).reshape(-1, 3),
            np.stack([b, a + columns, b + columns], -1).reshape(-1, 3),
        ]
    )
    weights = _weights(body, points, neighbours, bends_at_knees)
    return Garment(
        name,
        LOOSE_KIND,
        torch.from_numpy(points.astype(np.float32)),
        torch.from_numpy(np.ascontiguousarray(shapedirs, np.float32)),
        torch.from_numpy(weights),
        torch.from_numpy(neighbours[:, 0]),
        torch.from_numpy(faces),
        torch.full((len(faces), 3, 2), 0.5),
        torch.zeros(body.num_vertices, dtype=torch.bool),
        texture,
    )


def _by_height(down: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples of y as a function of the `down` coordinate, for interpolation."""
    order = np.argsort(down)
    return down[order], y[order]


def _level(trunk: np.ndarray, y: float) -> np.ndarray:
    """The vertices (n, 3) near a height."""
    distance = np.abs(trunk[:, 1] - y)
    return trunk[distance <= max(LEVEL_M, np.partition(distance, NEAREST)[NEAREST])]


def _radius(trunk: np.ndarray, y: float, z: float, angle: np.ndarray) -> np.ndarray:
    """Radius of the trunk about its axis (x = 0, z) at a height, by direction; metres."""
    level = _level(trunk, y)
    around = np.arctan2(level[:, 0], level[:, 2] - z)
    reach = np.hypot(level[:, 0], level[:, 2] - z)
    sector = np.linspace(-np.pi, np.pi, SECTORS + 1)[:-1] + np.pi / SECTORS
    # The convex outline: the support function in each direction.
    outline = np.array([(reach * np.cos(around - a)).max(initial=0.05) for a in sector])
    return np.interp(angle, sector, outline, period=2 * np.pi)


def _weights(
    body: BodyModel, points: np.ndarray, neighbours: np.ndarray, bends_at_knees: bool
) -> np.ndarray:
    """Skinning weights (G, 24): the body's above the hips, pelvis, thighs and shins below."""
    weights = body.lbs_weights.numpy()[neighbours].mean(1)
    joints = body.rest_body(torch.zeros(1, 10))[1][0].double().numpy()
    hip, knee = joints[HIPS[0], 1], joints[KNEES[0], 1]
    below = np.clip((hip + 0.12 - points[:, 1]) / (hip + 0.12 - knee), 0, 1)
    left = 1 / (1 + np.exp(-points[:, 0] / SIDE_SOFTNESS_M))
    swinging = np.zeros((len(points), NUM_JOINTS))
    thigh = THIGH_SHARE * np.minimum(1, 1.6 * below)
    shin = np.zeros(len(points))
    if bends_at_knees:
        shin = SHIN_SHARE * np.clip((knee - points[:, 1]) / SHIN_SOFTNESS_M + 0.5, 0, 1)
    for side, share in enumerate((left, 1 - left)):
        swinging[:, HIPS[side]] = thigh * share * (1 - shin)
        swinging[:, KNEES[side]] = thigh * share * shin
    swinging[:, PELVIS] = 1 - thigh
    share = np.minimum(1, below * 4)[:, None]
    mixed = weights * (1 - share) + swinging * share
    return (mixed / mixed.sum(1, keepdims=True)).astype(np.float32)
