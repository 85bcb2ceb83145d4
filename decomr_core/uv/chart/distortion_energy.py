"""The distortion energy of triangles and its derivatives, for flattening the UV map.

With singular values s1 and s2 of a triangle's map, the energy density is
s1^2 + s2^2 + 1/s1^2 + 1/s2^2 - 4 + AREA_WEIGHT (s1 s2 + 1/(s1 s2) - 2): symmetric Dirichlet (Smith
and Schaefer 2015) with an area term. The Hessian is projected to positive semi-definite in closed
form through the eigenmodes of an isotropic energy: two scalings, twist, flip (Smith et al. 2019).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from decomr_core.uv.mesh_graph import neighbour_matrix

__all__ = ['DistortionEnergy', 'detail_scales']

# A larger weight evens out areas at the cost of angles.
AREA_WEIGHT = 5.0
# Faces in densely meshed regions get a larger target area. Above DETAIL_START, the log of the
# area grows with the log of the density relative to its mean over the surface.
DETAIL_GROWTH, DETAIL_START, MAX_DETAIL = 0.12, 0.7, 0.6
DETAIL_SMOOTHINGS = 5
# Keeps the Hessian positive definite.
MIN_CURVATURE = 1e-9


class DistortionEnergy:
    """The area-weighted distortion of a planar map of a triangle mesh.

    Attributes:
        faces: (Q, 3) int64.
        areas: (Q,) target area of each triangle, m^2.
    """

    def __init__(
        self, vertices: np.ndarray, faces: np.ndarray, scales: np.ndarray | None = None
    ) -> None:
        """Prepares the rest shape of each triangle.

        Args:
            vertices: (P, 3) metres.
            faces: (Q, 3) int64.
            scales: (Q,) target scale of lengths of each triangle; None for 1.

        Raises:
            ValueError: a triangle has no area.
        """
        first = vertices[faces[:, 1]] - vertices[faces[:, 0]]
        second = vertices[faces[:, 2]] - vertices[faces[:, 0]]
        length = np.linalg.norm(first, axis=1)
        height = np.linalg.norm(np.cross(first, second), axis=1) / np.maximum(length, 1e-300)
        self.faces = faces
        self.areas = length * height / 2
        if self.areas.min() <= 1e-12 * self.areas.mean():
            raise ValueError(
                f'face {int(self.areas.argmin())} of the half body has no area; '
                'remove degenerate triangles from the mesh'
            )
        along = (first * second).sum(axis=1) / length
        inverse = np.zeros((len(faces), 2, 2))
        inverse[:, 0, 0] = 1 / length
        inverse[:, 0, 1] = -along / (length * height)
        inverse[:, 1, 1] = 1 / height
        # (Q, 3, 2): the Jacobian is positions^T @ gradient.
        self._gradient = np.concatenate([-inverse.sum(axis=1, keepdims=True), inverse], axis=1)
        if scales is not None:
            self._gradient /= scales[:, None, None]
            self.areas = self.areas * scales**2

    def jacobians(self, positions: np.ndarray) -> np.ndarray:
        """(Q, 2, 2) Jacobians of the map with vertices at (P, 2) positions."""
        return np.einsum('fka,fkb->fab', positions[self.faces], self._gradient)

    def value(self, positions: np.ndarray) -> float:
        """The energy of (P, 2) positions, m^2; infinite if a triangle is flipped or flat."""
        jacobian = self.jacobians(positions)
        determinant = _determinants(jacobian)
        if determinant.min() <= 0:
            return np.inf
        square = (jacobian**2).sum(axis=(1, 2))
        density = (
            square * (1 + 1 / determinant**2)
            - 4
            + AREA_WEIGHT * (determinant + 1 / determinant - 2)
        )
        return float(self.areas @ density)

    def derivatives(self, positions: np.ndarray) -> tuple[np.ndarray, list]:
        """(P, 2) gradient, and positive definite Hessian blocks.

        A block is ((M, D) int64 coordinates, (M, D, D) values). The coordinate of a vertex's x
        is twice the vertex, that of its y one more.
        """
        left, stretch, right = np.linalg.svd(self.jacobians(positions))
        one, two = stretch.T
        slope, curvatures = _isotropic_derivatives(one, two)
        stress = np.einsum('fak,fk,fkb->fab', left, slope, right)
        forces = self.areas[:, None, None] * np.einsum(
            'fab,fkb->fka', stress, self._gradient
        )  # (Q, 3, 2)
        gradient = np.stack(
            [
                np.bincount(
                    self.faces.ravel(), forces[..., axis].ravel(), minlength=len(positions)
                )
                for axis in range(2)
            ],
            axis=1,
        )
        modes = _modes(left, right, curvatures[0])  # (Q, 4, 2, 2)
        corner_modes = np.einsum('fqab,fkb->fqka', modes, self._gradient)
        corner_modes = corner_modes.reshape(len(self.faces), 4, 6)
        weights = self.areas[:, None] * np.maximum(curvatures[1], MIN_CURVATURE)
        hessians = np.einsum('fqi,fq,fqj->fij', corner_modes, weights, corner_modes, optimize=True)
        index = (2 * self.faces[:, :, None] + np.arange(2)).reshape(-1, 6)
        return gradient, [(index, hessians)]

    def longest_step(self, positions: np.ndarray, direction: np.ndarray) -> float:
        """The step along a (P, 2) direction at which the first triangle becomes flat, or inf."""
        start, change = self.jacobians(positions), self.jacobians(direction)
        constant = _determinants(start)
        quadratic = _determinants(change)
        linear = _determinants(start + change) - constant - quadratic
        with np.errstate(divide='ignore', invalid='ignore'):
            root = np.sqrt(linear**2 - 4 * quadratic * constant)
            # The quadratic formula without cancellation.
            steps = np.stack([2 * constant / (-linear - root), 2 * constant / (-linear + root)])
        steps = steps[np.isfinite(steps) & (steps > 0)]
        return float(steps.min()) if len(steps) else np.inf


def detail_scales(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The target scale of each triangle in the map, larger in detailed regions.

    A mesh is densest where its shape is finest (eyes, lips, fingers), and a location map needs
    most texels there. Giving these parts a few per cent of the area halves the largest errors of
    the round trip.

    Args:
        vertices: (P, 3) metres.
        faces: (Q, 3) int64.

    Returns:
        (Q,) scale of lengths.
    """
    sides = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    areas = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    size = len(vertices)
    vertex_areas = np.bincount(faces.ravel(), np.repeat(areas / 3, 3), minlength=size)
    links = neighbour_matrix(faces, size) + sparse.identity(size)
    mean_of_neighbours = sparse.diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links
    density = -np.log(vertex_areas)
    for _ in range(DETAIL_SMOOTHINGS):
        density = mean_of_neighbours @ density
    shares = vertex_areas / vertex_areas.sum()
    growth = DETAIL_GROWTH * np.maximum(density - shares @ density - DETAIL_START, 0.0)
    growth = np.minimum(growth, MAX_DETAIL)
    growth -= shares @ growth  # keeps the total size
    return np.exp(growth[faces].mean(axis=1) / 2)


