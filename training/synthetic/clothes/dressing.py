"""Dresses people: choice of garments, the posed mesh of body and garments, and its colours.

The labels are those of the body: its own surface at pixels that the undressed body covers, and
the nearest body vertex where cloth or hair extends beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from decomr_core.body_models import BodyModel
from decomr_core.body_models.body_model import skin
from decomr_core.body_models.frames import in_root_frame
from decomr_core.geometry.rasterizer import Fragments, rasterize
from training.synthetic.clothes import appearance
from training.synthetic.clothes.dressed_mesh import (
    BODY,
    BROWS,
    CODES,
    EYES,
    HAIR,
    HAT,
    LASHES,
    LOOSE,
    OUTFIT,
    SHOES,
    DressedMesh,
)
from training.synthetic.clothes.folds import hang_in_folds, wrinkle_heights
from training.synthetic.clothes.loose_garments import CUTS, LOOSE_KIND, loose_garments
from training.synthetic.clothes.padding import ClothPadding
from training.synthetic.clothes.surface import BodySurface
from training.synthetic.clothes.texture_stack import TextureStack
from training.synthetic.clothes.wardrobe import KINDS, Garment, Wardrobe

__all__ = ['ClothStreams', 'Clothing', 'Dresser']

SHARES = {'hair': 0.92, 'hat': 0.12, 'brows': 0.9, 'lashes': 0.5, 'eyes': 1.0, 'shoes': 0.93}
"""Share of people who wear an item of each kind."""
LOOSE_SHARE = 0.22
"""Share of people who wear a skirt, a dress or a coat."""
CUTOUT = {'hair': 0.35, 'brows': 0.3, 'lashes': 0.3}
"""Kinds with alpha-tested textures, and the threshold of the opacity."""
FOLDED_COLUMNS = 96
"""Vertices around a skirt with folds: at least eight per fold."""
FOLDS_FROM = 1.3
"""Upper end of the folds, in the surface's `down` coordinate."""
TEXELS_PER_M = 300.0
"""Approximate resolution of the garments' textures at full size."""
DETAIL = (0.45, 1.5)
"""Smallest and largest factor by which a texture's folds and seams change a new colour."""


class ClothStreams(NamedTuple):
    """Sources of random numbers. Each option has its own, so that it changes nothing else.

    Attributes:
        main: for everything else.
        folds: for folds and wrinkles; None for neither.
        padding: for thick and wide clothes; None for neither.
    """

    main: np.random.Generator
    folds: np.random.Generator | None = None
    padding: np.random.Generator | None = None


@dataclass(frozen=True)
class Clothing:
    """The clothes of one person.

    Attributes:
        garments: the items.
        skin: texture row of the skin.
        is_repainted: whether the outfit gets new colours and patterns instead of a tint.
        are_shoes_repainted: the same for the shoes.
        tint: (3,) factor on the outfit's own colours.
        looseness: additional offset of the outfit, as a share of that of painted clothes.
    """

    garments: list[Garment]
    skin: int
    is_repainted: bool
    are_shoes_repainted: bool
    tint: Tensor
    looseness: float


