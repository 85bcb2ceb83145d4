"""Errors of the round trip mesh -> location map -> mesh, in millimetres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from decomr_core.geometry.rasterizer import rasterize
from decomr_core.uv.fitted_map import (
    example_bodies,
    extrapolation_matrix,
    fitted_matrix,
    random_bodies,
    reading_matrix,
)
from decomr_core.uv.uv_map import UVMap

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = ['round_trips_mm', 'visible_vertices']

RESOLUTIONS = (64, 128, 256)
# Errors are scaled to a template of this height.
REPORT_HEIGHT_M = 1.70
# Random test bodies; they differ from the fit's examples.
NUM_BODIES, SEED = 9, 1
# Viewing directions of the template, and the side of the rendered image.
NUM_VIEWS, VIEW_SIZE_PX = 64, 1024
GOLDEN_ANGLE = np.pi * (1 + 5**0.5)


def round_trips_mm(
    body: BodyModel, uv_map: UVMap
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Mean and largest error of the visible vertices over random bodies, by texels per side.

    Vertices that cannot be seen, such as those of mouth and eye sockets, are excluded.

    Args:
        body: the body of the map.
        uv_map: the map.

    Returns:
        The errors of maps from `FittedLocationMap`, and those of maps with the extrapolated
        surface point under each texel; {'64': [mean, max], ...}, mm at REPORT_HEIGHT_M.
    """
    bodies = random_bodies(body, NUM_BODIES, SEED)
    examples = example_bodies(body)
    is_visible = visible_vertices(bodies[0], np.asarray(body.faces))
    scale = 1000 * REPORT_HEIGHT_M / np.ptp(bodies[0][:, 1])
    fitted: dict[str, list[float]] = {}
    extrapolated: dict[str, list[float]] = {}
    for resolution in RESOLUTIONS:
        reading = reading_matrix(uv_map, resolution, body.num_vertices)
        writing = {
            'fitted': fitted_matrix(uv_map, resolution, examples),
            'extrapolated': extrapolation_matrix(uv_map, resolution, body.num_vertices),
        }
        for name, results in (('fitted', fitted), ('extrapolated', extrapolated)):
            errors = _errors(bodies, reading, writing[name])[is_visible] * scale
            results[str(resolution)] = [float(errors.mean()), float(errors.max())]
    return fitted, extrapolated


def visible_vertices(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,) bool, whether any face around a vertex is visible from outside.

    Args:
        vertices: (V, 3) of a closed mesh.
        faces: (F, 3) int64.
    """
    index = np.arange(NUM_VIEWS) + 0.5
    polar, azimuth = np.arccos(1 - 2 * index / NUM_VIEWS), GOLDEN_ANGLE * index
    views = np.stack(
        [np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], axis=1
    )
    centred = vertices - vertices.mean(axis=0)
    is_visible = np.zeros(len(vertices), dtype=bool)
    face_corners = torch.from_numpy(np.ascontiguousarray(faces))
    for view in views:
        # A basis with the view as its third axis. The coordinate axis of the view's smallest
        # component is never parallel to the view.
        right = np.cross(np.eye(3)[np.abs(view).argmin()], view)
        right /= np.linalg.norm(right)
        rotated = centred @ np.stack([right, np.cross(view, right), view], axis=1)
        rotated[:, :2] /= np.abs(rotated[:, :2]).max() * 1.01
        fragments = rasterize(torch.from_numpy(rotated[None]).float(), face_corners, VIEW_SIZE_PX)
        visible = np.unique(fragments.face_index[fragments.face_index >= 0].numpy())
        is_visible[faces[visible]] = True
    return is_visible


def _errors(
    bodies: np.ndarray, reading: sparse.csr_matrix, writing: sparse.csr_matrix
) -> np.ndarray:
    """(V, K) distances between (K, V, 3) bodies and their reconstructions, in their unit."""
    points = bodies.transpose(1, 0, 2).reshape(bodies.shape[1], -1)
    back = reading @ (writing @ points)
    return np.linalg.norm((back - points).reshape(len(points), -1, 3), axis=2)
