"""A tiny wardrobe and tiny panoramas, in the formats of the real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from decomr_core.body_models import BodyModel
from training.synthetic.clothes.surface import BodySurface
from training.synthetic.clothes.wardrobe import TEXTURE_SIZE, Garment, Wardrobe

OFFSET_M = 0.03
"""How far the garments stand off the body."""


def make_wardrobe(body: BodyModel) -> Wardrobe:
    """An outfit that is the body itself, three centimetres further out, and hair on its head.

    The outfit is red; the hair is transparent on the left half of its texture.
    """
    template = body.v_template.detach()
    away = BodySurface(body).normals(template[None])[0]
    is_head = torch.isin(body.vertex_parts, torch.tensor([12, 15]))
    on_head = is_head[body.faces].all(1)

    def garment(kind: str, faces: torch.Tensor, hidden: torch.Tensor, texture: int) -> Garment:
        corner_uv = torch.zeros(len(faces), 3, 2) + torch.tensor([0.75, 0.5])
        return Garment(
            f'tiny {kind}',
            kind,
            template + OFFSET_M * away,
            body.shapedirs.detach(),
            body.lbs_weights.detach(),
            torch.arange(len(template)),
            faces,
            corner_uv,
            hidden,
            texture,
        )

    textures = torch.full((2, TEXTURE_SIZE, TEXTURE_SIZE, 4), 255, dtype=torch.uint8)
    textures[0, ..., 1:3] = 0
    textures[1, :, : TEXTURE_SIZE // 2, 3] = 0
    outfit = garment('outfit', body.faces[~on_head], ~is_head, 0)
    hair = garment('hair', body.faces[on_head], torch.zeros_like(is_head), 1)
    skins = torch.full((1, TEXTURE_SIZE, TEXTURE_SIZE, 3), 128, dtype=torch.uint8)
    return Wardrobe(
        (outfit, hair),
        textures,
        skins,
        torch.full((len(body.faces), 3, 2), 0.5),
        ('tiny',),
        body.hash,
    )


def write_panoramas(folder: Path, height: int = 64) -> Path:
    """Two places: blue above and green below, with a white sun to the right of the middle."""
    folder.mkdir(parents=True)
    for index in range(2):
        picture = np.zeros((height, 2 * height, 3), np.uint8)
        picture[: height // 2, :, 2] = 120
        picture[height // 2 :, :, 1] = 90
        column = 2 * height * 3 // 4  # a quarter turn to the right of straight ahead
        picture[3 * height // 8 - 2 : 3 * height // 8 + 2, column - 2 : column + 2] = 255
        cv2.imwrite(str(folder / f'place{index}.png'), picture[..., ::-1])
    return folder
