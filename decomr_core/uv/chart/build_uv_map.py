"""Builds the continuous UV map of a body (paper section 3.2), without hand-picked vertices.

One half of the symmetric body is cut along seams on its back and flattened with its front on a
straight wall. There it is joined to its mirror image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.uv.chart.flatten import STRESS_WEIGHT, flatten_half
from decomr_core.uv.chart.landmarks import HalfBody, find_landmarks, half_body
from decomr_core.uv.chart.seams import CutHalf, cut_half, find_seams
from decomr_core.uv.quality import check_validity
from decomr_core.uv.uv_map import UVMap

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = ['build_uv_map']

# Empty border of the unit square, so that the chart does not touch its edge.
MARGIN = 0.002


def build_uv_map(
    body: BodyModel,
    progress: Callable[[str, float], None] | None = None,
    stress_weight: float = STRESS_WEIGHT,
) -> UVMap:
    """The UV map of a body: one symmetric chart without flips and overlaps.

    On the same machine, the same body gives the same map bit for bit.

    Args:
        body: a humanoid in SMPL's T-pose: closed, in one piece, with mirror-symmetric topology.
        progress: called with the name of the step and the completed fraction in [0, 1].
        stress_weight: weight of the stress term, which raises S1 and S2; 0 for none.

    Raises:
        ValueError: the mesh does not allow such a map; the message gives the reason.
    """
    half = half_body(body)
    cut = cut_half(half, find_seams(half, find_landmarks(half)))
    positions = _fit_into_square(flatten_half(half, cut, stress_weight, progress))
    uv_map = _join_halves(body, half, cut, positions)
    check_validity(body, uv_map)
    return uv_map


def _fit_into_square(positions: np.ndarray) -> np.ndarray:
    """Scales (P, 2) positions, x >= 0 and y up, to (P, 2) u - 1/2 and v in the unit square."""
    top, bottom = positions[:, 1].max(), positions[:, 1].min()
    side = max(2 * positions[:, 0].max(), top - bottom)
    scale = (1 - 2 * MARGIN) / side
    return np.stack([positions[:, 0], (top + bottom) / 2 - positions[:, 1]], axis=1) * scale + [
        0,
        0.5,
    ]


def _join_halves(body: BodyModel, half: HalfBody, cut: CutHalf, positions: np.ndarray) -> UVMap:
    """The map of the whole body from the (P, 2) coordinates u - 1/2, v of its left half."""
    body_faces = np.asarray(body.faces, dtype=np.int64)
    twin = np.asarray(body.mirrored_vertices, dtype=np.int64)
    size = len(positions)
    left_vertices = half.vertex_index[cut.vertex_index]
    # Right copies follow the left ones; both sides share the wall.
    is_shared = np.zeros(size, dtype=bool)
    is_shared[cut.wall] = True
    right_copy = np.where(is_shared, np.arange(size), size + np.cumsum(~is_shared) - 1)
    faces = np.empty_like(body_faces)
    faces[half.face_index] = cut.faces
    right_index, corners = _mirrored_faces(body_faces, twin, half.face_index)
    faces[right_index] = right_copy[np.take_along_axis(cut.faces, corners, axis=1)]
    own = ~is_shared
    uv = np.concatenate([positions + [0.5, 0], positions[own] * [-1, 1] + [0.5, 0]])
    return UVMap(
        uv.astype(np.float32),
        faces,
        np.concatenate([left_vertices, twin[left_vertices[own]]]),
        body.hash,
    )


def _mirrored_faces(
    faces: np.ndarray, twin: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mirror image of each left face: (Q,) its index and (Q, 3) its matching left corners."""
    key_of = {tuple(sorted(face)): index for index, face in enumerate(faces.tolist())}
    mirrored = twin[faces[left]]
    try:
        index = np.array([key_of[tuple(sorted(face))] for face in mirrored.tolist()])
    except KeyError as error:
        raise ValueError(
            f'the mirror image {error} of a face is not a face of the body; its '
            'mirrored_vertices are wrong'
        ) from error
    corners = (faces[index][:, :, None] == mirrored[:, None, :]).argmax(axis=2)
    return index, corners
