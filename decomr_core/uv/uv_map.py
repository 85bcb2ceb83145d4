"""The continuous UV map (paper section 3.2): the body surface as one chart in the unit square.

In an image of the map, u points right and v points down. The mirror image of a surface point at
(u, v) is at (1 - u, v). Only edges on the seams are cut; a vertex there has several UV vertices.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decomr_core.base.assets import find_uv_map

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = ['UVMap', 'load_uv_map']

FIELDS = ('uv', 'faces', 'vertex_index', 'body_hash')
REBUILD = 'decomr uv build --body FILE --out FILE'


@dataclass(frozen=True)
class UVMap:
    """One chart of a body's surface.

    Attributes:
        uv: (N, 2) float32, coordinates of each UV vertex in the unit square.
        faces: (F, 3) int64 into the UV vertices, in the order of the body's faces.
        vertex_index: (N,) int64, the body vertex of each UV vertex.
        body_hash: hash of the body for which the map was made.
    """

    uv: np.ndarray
    faces: np.ndarray
    vertex_index: np.ndarray
    body_hash: str

    def __post_init__(self) -> None:
        """Converts the arrays to their types and checks them.

        Raises:
            ValueError: a shape is wrong, or an index or a coordinate is out of range.
        """
        object.__setattr__(self, 'uv', np.ascontiguousarray(self.uv, dtype=np.float32))
        object.__setattr__(self, 'faces', np.ascontiguousarray(self.faces, dtype=np.int64))
        object.__setattr__(
            self, 'vertex_index', np.ascontiguousarray(self.vertex_index, dtype=np.int64)
        )
        problem = self._problem()
        if problem:
            raise ValueError(f'this is not a UV map: {problem}; build a new one: {REBUILD}')

    @property
    def hash(self) -> str:
        """The sha256 of the map's content, in hexadecimal."""
        digest = hashlib.sha256(self.body_hash.encode())
        for array in (self.uv, self.faces, self.vertex_index):
            digest.update(array.tobytes())
        return digest.hexdigest()

    @property
    def body_faces(self) -> np.ndarray:
        """(F, 3) int64, the faces into the body's vertices."""
        return self.vertex_index[self.faces]

    def save(self, path: str | Path) -> None:
        """Writes the map as a compressed npz file; equal maps give equal bytes."""
        with Path(path).open('wb') as handle:
            np.savez_compressed(
                handle,
                uv=self.uv,
                faces=self.faces.astype(np.int32),
                vertex_index=self.vertex_index.astype(np.int32),
                body_hash=np.array(self.body_hash),
            )

    @classmethod
    def load(cls, path: str | Path) -> UVMap:
        """Reads a map written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a UV map.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                fields = {name: data[name] for name in FIELDS}
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(
                f'{path} is damaged or not a UV map ({error}); build a new one: {REBUILD}'
            ) from error
        fields['body_hash'] = str(fields['body_hash'])
        return cls(**fields)

    def _problem(self) -> str:
        """The first problem of the arrays, empty if there is none."""
        if self.uv.ndim != 2 or self.uv.shape[1] != 2:
            return f'uv has shape {self.uv.shape}, expected (any, 2)'
        if self.faces.ndim != 2 or self.faces.shape[1] != 3 or len(self.faces) == 0:
            return f'faces has shape {self.faces.shape}, expected (any, 3)'
        if self.vertex_index.shape != self.uv.shape[:1]:
            return (
                f'vertex_index has shape {self.vertex_index.shape}, expected {self.uv.shape[:1]}'
            )
        if self.faces.min() < 0 or self.faces.max() >= len(self.uv):
            return (
                f'faces run from {self.faces.min()} to {self.faces.max()}, '
                f'but there are {len(self.uv)} UV vertices'
            )
        if self.vertex_index.min() < 0:
            return f'vertex_index goes down to {self.vertex_index.min()}'
        if not (np.isfinite(self.uv).all() and self.uv.min() >= 0 and self.uv.max() <= 1):
            return 'uv leaves the unit square'
        return ''


def load_uv_map(name_or_path: str | Path = 'builtin', body: BodyModel | None = None) -> UVMap:
    """Loads a UV map of the built-in body by name, or any UV map by path.

    Args:
        name_or_path: 'builtin', 'makehuman' (conventional, several charts) or an npz file written
            by `decomr uv build` or `decomr uv import`.
        body: the body that the map must belong to; None skips the check.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a UV map, or it was made for another body.
    """
    path = find_uv_map(name_or_path)
    uv_map = UVMap.load(path)
    if body is not None and uv_map.body_hash != body.hash:
        raise ValueError(
            f'the UV map {path} was made for the body {uv_map.body_hash[:12]}, but the body '
            f"'{body.name}' is {body.hash[:12]}; build its map: {REBUILD}"
        )
    return uv_map
