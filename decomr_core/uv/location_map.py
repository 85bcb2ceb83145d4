"""Converts vertices to a location map and back, by constant tables made from a UV map.

A location map (paper section 3.2) holds one surface point per texel of the UV square. A vertex at
(u, v) lies at texel (u, v) * (R - 1), column then row: texel centres are the grid points
(PyTorch's `align_corners=True`). The tables work in any frame and unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from decomr_core.base.structures import check_shape

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel
    from decomr_core.uv.uv_map import UVMap

__all__ = [
    'LocationMapper',
    'barycentric',
    'bilinear',
    'nearest_samplers',
    'project_location_map',
    'rasterize_chart',
    'weight_map',
]

# Loss weights of torso, neck and head, arms and legs, hands and feet (paper section 3.4).
GROUP_WEIGHTS = (1.0, 2.0, 5.0, 25.0)
# A point is inside a face if all its barycentric weights exceed this.
INSIDE = 1e-10


class LocationMapper(nn.Module):
    """Maps values at vertices to the texels of a UV map and back.

    Both directions are linear with constant weights, differentiable, batched, and use only
    gathers and sums, so that they export without GridSample. Writing follows the official code:
    an empty texel next to a vertex holds that vertex. Maps from `FittedLocationMap` reproduce the
    vertices several times more accurately.

    Attributes:
        mask: (R, R) bool, True where a texel holds a surface point.
        texel_vertices: (R, R, 3) int64, the vertices that each texel interpolates.
        barycentric_weights: (R, R, 3) float32, their weights; zeros where `mask` is False.
    """

    mask: Tensor
    texel_vertices: Tensor
    barycentric_weights: Tensor
    _texels: Tensor
    _texel_weights: Tensor
    _seam_texels: Tensor
    _seam_weights: Tensor
    _order: Tensor

    def __init__(self, uv_map: UVMap, resolution: int, num_vertices: int) -> None:
        """Makes the tables.

        Args:
            uv_map: the chart.
            resolution: R, texels.
            num_vertices: V of the body.

        Raises:
            ValueError: the map refers to a vertex that the body does not have, or a vertex is in
                no triangle of the map.
        """
        super().__init__()
        self.resolution = resolution
        self.num_vertices = num_vertices
        uv, faces, vertex_index = (
            np.asarray(array) for array in (uv_map.uv, uv_map.faces, uv_map.vertex_index)
        )
        if vertex_index.max() >= num_vertices:
            raise ValueError(
                f'the UV map refers to vertex {vertex_index.max()}, but the body has '
                f'{num_vertices} vertices; build the map for this body: '
                'decomr uv build --body FILE --out FILE'
            )
        positions = uv.astype(np.float64) * (resolution - 1)  # (N, 2)
        corners, weights = rasterize_chart(positions, faces, resolution)
        vertices = np.where(corners >= 0, vertex_index[corners], 0)
        mask = corners[:, 0] >= 0
        _fill_next_to_vertices(positions, vertex_index, resolution, vertices, weights, mask)
        side = (resolution, resolution)
        self._constant('mask', mask.reshape(side))
        self._constant('texel_vertices', vertices.reshape(*side, 3))
        self._constant('barycentric_weights', weights.reshape(*side, 3).astype(np.float32))
        self._make_sampling_tables(positions, faces, vertex_index)

    def location_map_from_vertices(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) points to a (B, 3, R, R) location map; zeros where `mask` is False."""
        check_shape('vertices', vertices, (None, self.num_vertices, None))
        corners = vertices[:, self.texel_vertices.flatten(0, 1)]  # (B, R * R, 3, 3)
        weights = self.barycentric_weights.flatten(0, 1).unsqueeze(-1).to(vertices.dtype)
        points = (corners * weights).sum(dim=2).transpose(1, 2)
        return points.reshape(len(vertices), -1, self.resolution, self.resolution)

    def surface_points(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The texels that hold a surface point, and values at vertices (V, C) read there.

        Returns:
            (n,) int64 texels, row * R + column, ascending, and (n, C) their values.
        """
        texels = self.mask.flatten().nonzero()[:, 0]
        return texels, self.location_map_from_vertices(values[None])[0].flatten(1).T[texels]

    def vertices_from_location_map(self, location_map: Tensor) -> Tensor:
        """Samples a (B, 3, R, R) location map bilinearly at each vertex: (B, V, 3).

        A vertex on a seam is the mean of the samples at its UV vertices.
        """
        batch, channels = location_map.shape[:2]
        # One row per texel is the fastest layout to gather from, forward and backward.
        rows = location_map.reshape(batch * channels, -1).t()  # (R * R, B * 3)
        readings = _read_rows(rows, self._texels, self._texel_weights)
        if self._seam_texels.numel() > 0:
            seam = _read_rows(rows, self._seam_texels, self._seam_weights)
            readings = torch.cat([readings, seam]).index_select(0, self._order)
        return readings.reshape(-1, batch, channels).transpose(0, 1)

    def texel_weights(self, vertex_weights: Tensor) -> Tensor:
        """Weights of texels that give the same points as weights of vertices.

        Args:
            vertex_weights: (n, V), such as a joint regressor.

        Returns:
            (n, R * R): its product with the texels of a location map equals the product of
            `vertex_weights` with `vertices_from_location_map`.
        """
        reading_weights = vertex_weights
        if self._seam_texels.numel() > 0:
            reading_weights = torch.zeros_like(vertex_weights)
            reading_weights[:, self._order] = vertex_weights
        result = vertex_weights.new_zeros(len(vertex_weights), self.resolution**2)
        first = 0
        for texels, weights in (
            (self._texels, self._texel_weights),
            (self._seam_texels, self._seam_weights),
        ):
            part = reading_weights[:, first : first + len(texels), None] * weights
            result.index_add_(1, texels.flatten(), part.flatten(1))
            first += len(texels)
        return result

    def _make_sampling_tables(
        self, positions: np.ndarray, faces: np.ndarray, vertex_index: np.ndarray
    ) -> None:
        """Makes rows of 4 texels per vertex, and longer rows for vertices on a seam."""
        used = np.unique(faces)
        texels, weights = bilinear(positions[used], self.resolution)  # (n, 4)
        owner = vertex_index[used]
        counts = np.bincount(owner, minlength=self.num_vertices)
        if (counts == 0).any():
            missing = np.flatnonzero(counts == 0)
            raise ValueError(
                f'{len(missing)} vertices are not in the UV map, the first is '
                f'{missing[0]}; build the map for this body: '
                'decomr uv build --body FILE --out FILE'
            )
        is_single = counts[owner] == 1
        seam_vertices = np.flatnonzero(counts > 1)
        seam_texels = np.zeros((len(seam_vertices), 4 * counts.max()), dtype=np.int64)
        seam_weights = np.zeros(seam_texels.shape)
        for row, vertex in enumerate(seam_vertices):
            copies = np.flatnonzero(owner == vertex)
            size = 4 * len(copies)
            seam_texels[row, :size] = texels[copies].ravel()
            seam_weights[row, :size] = weights[copies].ravel() / len(copies)
        order = np.argsort(np.concatenate([owner[is_single], seam_vertices]))
        if len(seam_vertices) == 0:
            texels, weights = texels[order], weights[order]
            is_single = is_single[order]
        self._constant('_texels', texels[is_single])
        self._constant('_texel_weights', weights[is_single].astype(np.float32))
        self._constant('_seam_texels', seam_texels)
        self._constant('_seam_weights', seam_weights.astype(np.float32))
        self._constant('_order', order)

    def _constant(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)


def weight_map(body: BodyModel, uv_map: UVMap, resolution: int) -> Tensor:
    """(R, R) loss weight of each texel by body part; zero outside the chart, mean 1 inside.

    Torso : neck and head : arms and legs : hands and feet = 1 : 2 : 5 : 25 (paper section 3.4).
    A texel between parts takes the largest weight of its vertices.
    """
    mapper = LocationMapper(uv_map, resolution, len(body.v_template))
    groups = torch.as_tensor(body.vertex_groups)
    vertex_weights = torch.tensor(GROUP_WEIGHTS)[groups]  # (V,)
    corners = vertex_weights[mapper.texel_vertices]  # (R, R, 3)
    weights = torch.where(mapper.barycentric_weights > 0, corners, 0.0).amax(dim=-1)
    return weights / weights[mapper.mask].mean()


def _read_rows(rows: Tensor, texels: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums (n, c) of rows (R * R, c) by tables of texels and weights (n, k)."""
    weights = weights.to(rows.dtype)
    readings = rows.index_select(0, texels[:, 0]) * weights[:, 0, None]
    for column in range(1, texels.shape[1]):
        samples = rows.index_select(0, texels[:, column])
        readings = readings + samples * weights[:, column, None]
    return readings


def rasterize_chart(
    positions: np.ndarray, faces: np.ndarray, resolution: int
) -> tuple[np.ndarray, np.ndarray]:
    """The face that covers each texel, and the barycentric weights in it.

    Args:
        positions: (N, 2) texel coordinates of the UV vertices: column, row.
        faces: (F, 3) into the UV vertices.
        resolution: R.

    Returns:
        (R * R, 3) UV vertices of the first face that covers each texel, -1 if none does, and
        (R * R, 3) barycentric weights.
    """
    corners = positions[faces]  # (F, 3, 2)
    low = np.clip(np.ceil(corners.min(axis=1)), 0, resolution).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1)), -1, resolution - 1).astype(np.int64)
    width, height = np.maximum(high - low + 1, 0).T
    area = width * height
    face = np.repeat(np.arange(len(faces)), area)
    within = np.arange(len(face)) - np.repeat(np.cumsum(area) - area, area)
    column = low[face, 0] + within % np.maximum(width[face], 1)
    row = low[face, 1] + within // np.maximum(width[face], 1)
    weights = barycentric(corners[face], np.stack([column, row], axis=1))
    inside = (weights > INSIDE).all(axis=1)
    texel, first = np.unique((row * resolution + column)[inside], return_index=True)
    texel_corners = np.full((resolution**2, 3), -1, dtype=np.int64)
    texel_weights = np.zeros((resolution**2, 3))
    texel_corners[texel] = faces[face[inside][first]]
    texel_weights[texel] = weights[inside][first]
    return texel_corners, texel_weights


