"""The mesh of a dressed person: body and garments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.synthetic.clothes.folds import turned_by_heights
from training.synthetic.clothes.loose_garments import LOOSE_KIND
from training.synthetic.clothes.wardrobe import KINDS

__all__ = [
    'BODY',
    'BROWS',
    'CODES',
    'EYES',
    'HAIR',
    'HAT',
    'LASHES',
    'LOOSE',
    'OUTFIT',
    'SHOES',
    'DressedMesh',
]

BODY, OUTFIT, SHOES, HAIR, HAT, BROWS, LASHES, EYES, LOOSE = range(9)
CODES = dict(
    zip((*KINDS, LOOSE_KIND), (OUTFIT, SHOES, HAIR, HAT, BROWS, LASHES, EYES, LOOSE), strict=True)
)
"""Codes of the faces of items, by kind; those of the body are `BODY`."""


@dataclass(frozen=True)
class DressedMesh:
    """Body and garments of one person as one mesh of W vertices and F faces.

    Attributes:
        vertices: (W, 3) root frame, m.
        faces: (F, 3) corners.
        face_uv: (F, 3, 2) texture coordinates of the corners.
        face_texture: (F,) rows of the textures.
        face_code: (F,) codes of the items.
        body_vertex: (W,) the body vertex under each vertex.
        heights: (W,) heights of wrinkles, m; None for no wrinkles.
    """

    vertices: Tensor
    faces: Tensor
    face_uv: Tensor
    face_texture: Tensor
    face_code: Tensor
    body_vertex: Tensor
    heights: Tensor | None = None

    def normals(self, corners: Tensor, weights: Tensor, code: Tensor) -> Tensor:
        """Smooth unit normals of pixels; those of hair cards point to the camera.

        Args:
            corners: (M, 3) vertices of each pixel's face.
            weights: (M, 3) barycentric weights.
            code: (M,) codes of the faces.

        Returns:
            (M, 3).
        """
        # Only faces around visible vertices are needed.
        is_used = torch.zeros(len(self.vertices), dtype=torch.bool)
        is_used[corners] = True
        rows = is_used[self.faces].any(1).nonzero()[:, 0]
        faces, kind = self.faces[rows], self.face_code[rows]
        points = self.vertices[faces]
        a, b, c = points.unbind(1)
        flat = torch.linalg.cross(b - a, c - a)
        # The normals of a two-sided item's two sides would cancel: flip both to the camera.
        is_thin = (kind == HAIR) | (kind == LOOSE)
        flat[is_thin & (flat[:, 2] > 0)] *= -1
        if self.heights is not None:
            cloth = ((kind == OUTFIT) | (kind == LOOSE)).nonzero()[:, 0]
            flat[cloth] = turned_by_heights(flat[cloth], points[cloth], self.heights[faces[cloth]])
        smooth = torch.zeros_like(self.vertices)
        for corner in range(3):
            smooth.index_add_(0, faces[:, corner], flat)
        normal = torch.nn.functional.normalize(
            (smooth[corners] * weights[..., None]).sum(1), dim=1
        )
        is_away = ((normal[:, 2] > 0) & ((code == HAIR) | (code == LOOSE))) | (
            normal.square().sum(1) < 0.5
        )
        own = torch.nn.functional.normalize(
            torch.linalg.cross(
                self.vertices[corners[:, 1]] - self.vertices[corners[:, 0]],
                self.vertices[corners[:, 2]] - self.vertices[corners[:, 0]],
            ),
            dim=1,
        )
        return torch.where(is_away[:, None], own, normal)
