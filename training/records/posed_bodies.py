"""Bodies of all genders, posed in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from decomr_core.body_models import BodyModel
from training.records.person_record import GENDERS
from training.records.root_frame import root_frame_body

__all__ = ['PosedBodies']

NEUTRAL = 'neutral'


class PosedBodies(nn.Module):
    """Computes vertices and joints of people, each with the body of its gender.

    Args:
        bodies: body models by gender; 'neutral' replaces missing ones.

    Raises:
        ValueError: there is no neutral body, a gender is unknown, or the faces differ.
    """

    def __init__(self, bodies: Mapping[str, BodyModel]) -> None:
        super().__init__()
        if NEUTRAL not in bodies:
            raise ValueError(
                f'there are bodies for {", ".join(bodies) or "no gender"}; give a '
                "'neutral' one, which is used for unknown genders"
            )
        unknown = set(bodies) - set(GENDERS[1:])
        if unknown:
            raise ValueError(
                f'there are bodies for {", ".join(sorted(unknown))}; take some of '
                f'{", ".join(GENDERS[1:])}'
            )
        if any(not torch.equal(body.faces, bodies[NEUTRAL].faces) for body in bodies.values()):
            raise ValueError(
                'the bodies have different faces; give male, female and neutral models of one kind'
            )
        self.bodies = nn.ModuleDict(bodies)

    @property
    def neutral(self) -> BodyModel:
        """The body that the UV map belongs to."""
        return cast('BodyModel', self.bodies[NEUTRAL])

    @torch.no_grad()
    def forward(self, pose: Tensor, shape: Tensor, gender: Tensor) -> tuple[Tensor, Tensor]:
        """Poses B people.

        Args:
            pose: (B, 24, 3) axis-angle, radians, as in `PersonRecord`.
            shape: (B, 10).
            gender: (B,) index into `GENDERS`.

        Returns:
            vertices (B, V, 3) and joints (B, 24, 3), root frame, m.
        """
        vertices, joints = root_frame_body(self.neutral, pose, shape)
        for name, body in self.bodies.items():
            chosen = (gender == GENDERS.index(name)).nonzero()[:, 0]
            if name != NEUTRAL and len(chosen):
                vertices[chosen], joints[chosen] = root_frame_body(
                    body, pose[chosen], shape[chosen]
                )
        return vertices, joints
