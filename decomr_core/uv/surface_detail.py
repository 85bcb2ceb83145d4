"""What a location map loses between its texels: the template's, turned with the surface.

A location map of few texels holds a coarse surface: fingers, ears and the face lie between its
texels, and faces read from it come out stretched. Here the coarse surface only carries the
template's own detail. Each vertex keeps its offset from the template's coarse surface, told in a
frame that the coarse surface around it spans. On another coarse surface the frame is another one,
and the offset turns with it: normal mapping's tangent frames, for the vertices themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ['SurfaceDetail']

NUM_FRAMES = 800
"""Frames on the whole body; a vertex uses the nearest one."""
NUM_NEIGHBORS = 32
"""Vertices that span a frame."""
TINY = 1e-12
SMALLEST_SPREAD = 1e-3
"""A frame's neighbours that spread less than this share of the widest have no direction there."""


class SurfaceDetail(nn.Module):
    """Adds the template's detail to coarse vertices; differentiable, in gathers and sums alone.

    Attributes:
        frame_of_vertex: (V,) int64, the frame that each vertex uses.
        offsets: (V, 3) float32, metres, each in its frame.
    """

    frame_of_vertex: Tensor
    offsets: Tensor
    _neighbors: Tensor
    _shares: Tensor

    def __init__(self, coarse_template: Tensor, template: Tensor) -> None:
        """Measures the template.

        Args:
            coarse_template: (V, 3) the template as it is read from its own location map, metres.
            template: (V, 3) the template.
        """
        super().__init__()
        centers = _far_apart(template, min(NUM_FRAMES, len(template)))
        distances = torch.cdist(template[centers], template)  # (K, V)
        neighbors = distances.topk(min(NUM_NEIGHBORS, len(template)), largest=False).indices
        points = coarse_template[neighbors]
        points = points - points.mean(dim=1, keepdim=True)  # (K, k, 3)
        _, spread, axes = torch.linalg.svd(points, full_matrices=False)
        along = points @ axes[:, :2].transpose(1, 2)  # (K, k, 2)
        least = spread[:, :1] * SMALLEST_SPREAD
        # Of the template's own points these shares sum to its axes, which are of length 1.
        shares = along / spread[:, None, :2].clamp_min(1e-9).square()
        shares = torch.where(spread[:, None, :2] > least[:, None], shares, 0.0)
        frames = torch.cat([axes[:, :2], torch.linalg.cross(axes[:, 0], axes[:, 1])[:, None]], 1)
        frame_of_vertex = distances.argmin(dim=0)
        offsets = frames[frame_of_vertex] @ (template - coarse_template)[..., None]
        for name, value in (('frame_of_vertex', frame_of_vertex), ('offsets', offsets[..., 0]),
                            ('_neighbors', neighbors), ('_shares', shares)):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, coarse: Tensor) -> Tensor:
        """Vertices (B, V, 3) as they are read from a location map, metres, with detail."""
        points = coarse.index_select(1, self._neighbors.flatten())
        points = points.reshape(-1, *self._neighbors.shape, 3)  # (B, K, k, 3)
        points = points - points[:, :, :1]  # small numbers: the shares are large ones
        first, second = ((points * self._shares[..., axis, None]).sum(dim=2) for axis in (0, 1))
        # The two are as long as the surface is stretched, and askew as it is sheared. The pair
        # of perpendicular directions that is nearest to both stands for them.
        first, second = _unit(first), _unit(second)
        middle, across = _unit(first + second), _unit(first - second)
        first, second = (middle + across) * 0.5 ** 0.5, (middle - across) * 0.5 ** 0.5
        frames = torch.cat([first, second, _cross(first, second)], dim=-1)  # (B, K, 9)
        frames = frames.index_select(1, self.frame_of_vertex)
        moved = [frames[..., 3 * axis:3 * axis + 3] * self.offsets[:, axis, None]
                 for axis in range(3)]
        return coarse + moved[0] + moved[1] + moved[2]


def _far_apart(points: Tensor, count: int) -> Tensor:
    """(count,) indices of points (N, 3): each is the farthest from those before it."""
    chosen = torch.zeros(count, dtype=torch.int64, device=points.device)
    distances = (points - points[0]).square().sum(dim=1)
    for row in range(1, count):
        chosen[row] = distances.argmax()
        distances = torch.minimum(distances, (points - points[chosen[row]]).square().sum(dim=1))
    return chosen


def _unit(vectors: Tensor) -> Tensor:
    # Not `functional.normalize`: TensorRT has no ReduceL2.
    return vectors / (vectors.square().sum(dim=-1, keepdim=True) + TINY).sqrt()


def _cross(first: Tensor, second: Tensor) -> Tensor:
    """The cross product; `torch.linalg.cross` is no operator of ONNX."""
    return first.roll(-1, -1) * second.roll(-2, -1) - first.roll(-2, -1) * second.roll(-1, -1)
