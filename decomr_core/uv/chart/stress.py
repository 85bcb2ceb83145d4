"""Stress: distances in the UV map against distances on the mesh (the paper's S1 and S2)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from decomr_core.uv.chart.landmarks import HalfBody
from decomr_core.uv.chart.seams import CutHalf
from decomr_core.uv.mesh_graph import edge_graph

__all__ = ['Stress']

# Number of sampled vertices; a fixed random choice.
NUM_SAMPLES = 400
# Share of path length in the distances on the mesh. The rest is the number of edges, which S1 and
# S2 most likely use; it favours densely meshed parts.
LENGTH_SHARE = 0.4


class Stress:
    """Squared differences between distances in the plane and on the mesh for sampled vertices.

    They include the distances to the other samples and to their mirror images.

    Attributes:
        samples: (K,) int64 vertices of the cut half.
        weight: the energy of a map in which all distances are zero, m^2.
    """

    def __init__(self, half: HalfBody, cut: CutHalf, weight: float) -> None:
        """Measures the distances between the samples on the mesh."""
        copies = np.bincount(cut.vertex_index)
        single = np.flatnonzero(copies[cut.vertex_index] == 1)
        choice = np.random.default_rng(0).permutation(len(single))[:NUM_SAMPLES]
        self.samples, self.weight = np.sort(single[choice]), weight
        graph = edge_graph(half.vertices, half.faces)
        counts, lengths = (
            _sample_distances(graph, half, cut.vertex_index[self.samples], is_hop)
            for is_hop in (True, False)
        )
        self._targets = (
            1 - LENGTH_SHARE
        ) * counts / counts.mean() + LENGTH_SHARE * lengths / lengths.mean()
        self._index = (2 * self.samples[:, None] + np.arange(2)).reshape(1, -1)

    def value(self, positions: np.ndarray) -> float:
        """The energy of (P, 2) positions, m^2."""
        distances, _ = self._distances(positions)
        return float(((distances - self._lengths(distances)) ** 2).sum() * self._unit(distances))

    def derivatives(self, positions: np.ndarray) -> tuple[np.ndarray, list]:
        """(P, 2) gradient, and one Hessian block in the form of `Clearance.derivatives`."""
        distances, offsets = self._distances(positions)
        lengths = self._lengths(distances)
        unit = self._unit(distances)
        safe = np.maximum(distances, 1e-12)
        normals = offsets / safe[..., None]  # (2, K, K, 2)
        residual = distances - lengths
        part = (residual**2).sum() / (distances**2).sum()
        # The sum contains each unordered pair twice.
        forces = 4 * unit * ((residual - part * distances)[..., None] * normals).sum(axis=(0, 2))
        gradient = np.zeros_like(positions)
        gradient[self.samples] = forces
        along = normals[..., :, None] * normals[..., None, :]
        bend = np.clip(1 - lengths / safe, 0, None)[..., None, None]
        curvature = 4 * unit * (along + bend * (np.eye(2) - along))  # (2, K, K, 2, 2)
        count = len(self.samples)
        block = np.zeros((count, 2, count, 2))
        block -= curvature[0].transpose(0, 2, 1, 3)
        block -= (curvature[1] * [-1.0, 1.0]).transpose(0, 2, 1, 3)
        rows = np.arange(count)
        block[rows, :, rows, :] += curvature.sum(axis=(0, 2))
        return gradient, [(self._index, block.reshape(1, 2 * count, 2 * count))]

    def _distances(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(2, K, K) distances to the samples and to their mirror images, and the offsets."""
        points = positions[self.samples]
        offsets = np.stack([points[:, None] - points, points[:, None] - points * [-1.0, 1.0]])
        return np.linalg.norm(offsets, axis=3), offsets

    def _lengths(self, distances: np.ndarray) -> np.ndarray:
        """The distances on the mesh at the best-fitting scale."""
        scale = (distances * self._targets).sum() / (self._targets**2).sum()
        return scale * self._targets

    def _unit(self, distances: np.ndarray) -> float:
        return self.weight / float((distances**2).sum())


def _sample_distances(
    graph: sparse.csr_matrix, half: HalfBody, samples: np.ndarray, is_hop: bool
) -> np.ndarray:
    """(2, K, K) distances on the mesh between (K,) vertices, and to their mirror images."""
    to_all = dijkstra(graph, indices=samples, unweighted=is_hop)  # (K, vertices)
    # A path to the other side goes through the plane of symmetry.
    middle = to_all[:, np.concatenate([half.front, half.back])]
    across = np.stack([(middle + row).min(axis=1) for row in middle])
    return np.stack([to_all[:, samples], across])
