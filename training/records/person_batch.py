"""The batch of people that training uses, independent of the data set."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.records.tensor_batch import TensorBatch

__all__ = ['PersonBatch']


@dataclass
class PersonBatch(TensorBatch):
    """B cropped people with their annotations and the weights of these.

    A weight of 0 means unknown; the corresponding values are zeros.

    Attributes:
        images: (B, S, S, 3) uint8 RGB.
        iuv: (B, 3, S/4, S/4) float32: share of foreground in the cell, u, v.
        iuv_weights: (B,) float32.
        vertices: (B, V, 3) float32, root frame, m.
        joints: (B, 24, 3) float32, SMPL's joints, root frame, m.
        mesh_weights: (B,) float32, weights of `vertices` and `joints`; for fitted meshes they
            decrease with the error of the fit.
        joints_2d: (B, 24, 3) float32, SMPL's joints: x and y, crop frame, and visibility.
        keypoints_2d: (B, 24, 3) float32, annotated joints (`ANNOTATED_JOINTS`): x and y, crop
            frame, and confidence.
        keypoints_3d: (B, 24, 4) float32, annotated joints: x, y, z in metres, axes as in the root
            frame, any origin, and confidence.
    """

    images: Tensor
    iuv: Tensor
    iuv_weights: Tensor
    vertices: Tensor
    joints: Tensor
    mesh_weights: Tensor
    joints_2d: Tensor
    keypoints_2d: Tensor
    keypoints_3d: Tensor
