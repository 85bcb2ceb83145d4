"""Renders furniture together with the people on it, with occlusion by depth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from training.synthetic.clothes import appearance
from training.synthetic.furniture.furniture import Furniture, furnish
from training.synthetic.furniture.resting import find_resting
from training.synthetic.painting import Bodies, Drawn
from training.synthetic.scenes.compositing import openness
from training.synthetic.scenes.layers import Layers, Shadow
from training.synthetic.scenes.lights import Light
from training.synthetic.scenes.solids import Hits, Rays, Solid, cast, surface
from training.synthetic.scenes.textures import TextureBank
from training.synthetic.scenes.viewpoints import Framing, Viewpoints, pixel_rays

__all__ = ['Furnisher']

MOST_HIDDEN = 0.5
"""Largest share of a person that furniture may hide; parts that hide more are omitted."""


@dataclass(frozen=True)
class Furnisher:
    """Puts furniture under people.

    Attributes:
        bank: textures.
        parts: (V,) the joint that each vertex of the body follows.
    """

    bank: TextureBank
    parts: np.ndarray

    def add(
        self,
        rng: np.random.Generator,
        drawn: Drawn,
        bodies: Bodies,
        views: Viewpoints,
        framing: Framing,
        lights: list[Light],
    ) -> Layers:
        """Renders furniture for people who sit or lie.

        Args:
            rng: source of the random numbers.
            drawn: the rendered people.
            bodies: the same people without clothes.
            views: the cameras.
            framing: the crops.
            lights: light of each person, see `appearance.shade`.
        """
        layers = Layers.without_furniture(drawn.people, drawn.silhouettes)
        silhouettes, visible = drawn.silhouettes.copy(), drawn.silhouettes.copy()
        for index, own in enumerate(rng.spawn(len(visible))):
            found = self._furniture(own, bodies, views, framing, index)
            if found is None:
                continue
            depth = drawn.surface.depth[index].numpy()
            rays = pixel_rays(framing, index, len(depth))
            solids, hits = _visible_parts(found, rays, depth)
            if hits is None:
                continue
            is_front = hits.depth < depth
            visible[index] &= ~is_front
            silhouettes[index] |= hits.solid >= 0
            _lay_over(layers.people[index], solids, hits, rays, depth, lights[index])
            layers.lift_m[index] = found.lift_m
            corners = np.stack([solid.corners for solid in solids])
            layers.shadows[index] = Shadow(corners, own.uniform(0.6, 3), own.uniform(0.15, 0.6))
        return Layers(
            layers.people, silhouettes, visible, layers.whole, layers.lift_m, layers.shadows
        )

    def _furniture(
        self,
        rng: np.random.Generator,
        bodies: Bodies,
        views: Viewpoints,
        framing: Framing,
        index: int,
    ) -> Furniture | None:
        """The furniture of one person in the camera frame, or None."""
        resting = find_resting(
            bodies.vertices[index].double().numpy(),
            bodies.joints[index].double().numpy(),
            self.parts,
            views.up[index],
        )
        if resting is None:
            return None
        found = furnish(rng, self.bank, resting)
        if found is None:
            return None
        origin = resting.origin + framing.translation_m[index]
        base, *extras = (
            [solid.moved(origin, resting.basis) for solid in group]
            for group in (found.base, *found.extras)
        )
        return Furniture(base, extras, found.lift_m)


def _visible_parts(
    furniture: Furniture, rays: Rays, depth: np.ndarray
) -> tuple[list[Solid], Hits | None]:
    """The parts that leave enough of the person visible, and where the rays hit them.

    Args:
        furniture: in the camera frame.
        rays: rays of the image.
        depth: (S, S) depth of the person, m; inf elsewhere.

    Returns:
        The parts and the hits; no parts and None if already the base hides too much.
    """
    person = depth < np.inf
    limit = MOST_HIDDEN * person.sum()

    def is_mostly_visible(hits: Hits) -> bool:
        """Whether enough of the person is in front of the hits."""
        return bool((person & (hits.depth < depth)).sum() <= limit)

    groups = [(group, cast(group, rays)) for group in (furniture.base, *furniture.extras)]
    if not is_mostly_visible(groups[0][1]):
        return [], None
    kept = [one for one in groups if is_mostly_visible(one[1])]
    while not is_mostly_visible(merged := _merged(kept)):
        kept.pop()
    return list(itertools.chain(*(solids for solids, _ in kept))), merged


def _merged(groups: list[tuple[list[Solid], Hits]]) -> Hits:
    """The nearest hits of several groups of solids, numbered consecutively; groups not empty."""
    base = groups[0][1]
    merged = Hits(base.depth.copy(), base.solid.copy(), base.axis.copy())
    start = 0
    for solids, hits in groups:
        nearer = hits.depth < merged.depth
        np.copyto(merged.depth, hits.depth, where=nearer)
        np.copyto(merged.solid, hits.solid + np.int16(start), where=nearer)
        np.copyto(merged.axis, hits.axis, where=nearer)
        start += len(solids)
    return merged


def _lay_over(
    person: np.ndarray,
    solids: list[Solid],
    hits: Hits,
    rays: Rays,
    depth: np.ndarray,
    light: Light,
) -> None:
    """Draws lit furniture into a person's image (S, S, 3) where it is nearer; in place."""
    shown = hits.depth < depth
    colors, normals = (torch.from_numpy(values) for values in surface(solids, hits, rays, shown))
    wide = {
        name: torch.as_tensor(value, dtype=torch.float32).expand(len(colors), *np.shape(value))
        for name, value in light.items()
    }
    lit = appearance.shade(colors / 255, colors.new_zeros(len(colors)), normals, wide) * 255
    nearest = np.minimum(depth, hits.depth)
    open_share = openness(nearest, (nearest < np.inf).astype(np.uint8))
    person[shown] = lit.numpy() * open_share[shown]
