"""The step behind the alignment: the surface keeps the distances on it, as skin does.

Pose components are linear. Where they bend a limb, they stretch or shrink its surface, and so do
the errors of the prediction. This is one step of as-rigid-as-possible deformation (Sorkine and
Alexa, "As-Rigid-As-Possible Surface Modeling", SGP 2007), with the template as the shape at rest:
each texel's neighbourhood is rotated as it is now, and the texels move to where both their own
place and the rotated neighbourhoods want them. Along the image plane the joints stay where the
alignment has put them, for the image shows them there; in depth they move with the surface.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decomr_core.uv.location_map import LocationMapper
from decomr_core.uv.tangent_frames import TangentFrames

__all__ = ['RigidSurface']

NUM_NEIGHBORS = 8
"""Texels in the neighbourhood of a texel."""
MIN_DISTANCE_M = 0.01
"""Added to the distances of neighbours, whose weights are the inverse of the sum."""
MAX_DISTANCE_M = 0.15
"""Texels next to each other in the map, but farther apart on the template, lie across a gap."""
JOINT_HOLD = 3000.0
"""Weight of a joint's place in the image, relative to that of the places of texels."""


class RigidSurface(nn.Module):
    """Moves the texels of location maps so that the surface is less stretched.

    The new places y of the texels solve y + rigidity (y - W y) = x + rigidity d. Here x are the
    given places, W y is the weighted mean over each texel's neighbours, and d the template's
    difference between a texel and that mean, rotated as the surface x is and scaled to its mean
    size. In the image plane the left side also has `JOINT_HOLD` J' J (y - x), where J are the
    weights of the texels in the joints. The equations are the same for all location maps, so their
    inverse is a constant. A rotated, translated or scaled template passes through unchanged.

    Attributes:
        rigidity: weight of the distances relative to that of the given places.
        frames: one frame per texel that holds a surface point; n in all.
    """

    _texels: Tensor
    _neighbors: Tensor
    _own_weights: Tensor
    _neighbor_weights: Tensor
    _solution: Tensor
    _joint_weights: Tensor
    _joint_pull: Tensor
    _rows: Tensor
    _scale_weights: Tensor

    def __init__(
        self,
        mapper: LocationMapper,
        template: Tensor,
        faces: Tensor,
        joint_weights: Tensor,
        rigidity: float,
    ) -> None:
        """Computes neighbourhoods of the template and solves the equations once.

        Args:
            mapper: of the location maps.
            template: (V, 3) the template, metres.
            faces: (F, 3) int64.
            joint_weights: (J, R R) weights of the texels in each joint.
            rigidity: see the attribute; above 0.
        """
        super().__init__()
        self.rigidity = rigidity
        texels, points = mapper.surface_points(template)
        _, normals = mapper.surface_points(_vertex_normals(template, faces))
        places = torch.stack([texels // mapper.resolution, texels % mapper.resolution], dim=1)
        neighbors, weights = _neighborhoods(points, normals, places)
        around = torch.cat([torch.arange(len(texels))[:, None], neighbors], dim=1)
        self.frames = TangentFrames(points, around)
        is_defined = self.frames.is_defined
        weights = weights * is_defined[:, None] * is_defined[neighbors]
        weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-9)
        axes = self.frames.at_rest
        # The template's differences, in the frames of the texel and of its neighbour; the mean of
        # both is rotated.
        differences = (weights / 2)[..., None] * (points[:, None] - points[neighbors])
        laplacian = torch.zeros(len(texels), len(texels), dtype=torch.float64)
        laplacian.scatter_add_(1, neighbors, -weights.double())
        laplacian += torch.diag(weights.double().sum(dim=1))
        solution = torch.linalg.inv(torch.eye(len(texels)) + rigidity * laplacian)
        joint_weights = joint_weights[:, texels].double()
        rows = torch.arange(mapper.mask.numel()) + len(texels)
        rows[texels] = torch.arange(len(texels))
        for name, value in (
            ('_texels', texels),
            ('_neighbors', neighbors),
            ('_own_weights', (axes @ differences.sum(dim=1)[..., None])),  # (n, 3, 1)
            ('_neighbor_weights', axes[neighbors] @ differences[..., None]),  # (n, k, 3, 1)
            ('_solution', solution.float()),
            ('_joint_weights', joint_weights.float()),
            ('_joint_pull', _pull_of_joints(solution, joint_weights).float()),
            ('_rows', rows),
            ('_scale_weights', is_defined / is_defined.sum().clamp_min(1)),
        ):
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, location_map: Tensor) -> Tensor:
        """Location maps (B, 3, R, R), metres, to the same with less stretch, float32."""
        with torch.autocast(location_map.device.type, enabled=False):
            texels = location_map.float().flatten(2).transpose(1, 2)  # (B, R R, 3)
            points = texels.index_select(1, self._texels)
            wanted = points + self.rigidity * self._moved_differences(points)
            moved = self._solution @ wanted
            joint_shift = self._joint_weights @ (points - moved)[..., :2]  # (B, J, 2)
            held = moved[..., :2] + self._joint_pull @ joint_shift
            # Texels without a surface point stay as they are.
            moved = torch.cat([torch.cat([held, moved[..., 2:]], dim=2), texels], dim=1)
            moved = moved.index_select(1, self._rows)
            return moved.transpose(1, 2).reshape(location_map.shape)

    def _moved_differences(self, points: Tensor) -> Tensor:
        """(B, n, 3): the template's difference between each texel and its neighbours, moved."""
        frames, lengths = self.frames(points)  # (B, n, 9), (B, n)
        scale = (lengths * self._scale_weights).sum(dim=1)[:, None, None]
        count = int(points.shape[1])
        own = frames.reshape(-1, count, 3, 3) * self._own_weights
        near = frames.index_select(1, self._neighbors.flatten())
        near = near.reshape(-1, count, 3 * self._neighbors.shape[1], 3)
        near = near * self._neighbor_weights.flatten(1, 2)
        return scale * (own.sum(dim=2) + near.sum(dim=2))


