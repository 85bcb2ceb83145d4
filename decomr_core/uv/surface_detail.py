"""Restores the detail that a location map loses between its texels, from the template.

A location map of few texels holds a coarse surface: fingers, ears and the face lie between its
texels, and mesh faces sampled from it are stretched. Therefore the coarse surface only transports
the template's detail. Each vertex stores its offset from the template's coarse surface in a local
tangent frame of that surface. On a posed coarse surface the frame is recomputed, and the offset
rotates with it, as in normal mapping.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomr_core.uv.tangent_frames import TangentFrames

__all__ = ['SurfaceDetail']

NUM_FRAMES = 800
"""Frames on the body; a vertex uses the nearest one."""
NUM_NEIGHBORS = 32
"""Vertices from which a frame is computed."""


class SurfaceDetail(nn.Module):
    """Adds the template's detail to coarse vertices; differentiable, only gathers and sums.

    Attributes:
        frames: K frames of the coarse surface.
        frame_of_vertex: (V,) int64, the frame of each vertex.
        offsets: (V, 3) float32, metres, in the vertex's frame.
    """

    frame_of_vertex: Tensor
    offsets: Tensor

    def __init__(self, coarse_template: Tensor, template: Tensor) -> None:
        """Computes frames and offsets of the template.

        Args:
            coarse_template: (V, 3) the template as sampled from its own location map, metres.
            template: (V, 3) the template.
        """
        super().__init__()
        centers = _farthest_points(template, min(NUM_FRAMES, len(template)))
        distances = torch.cdist(template[centers], template)  # (K, V)
        neighbors = distances.topk(min(NUM_NEIGHBORS, len(template)), largest=False).indices
        self.frames = TangentFrames(coarse_template, neighbors)
        frame_of_vertex = distances.argmin(dim=0)
        offsets = self.frames.at_rest[frame_of_vertex] @ (template - coarse_template)[..., None]
        for name, value in (('frame_of_vertex', frame_of_vertex), ('offsets', offsets[..., 0])):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, coarse: Tensor) -> Tensor:
        """Vertices (B, V, 3) sampled from a location map, metres, to vertices with detail."""
        frames = self.frames(coarse)[0]
        # Axis by axis: sums over one more dimension take a CPU three times as long.
        for axis in range(3):
            of_frames = frames[..., 3 * axis : 3 * axis + 3]
            of_vertices = of_frames.index_select(1, self.frame_of_vertex)
            coarse = coarse + of_vertices * self.offsets[:, axis, None]
        return coarse


def _farthest_points(points: Tensor, count: int) -> Tensor:
    """(count,) indices of points (N, 3) by farthest point sampling."""
    chosen = torch.zeros(count, dtype=torch.int64, device=points.device)
    distances = (points - points[0]).square().sum(dim=1)
    for row in range(1, count):
        chosen[row] = distances.argmax()
        distances = torch.minimum(distances, (points - points[chosen[row]]).square().sum(dim=1))
    return chosen
