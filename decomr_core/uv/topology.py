"""What stays the same in every mesh of one network: faces, parts, UV map. NumPy only.

A runtime brings the topology of the body that its network was trained for, so that no one has to
find and load a body model to draw or publish a mesh.
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
    """The surface that a network's vertices span.

    Attributes:
        name: of the body.
        hash: of the body, as `BodyModel.hash`.
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
        """Refuses arrays that do not fit together.

        Raises:
            ValueError: a shape, or a UV map of another body.
        """
        check_shape('v_template', self.v_template, (None, 3))
        check_shape('faces', self.faces, (None, 3))
        check_shape('vertex_parts', self.vertex_parts, (len(self.v_template),))
        if self.uv_map.body_hash != self.hash:
            raise ValueError(f'the UV map is of the body {self.uv_map.body_hash[:12]}, the '
                             f'topology of {self.name!r} {self.hash[:12]}')

    @classmethod
    def from_body(cls, body: BodyModel, uv_map: UVMap) -> Topology:
        """The topology of a body model with its UV map."""
        return cls(body.name, body.hash, body.v_template.cpu().numpy(), body.faces.cpu().numpy(),
                   body.vertex_parts.cpu().numpy(), uv_map)

    def save(self, path: str | Path) -> None:
        """Writes everything into one npz."""
        with Path(path).open('wb') as handle:
            np.savez(handle, name=np.array(self.name), hash=np.array(self.hash),
                     v_template=self.v_template, faces=self.faces.astype(np.int32),
                     vertex_parts=self.vertex_parts.astype(np.uint8), uv=self.uv_map.uv,
                     uv_faces=self.uv_map.faces.astype(np.int32),
                     uv_vertex_index=self.uv_map.vertex_index.astype(np.int32))

    @classmethod
    def load(cls, path: str | Path) -> Topology:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is something else.
        """
        with np.load(path, allow_pickle=False) as data:
            body_hash = str(data['hash'])
            uv_map = UVMap(data['uv'], data['uv_faces'], data['uv_vertex_index'], body_hash)
            return cls(str(data['name']), body_hash, data['v_template'],
                       data['faces'].astype(np.int64), data['vertex_parts'].astype(np.int64),
                       uv_map)
