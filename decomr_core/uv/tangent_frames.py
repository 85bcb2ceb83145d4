"""Local frames of a surface that is given by points, and of the same surface when it moves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ['TangentFrames']

EPSILON = 1e-12
MIN_SPREAD = 1e-3
"""A tangent whose singular value is below this share of the largest one is undefined: zero."""


class TangentFrames(nn.Module):
    """An orthonormal frame at each of K places: two tangents and the normal.

    Differentiable, only gathers and sums.

    Attributes:
        neighbors: (K, k) int64, the points from which each frame is computed.
        at_rest: (K, 3, 3) the frames of the surface at rest, an axis per row.
        is_defined: (K,) bool, whether the points of the frame span a plane.
    """

    neighbors: Tensor
    at_rest: Tensor
    is_defined: Tensor
    _tangent_weights: Tensor

    def __init__(self, points: Tensor, neighbors: Tensor) -> None:
        """Computes the frames of the surface at rest.

        Args:
            points: (N, 3) points of the surface at rest.
            neighbors: see the attribute.
        """
        super().__init__()
        around = points[neighbors]
        around = around - around.mean(dim=1, keepdim=True)  # (K, k, 3)
        _, spread, axes = torch.linalg.svd(around, full_matrices=False)
        along = around @ axes[:, :2].transpose(1, 2)  # (K, k, 2)
        is_spread = spread[:, :2] > spread[:, :1] * MIN_SPREAD
        # With these weights the points at rest sum to their axes, which have length 1.
        weights = along / spread[:, None, :2].clamp_min(1e-9).square()
        weights = torch.where(is_spread[:, None], weights, 0.0)
        frames = torch.cat([axes[:, :2], torch.linalg.cross(axes[:, 0], axes[:, 1])[:, None]], 1)
        for name, value in (
            ('neighbors', neighbors),
            ('at_rest', frames),
            ('is_defined', is_spread.all(dim=1)),
            ('_tangent_weights', weights),
        ):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The frames of the moved surface.

        Args:
            points: (B, N, 3) its points.

        Returns:
            The frames (B, K, 9), axis after axis, and the mean length of the two tangents (B, K)
            relative to the surface at rest.
        """
        around = points.index_select(1, self.neighbors.flatten())
        around = around.reshape(-1, *self.neighbors.shape, 3)  # (B, K, k, 3)
        around = around - around[:, :, :1]  # keeps numbers small, because the weights are large
        first, second = (
            (around * self._tangent_weights[..., axis, None]).sum(dim=2) for axis in (0, 1)
        )
        # The tangents follow the stretch and the shear of the surface. They are replaced by the
        # nearest pair of perpendicular unit vectors.
        lengths = (_length(first) + _length(second)) / 2
        first, second = _unit(first), _unit(second)
        middle, across = _unit(first + second), _unit(first - second)
        first, second = (middle + across) * 0.5**0.5, (middle - across) * 0.5**0.5
        frames = torch.cat([first, second, _cross(first, second)], dim=-1)
        return frames, lengths[..., 0]


def _length(vectors: Tensor) -> Tensor:
    # Not `torch.linalg.vector_norm`: TensorRT has no ReduceL2.
    return (vectors.square().sum(dim=-1, keepdim=True) + EPSILON).sqrt()


def _unit(vectors: Tensor) -> Tensor:
    return vectors / _length(vectors)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    """The cross product; ONNX has no operator for `torch.linalg.cross`."""
    return first.roll(-1, -1) * second.roll(-2, -1) - first.roll(-2, -1) * second.roll(-1, -1)
