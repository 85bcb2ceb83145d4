"""The edges of a mesh as sparse matrices: edge lengths and vertex adjacency."""

from __future__ import annotations

import numpy as np
from scipy import sparse

__all__ = ['edge_graph', 'neighbour_matrix']


def edge_graph(vertices: np.ndarray, faces: np.ndarray) -> sparse.csr_matrix:
    """(P, P) symmetric matrix of the edge lengths of a mesh, metres."""
    edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    size = (len(vertices), len(vertices))
    return sparse.csr_matrix((np.tile(lengths, 2), (rows, columns)), shape=size)


def neighbour_matrix(faces: np.ndarray, num_vertices: int) -> sparse.csr_matrix:
    """(P, P) symmetric adjacency matrix of the vertices of (Q, 3) faces."""
    first, second = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    links = sparse.coo_matrix(
        (np.ones(2 * len(first)), (np.append(first, second), np.append(second, first))),
        shape=(num_vertices, num_vertices),
    ).tocsr()
    links.data[:] = 1.0  # two faces share an inner edge, which is counted twice
    return links