class Dresser:
    """Dresses people from a wardrobe.

    Args:
        wardrobe: the available items.
        body: the body that they fit.
        has_folds: whether to prepare loose garments for folds.
        padded_share: share of people with thick or wide clothes.
    """

    def __init__(
        self,
        wardrobe: Wardrobe,
        body: BodyModel,
        has_folds: bool = False,
        padded_share: float = 0.0,
    ) -> None:
        self._body = body
        self._padded_share = padded_share
        self._kinds = {
            kind: [_two_sided(item) if kind in CUTOUT else item for item in wardrobe.of_kind(kind)]
            for kind in KINDS
        }
        self._num_skins = len(wardrobe.skins)
        opaque = torch.full((*wardrobe.skins.shape[:3], 1), 255, dtype=torch.uint8)
        plain = torch.full((1, *wardrobe.textures.shape[1:]), 255, dtype=torch.uint8)
        self._first_skin = len(wardrobe.textures)
        self._stack = TextureStack(
            torch.cat([wardrobe.textures, torch.cat([wardrobe.skins, opaque], -1), plain])
        )
        self._mean = self._stack.mean_colors()
        row = self._first_skin + self._num_skins
        self._loose = [_two_sided(item) for item in loose_garments(body, row)]
        self._folded = (
            {
                item.name: _two_sided(item)
                for item in loose_garments(body, row, FOLDED_COLUMNS, bends_at_knees=True)
            }
            if has_folds
            else {}
        )
        self._padding = ClothPadding(body, row) if padded_share else None
        self._skin_uv = wardrobe.skin_uv
        self._first_face = torch.zeros(body.num_vertices, dtype=torch.int64)
        self._first_corner = torch.zeros(body.num_vertices, dtype=torch.int64)
        for corner in range(3):
            self._first_face[body.faces[:, corner]] = torch.arange(len(body.faces))
            self._first_corner[body.faces[:, corner]] = corner
        self._cutout = torch.full((len(CODES) + 1,), -1.0)
        for kind, limit in CUTOUT.items():
            self._cutout[CODES[kind]] = limit

    def choose(self, streams: ClothStreams) -> Clothing:
        """Samples the clothes of one person."""
        clothing = self._from_wardrobe(streams.main)
        if streams.folds is not None:
            clothing = self._in_folds(streams.folds, clothing)
        if streams.padding is not None:
            clothing = self._padded(streams.padding, clothing)
        return clothing

    def _from_wardrobe(self, rng: np.random.Generator) -> Clothing:
        """Samples items and colours."""
        outfits = self._kinds['outfit']
        garments = [outfits[rng.integers(len(outfits))]]
        for kind, share in SHARES.items():
            items = self._kinds[kind]
            pick = rng.random() < share
            number = int(rng.integers(max(len(items), 1)))
            if pick and items:
                garments.append(items[number])
        if any(item.kind == 'hat' for item in garments):
            garments = [item for item in garments if item.kind != 'hair']
        if rng.random() < LOOSE_SHARE:
            garments.append(self._loose[rng.integers(len(self._loose))])
        tint = torch.from_numpy(rng.uniform(0.5, 1.3, 3).astype(np.float32))
        skin = self._first_skin + int(rng.integers(self._num_skins))
        return Clothing(
            garments,
            skin,
            rng.random() < 0.6,
            rng.random() < 0.5,
            tint,
            float(rng.choice([0, rng.uniform(0, 1.5)])),
        )

    def _in_folds(self, rng: np.random.Generator, clothing: Clothing) -> Clothing:
        """Adds folds to skirts, dresses and coats."""
        garments = []
        for garment in clothing.garments:
            if garment.kind == LOOSE_KIND:
                first, last, _, off_hem = CUTS[garment.name]
                begin = max(FOLDS_FROM - first, 0) / (last - first)
                garment = hang_in_folds(
                    rng, self._folded[garment.name], FOLDED_COLUMNS, begin, off_hem
                )
            garments.append(garment)
        return replace(clothing, garments=garments)

    def _padded(self, rng: np.random.Generator, clothing: Clothing) -> Clothing:
        """Makes the clothes of the configured share of people thick or wide."""
        if self._padding is None or rng.random() >= self._padded_share:
            return clothing
        return replace(clothing, garments=self._padding.padded(rng, clothing.garments))

    def wrinkled(
        self, streams: ClothStreams, clothing: Clothing, mesh: DressedMesh
    ) -> DressedMesh:
        """Adds wrinkles to outfit and loose garments of a mesh, unless there are no folds."""
        if streams.folds is None:
            return mesh
        heights, start = mesh.vertices.new_zeros(len(mesh.vertices)), self._body.num_vertices
        for garment in clothing.garments:
            end = start + len(garment.template)
            if garment.kind in ('outfit', LOOSE_KIND):
                heights[start:end] = wrinkle_heights(streams.folds, garment)
            start = end
        return replace(mesh, heights=heights)

    def mesh(
        self, clothing: Clothing, vertices: Tensor, transforms: Tensor, shape: Tensor, push: Tensor
    ) -> DressedMesh:
        """Poses the garments of one person and joins them with the body.

        Args:
            clothing: the clothes of the person.
            vertices: (V, 3) vertices of the body, root frame, m.
            transforms: (24, 4, 4) transforms of the joints.
            shape: (10,) shape components.
            push: (V, 3) offset of a loose outfit at each body vertex, m.
        """
        body = self._body
        hidden = torch.zeros(body.num_vertices, dtype=torch.bool)
        for garment in clothing.garments:
            hidden |= garment.hidden
        shown = ~hidden[body.faces].all(1)
        points, faces, uv = [vertices], [body.faces[shown]], [self._skin_uv[shown]]
        rows, codes = [(clothing.skin, len(faces[0]))], [(BODY, len(faces[0]))]
        under, start = [torch.arange(len(vertices))], len(vertices)
        for garment in clothing.garments:
            own = _posed(garment, transforms, shape)
            if garment.kind in ('outfit', LOOSE_KIND) and clothing.looseness:
                own = own + push[garment.body_vertex] * clothing.looseness
            points.append(own)
            faces.append(garment.faces + start)
            uv.append(garment.face_uv)
            rows.append((garment.texture, len(garment.faces)))
            codes.append((CODES[garment.kind], len(garment.faces)))
            under.append(garment.body_vertex)
            start += len(own)
        return DressedMesh(
            torch.cat(points),
            torch.cat(faces),
            torch.cat(uv),
            _repeated(rows),
            _repeated(codes),
            torch.cat(under),
        )

    def draw(self, mesh: DressedMesh, crop_points: Tensor, size: int) -> Fragments:
        """Rasterizes a dressed person to one image, with alpha-tested hair.

        Args:
            mesh: the person.
            crop_points: (W, 3) its vertices as crop x, y and depth.
            size: S, px.
        """

        def is_opaque(face: Tensor, weights: Tensor) -> Tensor:
            """The alpha test of `rasterize`: (M,) bool of faces (M,) and weights (M, 3)."""
            limit = self._cutout[mesh.face_code[face]]
            keep = limit < 0
            rows = (~keep).nonzero()[:, 0]
            if len(rows):
                own = face[rows]
                uv = (mesh.face_uv[own] * weights[rows, :, None]).sum(1)
                keep[rows] = self._stack.alpha(mesh.face_texture[own], uv) > limit[rows]
            return keep

        return rasterize(
            crop_points[None], mesh.faces, size, cull_backfaces=True, is_opaque=is_opaque
        )

    def labels(self, undressed: Fragments, dressed: Fragments, mesh: DressedMesh) -> Fragments:
        """The body's surface at each pixel of a dressed person (one image).

        Args:
            undressed: fragments of the undressed body.
            dressed: fragments of the same person, from `draw`.
            mesh: the person.
        """
        beyond = (dressed.face_index >= 0) & (undressed.face_index < 0)
        face, weights = undressed.face_index.clone(), undressed.barycentric.clone()
        corner = dressed.barycentric[beyond].argmax(1, keepdim=True)
        vertex = mesh.faces[dressed.face_index[beyond]].gather(1, corner)[:, 0]
        vertex = mesh.body_vertex[vertex]
        face[beyond] = self._first_face[vertex]
        weights[beyond] = torch.nn.functional.one_hot(self._first_corner[vertex], 3).to(weights)
        return Fragments(face, weights, dressed.depth)

    def colors(
        self,
        clothing: Clothing,
        mesh: DressedMesh,
        fragments: Fragments,
        outfit: appearance.Outfits,
        stains: Tensor,
        surface: BodySurface,
        pixels_per_m: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, gloss and normal of each pixel of the person.

        Args:
            clothing: the clothes of the person.
            mesh: the person.
            fragments: its fragments, from `draw`.
            outfit: colours and patterns of this person's painted clothes, (1,) and (1, 3).
            stains: (V,) blotches, about -2 to 2.
            surface: the body's coordinates.
            pixels_per_m: resolution of the image at the person.

        Returns:
            albedo (M, 3) in 0..1, gloss (M,), unit normals (M, 3) towards the camera.
        """
        shown = fragments.face_index >= 0
        face, weights = fragments.face_index[shown], fragments.barycentric[shown]
        corners = mesh.faces.index_select(0, face)
        uv = (mesh.face_uv.index_select(0, face) * weights[..., None]).sum(1)
        code, row = mesh.face_code[face], mesh.face_texture[face]
        level = int(np.clip(np.round(np.log2(TEXELS_PER_M / max(pixels_per_m, 1))), 0, 2))
        own = self._stack.sample(row, uv, level)[:, :3]
        detail = (own.mean(1) / self._mean[row].mean(1).clamp(min=0.02)).clamp(*DETAIL)
        under = mesh.body_vertex[corners]
        points = surface.blend(under, weights)
        wide = {name: value.expand(len(face), *value.shape[1:]) for name, value in outfit.items()}
        cloth = appearance.paint_cloth(points, wide, (stains[under] * weights).sum(1))
        relative = own / self._mean[row].clamp(min=0.02)
        color = own.clone()
        color[code == BODY] = (relative * outfit['skin'])[code == BODY]
        for hairy in (HAIR, BROWS, LASHES):
            color[code == hairy] = (detail[:, None] * outfit['hair'])[code == hairy]
        repainted = {OUTFIT: clothing.is_repainted, HAT: True, LOOSE: True}
        for kind, is_repainted in repainted.items():
            chosen = code == kind
            color[chosen] = (cloth * detail[:, None] if is_repainted else own * clothing.tint)[
                chosen
            ]
        if clothing.are_shoes_repainted:
            color[code == SHOES] = (detail[:, None] * outfit['shoes'])[code == SHOES]
        is_skin = (code == BODY) | (code == EYES)
        gloss = outfit['gloss'] * torch.where(is_skin, 1.0, 0.3)
        return color.clamp(0, 1), gloss, mesh.normals(corners, weights, code)


def _posed(garment: Garment, transforms: Tensor, shape: Tensor) -> Tensor:
    """The posed vertices (G, 3) of a garment, root frame, m."""
    resting = garment.template + garment.shapedirs @ shape
    return in_root_frame(skin(resting[None], garment.weights, transforms[None])[0])


def _two_sided(garment: Garment) -> Garment:
    """Adds the back face of each face of an item."""
    return Garment(
        garment.name,
        garment.kind,
        garment.template,
        garment.shapedirs,
        garment.weights,
        garment.body_vertex,
        torch.cat([garment.faces, garment.faces.flip(1)]),
        torch.cat([garment.face_uv, garment.face_uv.flip(1)]),
        garment.hidden,
        garment.texture,
    )


def _repeated(runs: list[tuple[int, int]]) -> Tensor:
    """Expands runs of (value, count) to (F,) int64."""
    values, counts = (torch.tensor(column) for column in zip(*runs, strict=True))
    return values.repeat_interleave(counts)