def _determinants(matrices: np.ndarray) -> np.ndarray:
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _isotropic_derivatives(
    one: np.ndarray, two: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Derivatives by the singular values (Q, 2); scaling axes and eigenvalues of four modes."""
    area = one * two
    by_area = AREA_WEIGHT * (1 - 1 / area**2)
    slope_one = 2 * one - 2 / one**3 + by_area * two
    slope_two = 2 * two - 2 / two**3 + by_area * one
    curve = 2 * AREA_WEIGHT / area**3
    one_one = 2 + 6 / one**4 + curve * two**2
    two_two = 2 + 6 / two**4 + curve * one**2
    one_two = by_area + curve * area
    scaling, axes = np.linalg.eigh(
        np.stack(
            [np.stack([one_one, one_two], axis=1), np.stack([one_two, two_two], axis=1)], axis=1
        )
    )
    # (slope_one - slope_two) / (one - two) in a form without 0 / 0, and the same with plus.
    cubes = 2 * (one**2 + area + two**2) / area**3
    flip = 2 + cubes - by_area
    twist = (slope_one + slope_two) / (one + two)
    eigenvalues = np.concatenate([scaling, twist[:, None], flip[:, None]], axis=1)
    return np.stack([slope_one, slope_two], axis=1), (axes, eigenvalues)


def _modes(left: np.ndarray, right: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(Q, 4, 2, 2) orthonormal eigenmatrices of the Hessian with respect to the Jacobian."""
    half = np.sqrt(0.5)
    inner = np.zeros((len(left), 4, 2, 2))
    inner[:, 0, 0, 0], inner[:, 0, 1, 1] = axes[:, 0, 0], axes[:, 1, 0]
    inner[:, 1, 0, 0], inner[:, 1, 1, 1] = axes[:, 0, 1], axes[:, 1, 1]
    inner[:, 2, 0, 1], inner[:, 2, 1, 0] = -half, half
    inner[:, 3, 0, 1], inner[:, 3, 1, 0] = half, half
    return np.einsum('fab,fqbc,fcd->fqad', left, inner, right)
