"""Location maps from which bilinear sampling recovers the vertices: ground truth for training.

A location map that holds the surface point under each texel centre loses the detail between the
centres. Here the texels are fitted to the sampled result. Sampling is linear in the texels, so
the least squares texels are linear in the vertices, and one constant sparse matrix computes them.
The vertices with the largest errors on a few posed bodies get larger weights.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from decomr_core.base.structures import check_shape
from decomr_core.body_models.body_data import NUM_SHAPES
from decomr_core.body_models.joints import NUM_JOINTS
from decomr_core.uv.location_map import barycentric, bilinear, nearest_samplers, rasterize_chart
from decomr_core.uv.uv_map import UVMap

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = [
    'FittedLocationMap',
    'example_bodies',
    'extrapolation_matrix',
    'fitted_matrix',
    'random_bodies',
    'reading_matrix',
]

# Accelerated gradient steps of the least squares fit. Early stopping keeps texels that sampling
# hardly uses near the extrapolated surface.
FIT_STEPS = 30
# Entries below this share of a vertex's error are dropped to keep the matrix local.
NEGLIGIBLE = 3e-3
# Lower bound of a texel's total sampling weight in the step size.
MIN_TEXEL_WEIGHT = 0.3
# A face extrapolates to a texel only if the magnitudes of its weights there sum to less than this.
MAX_EXTRAPOLATION = 4.0
# Example bodies for the vertex weights. In each round, vertices above this quantile of the error
# gain weight in proportion to their error.
NUM_EXAMPLES, EXAMPLE_SEED, WEIGHT_ROUNDS, WORST_QUANTILE = 8, 0, 4, 0.99
# Standard deviation of the joint angles of random bodies, radians.
POSE_SPREAD = 0.3


class FittedLocationMap(nn.Module):
    """Writes vertices into a location map so that bilinear sampling returns them.

    Attributes:
        mask: (R, R) bool, True where the map holds a point: inside the chart and where vertices
            are sampled; elsewhere the map is zero.
    """

    mask: Tensor
    _matrix: Tensor

    def __init__(self, body: BodyModel, uv_map: UVMap, resolution: int) -> None:
        """Fits the matrix; takes seconds.

        Args:
            body: the body of the map.
            uv_map: the chart.
            resolution: R, texels.
        """
        super().__init__()
        self.resolution, self.num_vertices = resolution, body.num_vertices
        matrix = fitted_matrix(uv_map, resolution, example_bodies(body))
        with warnings.catch_warnings():
            # PyTorch warns that sparse CSR is in beta; this product has worked since 1.9.
            warnings.filterwarnings('ignore', message='.*[Ss]parse.*')
            rows = torch.sparse_csr_tensor(
                torch.from_numpy(matrix.indptr.astype(np.int64)),
                torch.from_numpy(matrix.indices.astype(np.int64)),
                torch.from_numpy(matrix.data.astype(np.float32)),
                matrix.shape,
            )
        self.register_buffer('_matrix', rows, persistent=False)
        is_used = np.diff(matrix.indptr).reshape(resolution, resolution) > 0
        self.register_buffer('mask', torch.from_numpy(is_used), persistent=False)

    def forward(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) points to a (B, 3, R, R) location map, float32."""
        check_shape('vertices', vertices, (None, self.num_vertices, None))
        columns = vertices.float().permute(1, 0, 2).flatten(1)  # (V, B * 3)
        texels = self._matrix @ columns
        texels = texels.reshape(self.resolution, self.resolution, len(vertices), -1)
        return texels.permute(2, 3, 0, 1)


def random_bodies(body: BodyModel, count: int, seed: int) -> np.ndarray:
    """(count, V, 3) float64 bodies of random shape and pose, metres, body frame.

    The first one is the template.
    """
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(count - 1, NUM_JOINTS, 3, generator=generator) * POSE_SPREAD
    shape = torch.randn(count - 1, NUM_SHAPES, generator=generator)
    with torch.no_grad():
        vertices, _ = body(pose.to(body.v_template), shape.to(body.v_template))
    return torch.cat([body.v_template[None], vertices]).double().cpu().numpy()


def example_bodies(body: BodyModel) -> np.ndarray:
    """(NUM_EXAMPLES, V, 3) float64, metres: the fixed bodies that weight the fit."""
    return random_bodies(body, NUM_EXAMPLES, EXAMPLE_SEED)


def fitted_matrix(uv_map: UVMap, resolution: int, examples: np.ndarray) -> sparse.csr_matrix:
    """(R * R, V) matrix from vertices to texels, fitted so that sampling returns the vertices.

    Let P be the extrapolated surface and S the sampling matrix. The texels are
    x = P v + F (v - S P v), where F minimises |D (S F - 1)|^2 with vertex weights D, so that
    S x is close to v. Motions that P and S reproduce exactly (translations and, inside large
    faces, all affine motions) stay exact regardless of the precision of F.

    Args:
        uv_map: the chart.
        resolution: R, texels.
        examples: (K, V, 3) bodies whose errors determine the vertex weights.
    """
    num_vertices = examples.shape[1]
    reading = reading_matrix(uv_map, resolution, num_vertices)
    start = extrapolation_matrix(uv_map, resolution, num_vertices)
    used = np.unique(reading.indices)
    reading = reading[:, used].tocsr()
    weights = _vertex_weights(reading, start[used], examples)
    identity = sparse.identity(num_vertices, format='csr')
    fit = _descend(reading, weights, identity, sparse.csr_matrix((len(used), num_vertices)))
    change = fit @ (identity - reading @ start[used])
    all_from_used = sparse.csr_matrix(
        (np.ones(len(used)), (used, np.arange(len(used)))), shape=(resolution**2, len(used))
    )
    return (start + all_from_used @ change).tocsr()


