"""The pixels that show a person: the foreground of the IUV image, and the projected mesh."""

from __future__ import annotations

import cv2
import numpy as np

from decomr_core.base.structures import FOREGROUND_THRESHOLD, HumanMesh, check_shape
from decomr_core.drawing import mesh_in_image, nearest_faces

__all__ = ['person_mask']

MESH_SIDE_PX = 160
"""Larger meshes are drawn at this size and enlarged: a pixel is then about 1 cm."""


def person_mask(
    mesh: HumanMesh,
    image_size: tuple[int, int],
    mask_size: tuple[int, int],
    corners: np.ndarray | None = None,
    intrinsics: np.ndarray | None = None,
) -> np.ndarray:
    """The pixels that show a person.

    Args:
        mesh: the person.
        image_size: width and height of the image, px.
        mask_size: width and height of the mask, px; the mask is the image, scaled.
        corners: (3, F) vertices of the corners of the faces, to add the projected mesh; None: the
            foreground alone. A mesh that is not finite is left out.
        intrinsics: (3, 3) px, of the image, for a metric mesh; None: weak perspective.

    Returns:
        (height, width) uint8 of the mask, 1 where the person is.
    """
    check_shape('iuv', mesh.iuv, (3, None, None))
    scale = np.array(mask_size) / np.array(image_size)
    mask = _foreground(mesh, scale, mask_size)
    if corners is not None and np.isfinite(mesh.vertices).all():
        _add_mesh(mask, mesh_in_image(mesh, intrinsics), corners, scale)
    return mask


def _foreground(mesh: HumanMesh, scale: np.ndarray, mask_size: tuple[int, int]) -> np.ndarray:
    """The foreground of the IUV image in the mask."""
    step = mesh.crop_side / np.array(mesh.iuv.shape[:0:-1])  # image px per IUV px
    first = np.asarray(mesh.crop_center, float) - mesh.crop_side / 2 + step / 2
    # From the mask to the image, (mask_xy + 0.5) / scale - 0.5, and on to the IUV image.
    factor, shift = 1 / (scale * step), (0.5 / scale - 0.5 - first) / step
    iuv_from_mask = np.array([[factor[0], 0, shift[0]], [0, factor[1], shift[1]]])
    probability = cv2.warpAffine(
        np.ascontiguousarray(mesh.iuv[0], np.float32),
        iuv_from_mask,
        mask_size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return (probability >= FOREGROUND_THRESHOLD).astype(np.uint8)


def _add_mesh(
    mask: np.ndarray, points: np.ndarray, corners: np.ndarray, scale: np.ndarray
) -> None:
    """Adds the faces over points (V, 3), image px and depth, to a mask (height, width)."""
    mask_xy = (points[:, :2] + 0.5) * scale - 0.5
    mask_size = np.array(mask.shape[::-1])
    x, y = np.ascontiguousarray(mask_xy.T)
    low = np.clip(np.floor([x.min(), y.min()]), 0, mask_size).astype(int)
    high = np.clip(np.ceil([x.max(), y.max()]) + 1, 0, mask_size).astype(int)
    size = high - low
    if (size <= 0).any():
        return
    zoom = min(1.0, MESH_SIDE_PX / size.max())
    width, height = np.maximum(np.round(size * zoom).astype(int), 1)
    drawn_xy = (mask_xy - low + 0.5) * ((width, height) / size) - 0.5
    drawn = np.concatenate([drawn_xy, points[:, 2:]], axis=1).astype(np.float32)
    shown: np.ndarray = (nearest_faces(drawn, corners, height, width) >= 0).astype(np.uint8)
    if zoom < 1:
        shown = cv2.resize(shown, size.tolist(), interpolation=cv2.INTER_NEAREST)
    part = mask[low[1] : high[1], low[0] : high[0]]
    np.maximum(part, shown, out=part)
