"""Reads a mesh with all its detail from a location map of few texels.

A location map of few texels holds a coarse surface: fingers, ears and the face lie between its
texels, and mesh faces sampled from it are stretched. Therefore the texels only carry the template.
Each one moves a copy of the template as it has moved itself, by a rotation, a scale and a shift. A
vertex is the weighted mean of its places in the copies of the texels around it: embedded
deformation (Sumner, Schmid and Pauly, "Embedded Deformation for Shape Manipulation", SIGGRAPH
2007).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.tangent_frames import TangentFrames

__all__ = ['SurfaceDetail']

NUM_TEXELS = 5
"""Texels that carry a vertex; with more the surface is smoother and takes longer."""
SHARPNESS = 2.0
"""Exponent of the weights, which fall from the nearest texel to zero at the first one unused."""
NUM_NEIGHBORS = 16
"""Texels from which the frame of a texel is computed."""
MIN_DISTANCE_M = 1e-6


class SurfaceDetail(nn.Module):
    """Location maps to vertices; differentiable, only gathers and sums.

    Attributes:
        frames: the frames of the n texels that hold a surface point.
        carriers: (V, k) int64, the texels that carry each vertex, of n.
        weights: (V, k) float32, their weights; the sum of a vertex is 1.
        template: (V, 3) float32, metres.
    """

    carriers: Tensor
    weights: Tensor
    template: Tensor
    _texels: Tensor
    _points: Tensor

    def __init__(self, mapper: LocationMapper, template: Tensor) -> None:
        """Chooses the texels of each vertex and their weights.

        Args:
            mapper: of the location maps.
            template: (V, 3) the template, metres.
        """
        super().__init__()
        texels, points = mapper.surface_points(template)
        nearest = torch.cdist(points, points).topk(min(NUM_NEIGHBORS, len(points)), largest=False)
        self.frames = TangentFrames(points, nearest.indices)
        distances = torch.cdist(template, points)  # (V, n)
        distances = torch.where(self.frames.is_defined, distances, torch.inf)
        count = min(NUM_TEXELS + 1, len(points))
        distances, carriers = distances.topk(count, largest=False)
        limit = distances[:, -1:] + MIN_DISTANCE_M
        weights = (1 - distances / limit).nan_to_num(0).clamp_min(0) ** SHARPNESS
        for name, value in (
            ('carriers', carriers),
            ('weights', weights / weights.sum(dim=1, keepdim=True)),
            ('template', template),
            ('_texels', texels),
            ('_points', points),
        ):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, location_map: Tensor) -> Tensor:
        """(B, 3, R, R) metres to vertices (B, V, 3), float32."""
        points = location_map.float().flatten(2).transpose(1, 2).index_select(1, self._texels)
        motions = self._motions(points)
        motion = motions.index_select(1, self.carriers[:, 0]) * self.weights[:, 0, None]
        for place in range(1, self.carriers.shape[1]):
            of_texel = motions.index_select(1, self.carriers[:, place])
            motion = motion + of_texel * self.weights[:, place, None]
        vertices = motion[..., 9:]
        for part in range(3):
            vectors = motion[..., 3 * part : 3 * part + 3]
            vertices = vertices + vectors * self.template[:, part, None]
        return vertices

    def _motions(self, points: Tensor) -> Tensor:
        """The motion of each texel from the template: turned, scaled and shifted.

        Args:
            points: (B, n, 3) where the texels are now.

        Returns:
            (B, n, 12): what becomes of the unit vectors along x, y and z, and of the origin.
        """
        frames, lengths = self.frames(points)
        turned = [torch.zeros_like(points)] * 3
        for axis in range(3):
            now = frames[..., 3 * axis : 3 * axis + 3] * lengths[..., None]
            turned = [
                vector + now * self.frames.at_rest[:, axis, part, None]
                for part, vector in enumerate(turned)
            ]
        shift = points
        for part, vector in enumerate(turned):
            shift = shift - vector * self._points[:, part, None]
        return torch.cat([*turned, shift], dim=2)
