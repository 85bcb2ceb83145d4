"""Renders people: their clothes, the visible surface at each pixel, and its lit colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from decomr_core.body_models import BodyModel
from decomr_core.geometry.rasterizer import Fragments, rasterize
from training.synthetic.clothes import appearance
from training.synthetic.clothes.dressing import ClothStreams, Dresser
from training.synthetic.clothes.surface import NUM_WAVES, BodySurface
from training.synthetic.scenes.compositing import openness
from training.synthetic.scenes.lights import Light
from training.synthetic.scenes.viewpoints import Framing, crop_points

__all__ = ['Bodies', 'Drawn', 'Appearances', 'Painter']


@dataclass(frozen=True)
class Bodies:
    """B undressed people.

    Attributes:
        vertices: (B, V, 3) root frame, m.
        joints: (B, 24, 3) root frame, m.
        pose: (B, 24, 3) axis-angle, radians.
        shape: (B, 10).
    """

    vertices: Tensor
    joints: Tensor
    pose: Tensor
    shape: Tensor


@dataclass(frozen=True)
class Appearances:
    """Appearance of the clothes of B people.

    Attributes:
        outfit: parameters of `appearance`.
        folds, stains: (B, V) smooth random functions on the surface, about -2 to 2.
    """

    outfit: appearance.Outfits
    folds: Tensor
    stains: Tensor


@dataclass(frozen=True)
class Drawn:
    """B dressed people on black.

    Attributes:
        people: (B, S, S, 3) float32, 0 to 255, lit.
        silhouettes: (B, S, S) uint8, 1 at the people's pixels.
        surface: the body's surface at each pixel.
    """

    people: np.ndarray
    silhouettes: np.ndarray
    surface: Fragments


class Painter:
    """Dresses and renders people.

    Args:
        body: a body model.
        dresser: dresses people in garments; None for painted clothes only, which are regions of
            the body.
        dressed_share: share of people in garments, if there is a dresser.
    """

    def __init__(self, body: BodyModel, dresser: Dresser | None, dressed_share: float) -> None:
        self._body, self._dresser, self._dressed_share = body, dresser, dressed_share
        self._surface = BodySurface(body)

    def sample_appearances(self, rng: np.random.Generator, count: int) -> Appearances:
        """Samples colours, patterns and folds of the clothes of B people."""
        outfit = appearance.sample_outfits(rng, count)
        folds, stains = (self._surface.mix_waves(_random_mixes(rng, count)) for _ in range(2))
        return Appearances(outfit, folds, stains)

    def draw(
        self,
        streams: ClothStreams,
        bodies: Bodies,
        appearances: Appearances,
        framing: Framing,
        lights: list[Light],
        size: int,
    ) -> Drawn:
        """Renders people.

        Args:
            streams: sources of the random numbers.
            bodies: B people.
            appearances: their appearance, from `sample_appearances`.
            framing: their crops.
            lights: light of each person.
            size: S, px.
        """
        count = len(bodies.vertices)
        stand_off = appearance.offsets(
            self._surface.vertices, appearances.outfit, appearances.folds
        )
        push = self._surface.normals(bodies.vertices) * stand_off[..., None]
        is_dressed = np.zeros(count, bool)
        if self._dresser is not None:
            is_dressed = streams.main.random(count) < self._dressed_share
        bare = torch.from_numpy(is_dressed)[:, None, None]
        outline = torch.where(bare, bodies.vertices, bodies.vertices + push)
        fragments = rasterize(
            crop_points(outline, framing), self._body.faces, size, cull_backfaces=True
        )
        shown = (fragments.face_index >= 0) & ~bare
        people = outline.new_zeros(*shown.shape, 3)
        people[shown] = self._color(outline, appearances, fragments, shown, lights)
        depth = fragments.depth.clone()
        for index in np.flatnonzero(is_dressed).tolist():
            dressed, people[index] = self._dress(
                streams,
                bodies,
                appearances,
                framing,
                index,
                push[index],
                lights[index],
                _part(fragments, index),
            )
            for target, source in (
                (fragments.face_index, dressed.face_index),
                (fragments.barycentric, dressed.barycentric),
                (depth, dressed.depth),
            ):
                target[index] = source[0]
        # The body may be visible through holes in the garments, so use the coloured pixels.
        silhouettes = (depth < torch.inf).to(torch.uint8).numpy()
        for person, mask, distance in zip(people.numpy(), silhouettes, depth.numpy(), strict=True):
            person *= openness(distance, mask)
        return Drawn(
            people.numpy(),
            silhouettes,
            Fragments(fragments.face_index, fragments.barycentric, depth),
        )

    def _dress(
        self,
        streams: ClothStreams,
        bodies: Bodies,
        appearances: Appearances,
        framing: Framing,
        index: int,
        push: Tensor,
        light: Light,
        undressed: Fragments,
    ) -> tuple[Fragments, Tensor]:
        """Renders one person in garments: the body's surface at each pixel, colours (S, S, 3)."""
        dresser, size = self._dresser, undressed.depth.shape[1]
        assert dresser is not None  # otherwise nobody is dressed
        clothing = dresser.choose(streams)
        transforms = self._body.joint_transforms(
            bodies.pose[index : index + 1], bodies.shape[index : index + 1]
        )[0]
        mesh = dresser.mesh(
            clothing, bodies.vertices[index], transforms, bodies.shape[index], push
        )
        mesh = dresser.wrinkled(streams, clothing, mesh)
        one = framing.part(index)
        fragments = dresser.draw(mesh, crop_points(mesh.vertices[None], one)[0], size)
        pixels_per_m = size / 2 / float(one.half_side[0]) / float(one.translation_m[0, 2])
        outfit = {name: value[index : index + 1] for name, value in appearances.outfit.items()}
        albedo, gloss, normals = dresser.colors(
            clothing,
            mesh,
            fragments,
            outfit,
            appearances.stains[index],
            self._surface,
            pixels_per_m,
        )
        wide = {
            name: torch.as_tensor(value, dtype=torch.float32).expand(len(albedo), *np.shape(value))
            for name, value in light.items()
        }
        shown = fragments.face_index[0] >= 0
        colors = albedo.new_zeros(size, size, 3)
        colors[shown] = appearance.shade(albedo, gloss, normals, wide).clamp(max=1.2) * 255
        return dresser.labels(undressed, fragments, mesh), colors

    def _color(
        self,
        outline: Tensor,
        appearances: Appearances,
        fragments: Fragments,
        shown: Tensor,
        lights: list[Light],
    ) -> Tensor:
        """Lit colours (M, 3) of the M pixels `shown` (B, S, S) of people in painted clothes."""
        image = shown.nonzero()[:, 0]
        face, weights = fragments.face_index[shown], fragments.barycentric[shown]
        corners = outline[image[:, None], self._body.faces[face]]  # (M, 3, 3)
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = normals * normals.square().sum(1, keepdim=True).clamp_(min=1e-24).rsqrt_()
        own = {name: value.index_select(0, image) for name, value in appearances.outfit.items()}
        stain = (appearances.stains[image[:, None], self._body.faces[face]] * weights).sum(1)
        albedo, gloss = appearance.paint(self._surface.points(face, weights), own, stain)
        light = {
            name: torch.tensor(
                np.stack([item[name] for item in lights]), dtype=torch.float32
            ).index_select(0, image)
            for name in lights[0]
        }
        return appearance.shade(albedo, gloss, normals, light) * 255


def _part(fragments: Fragments, index: int) -> Fragments:
    """The fragments of one image, as a batch of one."""
    return Fragments(
        fragments.face_index[index : index + 1],
        fragments.barycentric[index : index + 1],
        fragments.depth[index : index + 1],
    )


def _random_mixes(rng: np.random.Generator, count: int) -> Tensor:
    """Random weights (B, NUM_WAVES) of the surface's waves; the mixtures have unit variance."""
    mixes = rng.normal(0, 1, (count, NUM_WAVES)) * (2 / NUM_WAVES) ** 0.5
    return torch.from_numpy(mixes.astype(np.float32))