def _pull_of_joints(solution: Tensor, joint_weights: Tensor) -> Tensor:
    """How far the texels (n, J) move per metre that a joint is held back.

    The equations with joints differ from those without by a matrix of rank J, so that their
    solution follows from the other's (Woodbury's formula).

    Args:
        solution: (n, n) float64, inverse of the equations without joints.
        joint_weights: (J, n) float64.
    """
    reach = solution @ joint_weights.T
    softness = torch.eye(len(joint_weights), dtype=torch.float64) / JOINT_HOLD
    return reach @ torch.linalg.inv(joint_weights @ reach + softness)


def _neighborhoods(points: Tensor, normals: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The texels around each texel: those next to it in the map, then the nearest others.

    The others connect the sides of seams. Texels with opposed normals are no neighbours: the skin
    of the other leg, or of the other side of a hand.

    Args:
        points: (n, 3) the template's surface points, metres.
        normals: (n, 3) its normals.
        places: (n, 2) row and column of each texel.

    Returns:
        Indices (n, k) int64 of the neighbours and their weights (n, k), 0 if there are fewer.
    """
    distances = torch.cdist(points, points)
    is_adjacent = (places[:, None] - places).abs().amax(dim=-1) == 1
    is_adjacent &= distances < MAX_DISTANCE_M
    ranks = torch.where(normals @ normals.T > 0, distances, torch.inf)
    ranks = torch.where(is_adjacent, distances - 2 * MAX_DISTANCE_M, ranks)
    ranks.fill_diagonal_(torch.inf)
    first, neighbors = ranks.topk(min(NUM_NEIGHBORS, len(points) - 1), largest=False)
    neighbors = torch.where(first.isinf(), torch.arange(len(points))[:, None], neighbors)
    weights = 1 / (distances.gather(1, neighbors) + MIN_DISTANCE_M)
    return neighbors, torch.where(first.isinf(), 0.0, weights)


def _vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """(V, 3) sums of the area-weighted normals of the faces (F, 3) around each vertex (V, 3)."""
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))
    of_faces = torch.linalg.cross(second - first, third - first)
    return torch.zeros_like(vertices).index_add_(
        0, faces.flatten(), of_faces.repeat_interleave(3, dim=0)
    )
