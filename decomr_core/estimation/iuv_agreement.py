"""Agreement between a mesh and the IUV image of its crop, both outputs of the same network."""

from __future__ import annotations

import cv2
import numpy as np

from decomr_core.base.structures import FOREGROUND_THRESHOLD, HumanMesh

__all__ = ['covered_share', 'foreground_share']

CELL_PX = 2
"""Side of a cell in which coverage is evaluated, pixels of the IUV image."""

NEIGHBOURS = np.ones((3, 3), np.uint8)

COVERING_VERTICES = 1700
"""Number of vertices that cover a person without holes, if each also covers the neighbouring
cells."""


def foreground_share(mesh: HumanMesh) -> float:
    """Share of the pixels in the person box that the IUV image calls foreground."""
    height, width = mesh.iuv.shape[1:]
    # From image px over the crop to IUV px, in Python floats: NumPy is slow for so few numbers.
    left, top, right, bottom = (
        min(max(round(((edge - middle) / mesh.crop_side + 0.5) * size), 0), size)
        for edge, middle, size in zip(
            mesh.box.tolist(), mesh.crop_center.tolist() * 2, (width, height) * 2, strict=True
        )
    )
    inside = mesh.iuv[0, top:bottom, left:right]
    return np.count_nonzero(inside >= FOREGROUND_THRESHOLD) / inside.size if inside.size else 0.0


def covered_share(mesh: HumanMesh) -> float:
    """Share of the IUV image's foreground that the mesh covers, within a tolerance of one cell.

    The opposite share would be misleading: of a person behind a table the IUV image contains only
    the visible part. The share is low if the mesh is crumpled, lies beside the person, or if
    there is no person.

    Returns:
        0 to 1; 0 if the IUV image has no foreground.
    """
    height, width = mesh.iuv.shape[1:]
    size = max(width // CELL_PX, 1), max(height // CELL_PX, 1)
    is_person = (mesh.iuv[0] >= FOREGROUND_THRESHOLD).astype(np.float32)
    person = cv2.resize(is_person, size, interpolation=cv2.INTER_AREA)
    # A border of one cell collects the vertices outside the crop. It is cleared afterwards.
    some = mesh.vertices[:: max(len(mesh.vertices) // COVERING_VERTICES, 1), :2]
    scale, shift = mesh.weak_camera[0], mesh.weak_camera[1:] - mesh.translation[:2]
    half = np.array(size, np.float32) / 2
    cells = some * (scale * half)
    cells += (scale * shift + 1) * half + 1
    column, row = np.clip(cells, 0, np.array(size, np.float32) + 1).astype(np.intp).T
    covered = np.zeros((size[1] + 2, size[0] + 2), np.float32)
    covered[row, column] = 1
    covered[[0, -1]] = covered[:, [0, -1]] = 0
    covered = cv2.dilate(covered, NEIGHBOURS)[1:-1, 1:-1]
    total = float(person.sum())
    return float((person * covered).sum()) / total if total else 0.0
