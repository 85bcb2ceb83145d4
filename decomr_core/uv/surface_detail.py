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

__all__ = ['SurfaceDetail']

NUM_FRAMES = 800
"""Frames on the body; a vertex uses the nearest one."""
NUM_NEIGHBORS = 32
"""Vertices from which a frame is computed."""
EPSILON = 1e-12
MIN_SPREAD = 1e-3
"""A tangent whose singular value is below this share of the largest one is undefined: zero."""


class SurfaceDetail(nn.Module):
    """Adds the template's detail to coarse vertices; differentiable, only gathers and sums.

    Attributes:
        frame_of_vertex: (V,) int64, the frame of each vertex.
        offsets: (V, 3) float32, metres, in the vertex's frame.
    """

    frame_of_vertex: Tensor
    offsets: Tensor
    _neighbors: Tensor
    _tangent_weights: Tensor

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
        points = coarse_template[neighbors]
        points = points - points.mean(dim=1, keepdim=True)  # (K, k, 3)
        _, spread, axes = torch.linalg.svd(points, full_matrices=False)
        along = points @ axes[:, :2].transpose(1, 2)  # (K, k, 2)
        least = spread[:, :1] * MIN_SPREAD
        # With these weights the template's points sum to its axes, which have length 1.
        weights = along / spread[:, None, :2].clamp_min(1e-9).square()
        weights = torch.where(spread[:, None, :2] > least[:, None], weights, 0.0)
        frames = torch.cat([axes[:, :2], torch.linalg.cross(axes[:, 0], axes[:, 1])[:, None]], 1)
        frame_of_vertex = distances.argmin(dim=0)
        offsets = frames[frame_of_vertex] @ (template - coarse_template)[..., None]
        for name, value in (
            ('frame_of_vertex', frame_of_vertex),
            ('offsets', offsets[..., 0]),
            ('_neighbors', neighbors),
            ('_tangent_weights', weights),
        ):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, coarse: Tensor) -> Tensor:
        """Vertices (B, V, 3) sampled from a location map, metres, to vertices with detail."""
        points = coarse.index_select(1, self._neighbors.flatten())
        points = points.reshape(-1, *self._neighbors.shape, 3)  # (B, K, k, 3)
        points = points - points[:, :, :1]  # keeps numbers small, because the weights are large
        first, second = (
            (points * self._tangent_weights[..., axis, None]).sum(dim=2) for axis in (0, 1)
        )
        # The tangents follow the stretch and the shear of the surface. They are replaced by the
        # nearest pair of perpendicular unit vectors.
        first, second = _unit(first), _unit(second)
        middle, across = _unit(first + second), _unit(first - second)
        first, second = (middle + across) * 0.5**0.5, (middle - across) * 0.5**0.5
        frames = torch.cat([first, second, _cross(first, second)], dim=-1)  # (B, K, 9)
        frames = frames.index_select(1, self.frame_of_vertex)
        detail = [
            frames[..., 3 * axis : 3 * axis + 3] * self.offsets[:, axis, None] for axis in range(3)
        ]
        return coarse + detail[0] + detail[1] + detail[2]


def _farthest_points(points: Tensor, count: int) -> Tensor:
    """(count,) indices of points (N, 3) by farthest point sampling."""
    chosen = torch.zeros(count, dtype=torch.int64, device=points.device)
    distances = (points - points[0]).square().sum(dim=1)
    for row in range(1, count):
        chosen[row] = distances.argmax()
        distances = torch.minimum(distances, (points - points[chosen[row]]).square().sum(dim=1))
    return chosen


def _unit(vectors: Tensor) -> Tensor:
    # Not `functional.normalize`: TensorRT has no ReduceL2.
    return vectors / (vectors.square().sum(dim=-1, keepdim=True) + EPSILON).sqrt()


def _cross(first: Tensor, second: Tensor) -> Tensor:
    """The cross product; ONNX has no operator for `torch.linalg.cross`."""
    return first.roll(-1, -1) * second.roll(-2, -1) - first.roll(-2, -1) * second.roll(-1, -1)
