"""Surface coordinates of the template body that define clothes: down the body, along arms, head.

They are computed from the T-pose template and its joints, for any body in SMPL's format.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from decomr_core.body_models import BodyModel

__all__ = ['BodySurface', 'SurfacePoints']

ARM_PARTS = (16, 17, 18, 19, 20, 21, 22, 23)
HEAD_PARTS = (12, 15)
NUM_WAVES = 24
"""Number of smooth random functions on the surface that are mixed into folds and stains."""
TINY = 1e-24
"""Squared length below which a normal has no direction."""


@dataclass(frozen=True)
class SurfacePoints:
    """Coordinates of points on the template body; each (...,), the last axis is the points.

    Attributes:
        x, y, z: metres, body frame, with the template's origin.
        down: along torso and legs: 0 at the neck, 1 at the waist, 2 at the hip joints, 3 at the
            knees, 4 at the ankles, 5 at the soles.
        along_arm: 0 at the shoulder, 1 at the elbow, 2 at the wrist, 3 at the finger tips;
            negative off the arms.
        is_arm, is_head: 0 to 1.
        head_up: 0 at the chin, 1 at the top of the head.
        head_front: -1 at the back of the head, 1 at its front.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    down: Tensor
    along_arm: Tensor
    is_arm: Tensor
    is_head: Tensor
    head_up: Tensor
    head_front: Tensor


class BodySurface:
    """The surface coordinates of a body's vertices, and of points on its faces.

    Args:
        body: a body model.
    """

    def __init__(self, body: BodyModel) -> None:
        template = body.v_template.detach().double().cpu().numpy()
        with torch.no_grad():
            _, joints = body(torch.zeros(1, 24, 3), torch.zeros(1, 10))
        joints = joints[0].double().cpu().numpy()
        parts = body.vertex_parts.cpu().numpy()
        self.faces = body.faces.cpu()
        self.height = float(np.ptp(template[:, 1]))
        self._fields = torch.tensor(_fields(template, joints, parts), dtype=torch.float32)
        self._waves = torch.tensor(_waves(template), dtype=torch.float32)
        self._corners = [self.faces[:, corner].contiguous() for corner in range(3)]
        self._normals_from_faces = _averaging_matrix(self.faces, len(template))

    @property
    def vertices(self) -> SurfacePoints:
        """The coordinates of all vertices, each (V,)."""
        return _points(self._fields)

    def points(self, face_index: Tensor, barycentric: Tensor) -> SurfacePoints:
        """The coordinates, each (M,), of points given by face (M,) and weights (M, 3)."""
        return self._blend([corner[face_index] for corner in self._corners], barycentric)

    def blend(self, vertices: Tensor, weights: Tensor) -> SurfacePoints:
        """The coordinates, each (M,), between three vertices (M, 3) with weights (M, 3)."""
        return self._blend(vertices.unbind(1), weights)

    def mix_waves(self, mixes: Tensor) -> Tensor:
        """Smooth random functions (B, V), about -2 to 2, from weights (B, NUM_WAVES)."""
        return (mixes @ self._waves.T).clamp_(-2, 2)

    def _blend(self, vertices: Sequence[Tensor], weights: Tensor) -> SurfacePoints:
        first, second, third = (
            self._fields.index_select(0, vertex) * weights[:, corner, None]
            for corner, vertex in enumerate(vertices)
        )
        return _points(first + second + third)

    def normals(self, vertices: Tensor) -> Tensor:
        """Outward unit normals (B, V, 3) of posed vertices (B, V, 3)."""
        batch = len(vertices)
        columns = vertices.permute(1, 2, 0).reshape(-1, 3 * batch)  # (V, 3 B)
        a, b, c = (columns.index_select(0, corner).view(-1, 3, batch) for corner in self._corners)
        b -= a
        c -= a
        flat = torch.cat(
            [
                b[:, 1] * c[:, 2] - b[:, 2] * c[:, 1],
                b[:, 2] * c[:, 0] - b[:, 0] * c[:, 2],
                b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0],
            ],
            dim=1,
        )  # (F, 3 B)
        x, y, z = (self._normals_from_faces @ flat).view(-1, 3, batch).unbind(1)
        scale = (x * x + y * y + z * z).clamp_(min=TINY).rsqrt_()
        return torch.stack([x * scale, y * scale, z * scale], dim=-1).transpose(0, 1)


def _points(fields: Tensor) -> SurfacePoints:
    return SurfacePoints(*fields.T.contiguous().unbind(0))


def _waves(template: np.ndarray) -> np.ndarray:
    """Sines (V, NUM_WAVES) over the template body, from long to short wavelengths."""
    rng = np.random.default_rng(7)
    wave = rng.normal(0, 1, (3, NUM_WAVES)) * np.geomspace(4, 30, NUM_WAVES)
    return np.sin(template @ wave + rng.uniform(0, 2 * np.pi, NUM_WAVES))


def _fields(template: np.ndarray, joints: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """All coordinates of the vertices, (V, 9)."""
    x, y, z = template.T
    top, sole = y.max(), y.min()
    height = top - sole
    marks = [
        sole,
        joints[7:9, 1].mean(),
        joints[4:6, 1].mean(),
        joints[1:3, 1].mean(),
        joints[1:3, 1].mean() + 0.08 * height,
        joints[12, 1],
    ]
    down = np.interp(y, marks, [5, 4, 3, 2, 1, 0])
    is_arm = np.isin(parts, ARM_PARTS)
    arm_marks = [np.abs(joints[[left, left + 1], 0]).mean() for left in (16, 18, 20)]
    along = np.interp(np.abs(x), [*arm_marks, np.abs(x[is_arm]).max()], [0, 1, 2, 3])
    along = np.where(is_arm, along, -1)
    is_head = np.isin(parts, HEAD_PARTS)
    chin = top - 0.13 * height
    skull = is_head & (y > chin)
    middle = (z[skull].max() + z[skull].min()) / 2
    front = (z - middle) / (np.ptp(z[skull]) / 2)
    columns = [x, y, z, down, along, is_arm, is_head, (y - chin) / (top - chin), front]
    return np.stack(columns, axis=1)


def _averaging_matrix(faces: Tensor, num_vertices: int) -> Tensor:
    """Sparse (V, F): sums over the faces around each vertex."""
    rows = faces.flatten()
    columns = torch.arange(len(faces)).repeat_interleave(3)
    matrix = torch.sparse_coo_tensor(
        torch.stack([rows, columns]),
        torch.ones(len(rows)),
        (num_vertices, len(faces)),
        check_invariants=False,
    )
    with warnings.catch_warnings():
        # PyTorch calls CSR a beta feature; its product is three times as fast as index_add.
        warnings.filterwarnings('ignore', message='Sparse CSR')
        return matrix.coalesce().to_sparse_csr()
