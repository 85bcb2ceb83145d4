"""The validated arrays of one body, and their npz file.

The format is SMPL's. The arrays may also have their official SMPL names (`f`, `J_regressor`,
`kintree_table`, `weights`). Mirrored vertices and parts are derived if a file lacks them.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from decomr_core.base.structures import check_shape
from decomr_core.body_models.joints import NUM_JOINTS, PARENTS
from decomr_core.body_models.mirror import find_mirrored_vertices
from decomr_core.body_models.parts import vertex_groups_from_parts, vertex_parts_from_weights
from decomr_core.body_models.pickled_arrays import printable
from decomr_core.body_models.smpl_file import (
    GENDERS,
    check_is_smpl,
    gender_from_file_name,
    read_smpl_pickle,
)

__all__ = ['NUM_SHAPES', 'BodyData']

NUM_SHAPES = 10
# Pose blend shapes depend on the rotation matrices (9 numbers) of all joints except the root.
NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)
MAX_WEIGHT_ERROR = 1e-3
# Largest unpacked size of a file; the largest official one has 250 MB.
MAX_UNPACKED_BYTES = 2**29

_OFFICIAL_NAMES = {
    'faces': 'f',
    'joint_regressor': 'J_regressor',
    'parents': 'kintree_table',
    'lbs_weights': 'weights',
}
_REQUIRED = ('v_template', 'faces', 'shapedirs', 'joint_regressor', 'parents', 'lbs_weights')
_OPTIONAL = ('posedirs', 'mirrored_vertices', 'vertex_parts')
_INTEGERS = ('faces', 'parents', 'mirrored_vertices', 'vertex_parts', 'vertex_groups')


@dataclass(frozen=True)
class BodyData:
    """The complete definition of a body as NumPy arrays.

    Attributes:
        name: name of the body.
        v_template: (V, 3) float32 mean body in T-pose, metres, y up, facing +z, left at +x.
        faces: (F, 3) int64 triangles, counter-clockwise from outside.
        shapedirs: (V, 3, 10) float32 displacement per shape component, metres.
        joint_regressor: (24, V) float32, rows sum to 1.
        parents: (24,) int64 parent of each joint, -1 for the root.
        lbs_weights: (V, 24) float32 skinning weights, rows sum to 1.
        posedirs: (V, 3, 207) float32 pose blend shapes, metres; None for a body without them.
        mirrored_vertices: (V,) int64 vertex on the other side; derived from None.
        vertex_parts: (V,) int64 part of each vertex, 0 to 23; derived from None.
        gender: neutral, male or female; '' if unknown.
        vertex_groups: (V,) int64 weight group of each vertex, 0 to 3; derived from the parts.
        hash: sha256 of template and faces, hexadecimal; derived.
    """

    name: str
    v_template: np.ndarray
    faces: np.ndarray
    shapedirs: np.ndarray
    joint_regressor: np.ndarray
    parents: np.ndarray
    lbs_weights: np.ndarray
    posedirs: np.ndarray | None = None
    mirrored_vertices: np.ndarray = cast(np.ndarray, None)  # __post_init__ replaces None
    vertex_parts: np.ndarray = cast(np.ndarray, None)
    gender: str = ''
    vertex_groups: np.ndarray = field(init=False)
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        """Converts the arrays to their types, checks them and derives missing ones."""
        self._convert()
        self._check()
        if self.mirrored_vertices is None:
            self._set('mirrored_vertices', find_mirrored_vertices(self.v_template, self.faces))
        if self.vertex_parts is None:
            self._set(
                'vertex_parts', vertex_parts_from_weights(self.lbs_weights, self.mirrored_vertices)
            )
        self._set('vertex_groups', vertex_groups_from_parts(self.vertex_parts))
        self._set('hash', _topology_hash(self.v_template, self.faces))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], name: str) -> BodyData:
        """A body from arrays with our names or the official SMPL names.

        Args:
            arrays: at least the template, faces, shapedirs, joint regressor, parents and
                weights; `kintree_table` (2, 24) provides the parents.
            name: default name of the body. The gender is derived from it like from an official
                file name, unless the arrays contain it.

        Raises:
            ValueError: an array is missing or has a wrong shape.
        """
        found: dict[str, Any] = {}
        for key in (*_REQUIRED, *_OPTIONAL):
            official = _OFFICIAL_NAMES.get(key, key)
            found[key] = arrays[key] if key in arrays else arrays.get(official)
        missing = [key for key in _REQUIRED if found[key] is None]
        if missing:
            present = ', '.join(sorted(arrays)) or 'no arrays'
            raise ValueError(
                f'body {name!r} lacks {", ".join(missing)}; found: {present}; '
                "expected SMPL's arrays, as `decomr body import FILE` writes them"
            )
        check_is_smpl(found, name)
        if found['parents'].ndim == 2:
            found['parents'] = found['parents'][0]
        gender = str(arrays['gender']) if 'gender' in arrays else ''
        return cls(
            name=printable(arrays['name']) if 'name' in arrays else name,
            gender=gender if gender in GENDERS else gender_from_file_name(name),
            **found,
        )

    @classmethod
    def load(cls, path: str | Path) -> BodyData:
        """Loads a body from an npz file, with our or the official names, or from SMPL's .pkl.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is neither an npz of plain arrays nor an SMPL pickle, or not a body.
        """
        path = Path(path)
        arrays = read_smpl_pickle(path) if path.suffix.lower() == '.pkl' else _read_npz(path)
        try:
            return cls.from_arrays(arrays, name=path.stem)
        except ValueError as error:
            raise ValueError(f'{path} does not contain a usable body: {error}') from error

    def save(self, path: str | Path) -> None:
        """Writes the body as a compressed npz of plain arrays."""
        arrays = {key: getattr(self, key) for key in (*_REQUIRED, *_OPTIONAL)}
        arrays |= {'name': np.array(self.name), 'gender': np.array(self.gender)}
        with Path(path).open('wb') as handle:
            np.savez_compressed(
                handle, **{key: value for key, value in arrays.items() if value is not None}
            )

    def _set(self, key: str, value: object) -> None:
        object.__setattr__(self, key, value)

    def _convert(self) -> None:
        for key in (*_REQUIRED, *_OPTIONAL):
            value = getattr(self, key)
            if value is None:
                continue
            value = np.asarray(value)
            if value.dtype.kind not in 'fiub':
                raise ValueError(f'{key} holds {value.dtype}, expected numbers')
            if value.dtype.kind == 'f' and not np.isfinite(value).all():
                raise ValueError(f'{key} holds numbers that are not finite')
            # kintree_table stores the root's parent as the largest unsigned 32-bit number.
            value = value.astype(np.int64 if key in _INTEGERS else np.float32)
            self._set(key, np.ascontiguousarray(value))
        check_shape('parents', self.parents, (NUM_JOINTS,))
        self._set('parents', np.concatenate([[-1], self.parents[1:]]))
        if self.shapedirs.ndim == 3:
            self._set('shapedirs', np.ascontiguousarray(self.shapedirs[:, :, :NUM_SHAPES]))

    def _check(self) -> None:
        check_shape('v_template', self.v_template, (None, 3))
        check_shape('faces', self.faces, (None, 3))
        num_vertices = len(self.v_template)
        if min(num_vertices, len(self.faces)) == 0:
            raise ValueError(
                f'body {self.name!r} has {num_vertices} vertices and {len(self.faces)} faces'
            )
        check_shape('shapedirs', self.shapedirs, (num_vertices, 3, NUM_SHAPES))
        check_shape('joint_regressor', self.joint_regressor, (NUM_JOINTS, num_vertices))
        check_shape('lbs_weights', self.lbs_weights, (num_vertices, NUM_JOINTS))
        if tuple(self.parents) != PARENTS:
            raise ValueError(
                f'body {self.name!r} has joint parents {self.parents.tolist()}, '
                f"expected SMPL's {list(PARENTS)}"
            )
        if self.faces.min() < 0 or self.faces.max() >= num_vertices:
            raise ValueError(
                f'faces refer to vertices {self.faces.min()} to {self.faces.max()}, '
                f'but there are {num_vertices}'
            )
        for key, rows in (
            ('lbs_weights', self.lbs_weights),
            ('joint_regressor', self.joint_regressor),
        ):
            error = np.abs(rows.sum(axis=1) - 1.0).max()
            if not error < MAX_WEIGHT_ERROR:
                raise ValueError(f'rows of {key} must sum to 1; they differ by up to {error:.3g}')
        self._check_optional()

    def _check_optional(self) -> None:
        num_vertices = len(self.v_template)
        if self.posedirs is not None:
            check_shape('posedirs', self.posedirs, (num_vertices, 3, NUM_POSE_FEATURES))
        if self.gender not in ('', *GENDERS):
            raise ValueError(f'gender is {self.gender!r}, expected one of: {", ".join(GENDERS)}')
        for key, limit in (('mirrored_vertices', num_vertices), ('vertex_parts', NUM_JOINTS)):
            values = getattr(self, key)
            if values is None:
                continue
            check_shape(key, values, (num_vertices,))
            if values.min() < 0 or values.max() >= limit:
                raise ValueError(
                    f'{key} ranges from {values.min()} to {values.max()}, expected '
                    f'0 to {limit - 1}'
                )


def _topology_hash(v_template: np.ndarray, faces: np.ndarray) -> str:
    digest = hashlib.sha256(v_template.astype('<f4').tobytes())
    digest.update(faces.astype('<i8').tobytes())
    return digest.hexdigest()


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """The body's arrays in an npz, by our or the official names; skips other entries."""
    remedy = 'to make one: decomr body import SMPL_FILE --out FILE'
    if path.is_dir():
        raise ValueError(f'{path} is a folder, not an npz file; {remedy}')
    known = {*_REQUIRED, *_OPTIONAL, *_OFFICIAL_NAMES.values(), 'name', 'gender'}
    path.stat()  # raises FileNotFoundError for a missing file
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError('it is not an archive; the name of a pickle must end in .pkl')
        with np.load(path, allow_pickle=False) as archive:
            unpacked = sum(
                entry.file_size
                for entry in archive.zip.infolist()
                if entry.filename.removesuffix('.npy') in known
            )
            if unpacked > MAX_UNPACKED_BYTES:
                raise ValueError(f'it unpacks to {unpacked / 1e6:.0f} MB')
            entries = {key: archive[key] for key in archive.files if key in known}
            # NumPy returns entries that are not npy files as bytes.
            return {key: entry for key, entry in entries.items() if isinstance(entry, np.ndarray)}
    except OSError:
        raise
    except Exception as error:
        # Damaged archives raise many types of errors, which mean the same to the user.
        reason = printable(error) or type(error).__name__
        raise ValueError(
            f'{path} is not a complete npz of plain arrays ({reason}); {remedy}'
        ) from error
