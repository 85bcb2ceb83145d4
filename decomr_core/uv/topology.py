"""The constant part of all meshes of one network: faces, body parts, UV map. NumPy only.

A runtime provides the topology of the body for which its network was trained, so that drawing or
publishing a mesh takes no body model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.base.structures import check_shape
from decomr_core.uv.uv_map import UVMap

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = ['Topology']


@dataclass(frozen=True)
class Topology:
    """Connectivity, template and UV map of a network's meshes.

    Attributes:
        name: name of the body.
        hash: hash of the body, see `BodyModel.hash`.
        v_template: (V, 3) float32 mean body in T-pose, metres, body frame.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        vertex_parts: (V,) int64, 0 to 23.
        uv_map: the chart of the surface.
    """

    name: str
    hash: str
    v_template: np.ndarray
    faces: np.ndarray
    vertex_parts: np.ndarray
    uv_map: UVMap

    def __post_init__(self) -> None:
        """Checks that the arrays fit together.

        Raises:
            ValueError: a shape is wrong, or the UV map belongs to another body.
        """
        check_shape('v_template', self.v_template, (None, 3))
        check_shape('faces', self.faces, (None, 3))
        check_shape('vertex_parts', self.vertex_parts, (len(self.v_template),))
        if self.uv_map.body_hash != self.hash:
            raise ValueError(
                f'the UV map belongs to the body {self.uv_map.body_hash[:12]}, but '
                f'the topology belongs to {self.name!r} ({self.hash[:12]})'
            )

    @classmethod
    def from_body(cls, body: BodyModel, uv_map: UVMap) -> Topology:
        """The topology of a body model with its UV map."""
        return cls(
            body.name,
            body.hash,
            body.v_template.cpu().numpy(),
            body.faces.cpu().numpy(),
            body.vertex_parts.cpu().numpy(),
            uv_map,
        )

    def save(self, path: str | Path) -> None:
        """Writes the topology into one npz file."""
        with Path(path).open('wb') as handle:
            np.savez(
                handle,
                name=np.array(self.name),
                hash=np.array(self.hash),
                v_template=self.v_template,
                faces=self.faces.astype(np.int32),
                vertex_parts=self.vertex_parts.astype(np.uint8),
                uv=self.uv_map.uv,
                uv_faces=self.uv_map.faces.astype(np.int32),
                uv_vertex_index=self.uv_map.vertex_index.astype(np.int32),
            )

    @classmethod
    def load(cls, path: str | Path) -> Topology:
        """Reads a topology written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a topology.
        """
        with np.load(path, allow_pickle=False) as data:
            body_hash = str(data['hash'])
            uv_map = UVMap(data['uv'], data['uv_faces'], data['uv_vertex_index'], body_hash)
            return cls(
                str(data['name']),
                body_hash,
                data['v_template'],
                data['faces'].astype(np.int64),
                data['vertex_parts'].astype(np.int64),
                uv_map,
            )