def barycentric(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Barycentric weights of points in triangles.

    Args:
        corners: (n, 3, 2) the corners of one triangle per point.
        points: (n, 2) points.

    Returns:
        (n, 3) weights; all -1, as if outside, for a triangle without area.
    """
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = points - corners[:, 0]
    area = _cross(first, second)
    with np.errstate(divide='ignore', invalid='ignore'):
        second_weight = _cross(offset, second) / area
        third_weight = _cross(first, offset) / area
    weights = np.stack([1 - second_weight - third_weight, second_weight, third_weight], axis=1)
    return np.where(np.isfinite(weights).all(axis=1, keepdims=True), weights, -1.0)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def bilinear(positions: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The texels and weights of bilinear sampling.

    Args:
        positions: (n, 2) column and row, texels.
        resolution: R.

    Returns:
        (n, 4) the four texels around each position, row * R + column, and (n, 4) their weights.
    """
    low = np.clip(np.floor(positions).astype(np.int64), 0, resolution - 1)
    high = np.minimum(low + 1, resolution - 1)
    part = np.minimum(positions, high) - low
    columns = np.stack([low[:, 0], high[:, 0], low[:, 0], high[:, 0]], axis=1)
    rows = np.stack([low[:, 1], low[:, 1], high[:, 1], high[:, 1]], axis=1)
    across, down = part.T
    weights = np.stack(
        [(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down],
        axis=1,
    )
    return rows * resolution + columns, weights


def project_location_map(location_map: Tensor, camera: Tensor) -> Tensor:
    """Projects the surface points of a location map into the image.

    Args:
        location_map: (B, 3, R, R) metres, root frame.
        camera: (B, 3) weak perspective (s, tx, ty): crop_xy = s * (xy + t).

    Returns:
        (B, 2, R, R) x and y, crop frame.
    """
    return camera[:, :1, None, None] * (location_map[:, :2] + camera[:, 1:, None, None])


def nearest_samplers(positions: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The texels used by bilinear sampling, and the position that uses each one most.

    Args:
        positions: (n, 2) column and row, texels.
        resolution: R.

    Returns:
        (m,) ascending texels, row * R + column, and (m,) the index of the position with the
        largest bilinear weight there; the first of equal ones.
    """
    texels, weights = bilinear(positions, resolution)
    nearest_first = np.argsort(-weights.T.ravel(), kind='stable')
    texel, first = np.unique(texels.T.ravel()[nearest_first], return_index=True)
    return texel, nearest_first[first] % len(positions)


def _fill_next_to_vertices(
    positions: np.ndarray,
    vertex_index: np.ndarray,
    resolution: int,
    vertices: np.ndarray,
    weights: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Fills empty texels around a vertex with that vertex, in place; sampling it needs them.

    Of several vertices around a texel, the one with the largest bilinear weight is taken.
    """
    texel, nearest = nearest_samplers(positions, resolution)
    is_empty = ~mask[texel]
    texel, filler = texel[is_empty], vertex_index[nearest[is_empty]]
    vertices[texel] = 0
    vertices[texel, 0] = filler
    weights[texel] = (1.0, 0.0, 0.0)
    mask[texel] = True
