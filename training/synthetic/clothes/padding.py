"""Thick and wide clothes: padded outfits, thick hair and shoes, caps, helmets, hoods and gloves.

MakeHuman's free garments fit tightly: on average the cloth is 1 cm from the skin. In photographs
many people wear jackets, wide trousers or helmets, so that the body does not determine their
outline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from decomr_core.body_models import BodyModel
from training.synthetic.clothes.loose_garments import LOOSE_KIND
from training.synthetic.clothes.surface import NUM_WAVES, BodySurface
from training.synthetic.clothes.wardrobe import Garment

__all__ = ['ClothPadding']

TORSO_M, LEGS_M, CUFFS_M = (0.005, 0.05), (0.0, 0.04), (0.0, 0.03)
"""Ranges of the distances that cloth is moved outward at torso and thighs, and the range of the
additional distance at the ankles."""
ARMS_SHARE = (0.4, 1.0)
"""Range of the distance at the arms, relative to that at the torso."""
UNEVENNESS = 0.35
"""Amplitude of the smooth variation of the distances, relative to them."""
SHOES_M, HAIR_M = (0.0, 0.02), (0.0, 0.035)
THICK_HAIR_SHARE, HEADGEAR_SHARE, BARE_UNDER_SHARE, GLOVES_SHARE = 0.5, 0.35, 0.6, 0.25
HEADGEAR_M = {'cap': (0.008, 0.025), 'helmet': (0.02, 0.045), 'hood': (0.015, 0.04)}
"""Kinds of headgear, and the ranges of their distances from the head."""
GLOVES_M = (0.003, 0.015)


@dataclass(frozen=True)
class _Shell:
    """A part of the body's surface that can be moved outward to make a garment.

    Attributes:
        flat: the garment on the skin.
        thickness_m: range of its distance from the skin.
    """

    flat: Garment
    thickness_m: tuple[float, float]


class ClothPadding:
    """Makes clothes thick or wide.

    Args:
        body: the body that they fit.
        texture: row of a plain texture.
    """

    def __init__(self, body: BodyModel, texture: int) -> None:
        self._surface = BodySurface(body)
        self._template = body.v_template
        self._normals = self._surface.normals(body.v_template[None])[0]
        points = self._surface.vertices
        is_head = points.is_head > 0.5
        self._head_center = body.v_template[is_head].mean(0) if is_head.any() else None
        parts = {
            'cap': is_head & (points.head_up > 0.6),
            'helmet': is_head
            & ((points.head_up > 0.62) | ((points.head_up > 0.1) & (points.head_front < 0.2))),
            'hood': (is_head & (points.head_front < 0.35))
            | (is_head & (points.head_up > 0.7))
            | ((points.down < 0.1) & (points.along_arm < 0) & (points.head_front < 0.1)),
            'gloves': points.along_arm > 1.9,
        }
        shells = {
            name: _Shell(
                _on_skin(body, name, 'shoes' if name == 'gloves' else 'hat', part, texture),
                HEADGEAR_M.get(name, GLOVES_M),
            )
            for name, part in parts.items()
        }
        self._gloves = shells.pop('gloves')
        self._headgear = [shell for shell in shells.values() if len(shell.flat.faces)]

    def padded(self, rng: np.random.Generator, garments: list[Garment]) -> list[Garment]:
        """Makes one person's clothes thick or wide, and adds headgear and gloves to some.

        Args:
            rng: source of the random numbers.
            garments: the clothes.
        """
        thickness = self._thickness(rng)
        shoes, hair = rng.uniform(*SHOES_M), rng.uniform(*HAIR_M)
        hair *= rng.random() < THICK_HAIR_SHARE
        changed = []
        for garment in garments:
            if garment.kind in ('outfit', LOOSE_KIND):
                garment = self._moved(garment, thickness[garment.body_vertex])
            elif garment.kind == 'shoes':
                garment = self._moved(garment, torch.full((len(garment.template),), shoes))
            elif garment.kind in ('hair', 'hat') and self._head_center is not None:
                outward = torch.nn.functional.normalize(
                    garment.template - self._head_center, dim=1
                )
                garment = replace(garment, template=garment.template + hair * outward)
            changed.append(garment)
        if rng.random() < HEADGEAR_SHARE and self._headgear:
            without = ('hat', 'hair') if rng.random() < BARE_UNDER_SHARE else ('hat',)
            changed = [garment for garment in changed if garment.kind not in without]
            changed.append(self._shell(rng, self._headgear[rng.integers(len(self._headgear))]))
        if rng.random() < GLOVES_SHARE and len(self._gloves.flat.faces):
            changed.append(self._shell(rng, self._gloves))
        return changed

    def _thickness(self, rng: np.random.Generator) -> Tensor:
        """Samples the distance that cloth over each body vertex is moved, metres (V,)."""
        points = self._surface.vertices
        torso, legs, cuffs = (rng.uniform(*limits) for limits in (TORSO_M, LEGS_M, CUFFS_M))
        arms = torso * rng.uniform(*ARMS_SHARE)
        mixes = rng.normal(0, 1, (1, NUM_WAVES)) / np.sqrt(NUM_WAVES / 2)
        waves = self._surface.mix_waves(torch.tensor(mixes, dtype=torch.float32))[0]
        on_arm = (points.along_arm * 2).clamp(0, 1)
        on_leg = ((points.down - 0.9) / 0.6).clamp(0, 1) * (points.along_arm < 0)
        lower = legs + cuffs * ((points.down - 2) / 2).clamp(0, 1)
        even = torso + (arms - torso) * on_arm + (lower - torso) * on_leg
        return even * (1 + UNEVENNESS * waves).clamp(min=0.2)

    def _moved(self, garment: Garment, distance: Tensor) -> Garment:
        """A garment moved away from the skin by distances (G,), metres."""
        outward = self._normals[garment.body_vertex]
        return replace(garment, template=garment.template + distance[:, None] * outward)

    def _shell(self, rng: np.random.Generator, shell: _Shell) -> Garment:
        """A garment from a part of the skin."""
        distance = rng.uniform(*shell.thickness_m)
        return self._moved(shell.flat, torch.full((len(shell.flat.template),), distance))


def _on_skin(body: BodyModel, name: str, kind: str, part: Tensor, texture: int) -> Garment:
    """The garment that covers a part of the body (V,) bool without any distance."""
    faces = body.faces[part[body.faces].all(1)]
    used, faces = faces.unique(return_inverse=True)
    return Garment(
        name,
        kind,
        body.v_template[used],
        body.shapedirs[used],
        body.lbs_weights[used],
        used,
        faces,
        torch.full((len(faces), 3, 2), 0.5),
        torch.zeros(body.num_vertices, dtype=torch.bool),
        texture,
    )
