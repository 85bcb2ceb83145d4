"""How far a mesh and the IUV image of its own crop agree; both come from the same network."""

from __future__ import annotations

import cv2
import numpy as np

from decomr_core.base.structures import FOREGROUND_THRESHOLD, HumanMesh

__all__ = ['covered_share', 'foreground_share']

CELL_PX = 2
"""Side of the cells, pixels of the IUV image, that a mesh covers or does not."""

NEIGHBOURS = np.ones((3, 3), np.uint8)

COVERING_VERTICES = 1700
"""About so many vertices leave no hole in a person of cells, once each covers its neighbours."""


def foreground_share(mesh: HumanMesh) -> float:
    """Share of the pixels in the person's box that the IUV image calls a person."""
    height, width = mesh.iuv.shape[1:]
    # From image to crop and on to its pixels, in plain numbers: NumPy takes long for so few.
    left, top, right, bottom = (
        min(max(round(((edge - middle) / mesh.crop_side + 0.5) * size), 0), size)
        for edge, middle, size in zip(mesh.box.tolist(), mesh.crop_center.tolist() * 2,
                                      (width, height) * 2, strict=True))
    inside = mesh.iuv[0, top:bottom, left:right]
    return np.count_nonzero(inside >= FOREGROUND_THRESHOLD) / inside.size if inside.size else 0.0


def covered_share(mesh: HumanMesh) -> float:
    """Share of the pixels that the IUV image calls a person which the mesh covers, or nearly.

    Not the other way round: of a person behind a table the IUV image has the visible part alone.
    Low where a mesh is crumpled or lies beside the person, and where nobody is there.

    Returns:
        0 to 1; 0 where the IUV image sees nobody.
    """
    height, width = mesh.iuv.shape[1:]
    size = max(width // CELL_PX, 1), max(height // CELL_PX, 1)
    is_person = (mesh.iuv[0] >= FOREGROUND_THRESHOLD).astype(np.float32)
    person = cv2.resize(is_person, size, interpolation=cv2.INTER_AREA)
    # Around the cells a ring for whatever lies outside the crop, emptied afterwards.
    some = mesh.vertices[::max(len(mesh.vertices) // COVERING_VERTICES, 1), :2]
    scale, shift = mesh.weak_camera[0], mesh.weak_camera[1:] - mesh.translation[:2]
    half = np.float32(size) / 2
    cells = some * (scale * half)
    cells += (scale * shift + 1) * half + 1
    column, row = np.clip(cells, 0, np.float32(size) + 1).astype(np.intp).T
    covered = np.zeros((size[1] + 2, size[0] + 2), np.float32)
    covered[row, column] = 1
    covered[[0, -1]] = covered[:, [0, -1]] = 0
    covered = cv2.dilate(covered, NEIGHBOURS)[1:-1, 1:-1]
    total = float(person.sum())
    return float((person * covered).sum()) / total if total else 0.0
