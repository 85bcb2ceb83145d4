"""An image of a network's inputs, targets and predictions during training."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from decomr_core.geometry.crop import network_input
from decomr_core.geometry.rasterizer import rasterize
from decomr_core.measures.losses import project_to_crop
from decomr_core.networks.decomr import DecoMR
from decomr_core.uv.warp import FOREGROUND_THRESHOLD
from training.records.person_batch import PersonBatch

__all__ = ['training_image']

MESH_COLOR = np.array([120, 190, 255], np.float32)
MESH_OPACITY = 0.8
# Range of coordinates that the colours of a location map cover, metres.
SPAN_M = 2.0


@torch.no_grad()
def training_image(network: DecoMR, batch: PersonBatch, faces: Tensor) -> np.ndarray:
    """Draws a row per person: crop, true IUV, predicted IUV, location map, mesh over the crop.

    IUV images show u as red and v as green. A location map shows x, y and z as red, green and
    blue.

    Args:
        network: runs in evaluation mode; its mode is restored.
        batch: B people, on the network's device.
        faces: (F, 3) faces of the body.

    Returns:
        (B * S, 5 * S, 3) uint8 RGB.
    """
    was_training = network.training
    output = network.eval()(network_input(batch.images))
    network.train(was_training)
    size = batch.images.shape[1]
    overlays = _overlays(batch.images, output.vertices.float(), output.camera.float(), faces)
    rows = []
    for index in range(len(batch)):
        tiles = [
            batch.images[index].cpu().numpy(),
            _iuv_tile(batch.iuv[index], size),
            _iuv_tile(output.iuv[index].float(), size),
            _map_tile(output.location_map[index].float(), size),
            overlays[index],
        ]
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def _iuv_tile(iuv: Tensor, size: int) -> np.ndarray:
    """Draws an IUV image (3, h, w) as (size, size, 3) uint8."""
    foreground, u, v = iuv.cpu().numpy()
    is_foreground = foreground > FOREGROUND_THRESHOLD
    colors = np.stack([u, v, 1 - u], axis=-1) * is_foreground[..., None]
    return _enlarged(colors * 255, size)


def _map_tile(location_map: Tensor, size: int) -> np.ndarray:
    """Draws a location map (3, R, R) as (size, size, 3) uint8."""
    return _enlarged((location_map.cpu().numpy().transpose(1, 2, 0) / SPAN_M + 0.5) * 255, size)


def _enlarged(colors: np.ndarray, size: int) -> np.ndarray:
    image = np.clip(colors, 0, 255).astype(np.uint8)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_NEAREST)


def _overlays(images: Tensor, vertices: Tensor, camera: Tensor, faces: Tensor) -> np.ndarray:
    """Draws shaded meshes over the crops: (B, S, S, 3) uint8."""
    projected = project_to_crop(vertices, camera)
    points = torch.cat([projected, vertices[..., 2:]], dim=-1)
    face_index = (
        rasterize(points, faces.to(points.device), images.shape[1], cull_backfaces=True)
        .face_index.cpu()
        .numpy()
    )
    corners = vertices.cpu().numpy()[:, faces.cpu().numpy()]  # (B, F, 3, 3)
    normals = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    facing = np.abs(normals[..., 2]) / np.maximum(np.linalg.norm(normals, axis=-1), 1e-12)
    overlays = images.cpu().numpy().astype(np.float32)
    for drawn, index, light in zip(overlays, face_index, facing, strict=True):
        shown = index >= 0
        color = MESH_COLOR * (0.3 + 0.7 * light[index[shown]])[:, None]
        drawn[shown] += MESH_OPACITY * (color - drawn[shown])
    return np.clip(overlays, 0, 255).astype(np.uint8)