def reading_matrix(uv_map: UVMap, resolution: int, num_vertices: int) -> sparse.csr_matrix:
    """(V, R * R) matrix form of `LocationMapper.vertices_from_location_map`."""
    used = np.unique(uv_map.faces)
    texels, weights = bilinear(uv_map.uv[used].astype(np.float64) * (resolution - 1), resolution)
    owner = uv_map.vertex_index[used]
    copies = np.bincount(owner, minlength=num_vertices)
    return sparse.csr_matrix(
        ((weights / copies[owner, None]).ravel(), (np.repeat(owner, 4), texels.ravel())),
        shape=(num_vertices, resolution**2),
    )


def extrapolation_matrix(uv_map: UVMap, resolution: int, num_vertices: int) -> sparse.csr_matrix:
    """(R * R, V) matrix from vertices to the surface point under each texel, extrapolated.

    A texel outside the chart that sampling uses is extrapolated from a face around the UV vertex
    that samples it with the largest weight. It takes that vertex itself if every such face would
    need weights above `MAX_EXTRAPOLATION`.
    """
    positions = uv_map.uv.astype(np.float64) * (resolution - 1)
    corners, weights = rasterize_chart(positions, uv_map.faces, resolution)
    is_empty = corners[:, 0] < 0
    used = np.unique(uv_map.faces)
    texel, sampler = nearest_samplers(positions[used], resolution)
    keep = is_empty[texel]
    texel, nearest = texel[keep], used[sampler[keep]]
    corners[texel] = nearest[:, None]
    weights[texel] = (1.0, 0.0, 0.0)
    face, row = _faces_around(uv_map.faces, nearest)
    points = np.stack([texel % resolution, texel // resolution], axis=1)
    face_weights = barycentric(positions[uv_map.faces[face]], points[row])
    magnitude = np.abs(face_weights).sum(axis=1)
    magnitude[(face_weights == -1.0).all(axis=1)] = np.inf  # a face without area
    order = np.lexsort((magnitude, row))
    best = order[np.unique(row[order], return_index=True)[1]]
    best = best[magnitude[best] < MAX_EXTRAPOLATION]
    corners[texel[row[best]]] = uv_map.faces[face[best]]
    weights[texel[row[best]]] = face_weights[best]
    is_used = corners[:, 0] >= 0
    rows = np.repeat(np.flatnonzero(is_used), 3)
    columns = uv_map.vertex_index[corners[is_used]].ravel()
    return sparse.csr_matrix(
        (weights[is_used].ravel(), (rows, columns)), shape=(resolution**2, num_vertices)
    )


def _vertex_weights(
    reading: sparse.csr_matrix, start: sparse.csr_matrix, examples: np.ndarray
) -> np.ndarray:
    """(V,) weights that even out the errors of the vertices of (K, V, 3) examples."""
    points = examples.transpose(1, 0, 2).reshape(examples.shape[1], -1)
    weights = np.ones(len(points))
    for _ in range(WEIGHT_ROUNDS):
        texels = _descend(reading, weights, points, start @ points)
        errors = np.linalg.norm((reading @ texels - points).reshape(len(points), -1, 3), axis=2)
        worst = errors.max(axis=1)
        weights *= np.maximum(worst / max(np.quantile(worst, WORST_QUANTILE), 1e-12), 1.0)
    return weights


def _descend(
    reading: sparse.csr_matrix, weights: np.ndarray, target: np.ndarray, texels: np.ndarray
) -> np.ndarray:
    """Fits texels to a target, dense or sparse, by Nesterov's accelerated gradient descent.

    The step of a texel is divided by its total sampling weight. The rows of `reading` sum to 1,
    so a step of 1 never overshoots.
    """
    totals = np.maximum(reading.T @ weights, MIN_TEXEL_WEIGHT)
    back = (sparse.diags(1 / totals) @ reading.T @ sparse.diags(weights)).tocsr()
    ahead, momentum = texels, 1.0
    for _ in range(FIT_STEPS):
        following = ahead + back @ (target - reading @ ahead)
        if sparse.issparse(following):
            following = _without_negligible(following)
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / next_momentum * (following - texels)
        texels, momentum = following, next_momentum
    return texels


def _faces_around(faces: np.ndarray, uv_vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All faces around each of (n,) UV vertices: (m,) faces and (m,) indices into the n."""
    order = np.argsort(faces.ravel(), kind='stable')
    counts = np.bincount(faces.ravel())
    starts = np.cumsum(counts) - counts
    sizes = counts[uv_vertices]
    row = np.repeat(np.arange(len(uv_vertices)), sizes)
    within = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[starts[uv_vertices][row] + within] // 3, row


def _without_negligible(matrix: sparse.spmatrix) -> sparse.csr_matrix:
    matrix = matrix.tocsr()
    matrix.data[np.abs(matrix.data) < NEGLIGIBLE] = 0.0
    matrix.eliminate_zeros()
    return matrix
