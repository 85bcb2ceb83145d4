"""Reads MakeHuman's garment files: .mhclo (binding to the base mesh), .obj, .mhmat."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from decomr_core.uv.obj_template import read_obj_template

__all__ = ['MakeHumanGarment', 'read_garment', 'read_texture_name']

NUM_BASE_VERTICES = 19158
"""Vertices of the base mesh hm08, including helpers."""
DECIMETRES = 0.1
_NUMBER = re.compile(r'-?\d')
_TEXTURE = re.compile(r'^diffuseTexture\s+(\S+)', re.MULTILINE)


@dataclass(frozen=True)
class MakeHumanGarment:
    """A garment bound to the base mesh: vertex = sum(weights * base) + offset * scale.

    Attributes:
        name: name of the file, without suffix.
        base_index: (G, 3) vertices of the base mesh.
        base_weights: (G, 3) their weights.
        offsets: (G, 3) MakeHuman's axes (y up, z forward), in units of the scale.
        scales: for each axis two base vertices and their distance at scale 1; None for
            decimetres.
        hidden: base vertices that the garment covers.
        faces: (F, 3) triangles.
        face_uv: (F, 3, 2) texture coordinates of each corner, v pointing down.
        material: the .mhmat file, or None.
    """

    name: str
    base_index: np.ndarray
    base_weights: np.ndarray
    offsets: np.ndarray
    scales: list[tuple[int, int, float] | None]
    hidden: np.ndarray
    faces: np.ndarray
    face_uv: np.ndarray
    material: Path | None

    def vertices(self, base: np.ndarray) -> np.ndarray:
        """Vertices (N, G, 3) of the garment on base meshes (N, 19158, 3), metres."""
        bound = np.einsum('gk,ngkc->ngc', self.base_weights, base[:, self.base_index])
        scale = np.full((len(base), 3), DECIMETRES)
        for axis, entry in enumerate(self.scales):
            if entry is not None:
                first, second, unit = entry
                scale[:, axis] = np.abs(base[:, first, axis] - base[:, second, axis]) / unit
        return bound + self.offsets * scale[:, None]


def read_garment(path: Path) -> MakeHumanGarment:
    """Reads a .mhclo file and the .obj file that it names.

    Raises:
        FileNotFoundError: the .obj file is missing.
        ValueError: the file is not a .mhclo file, or the two files do not match.
    """
    values: dict[str, str] = {}
    rows: dict[str, list[list[str]]] = {'verts': [], 'delete_verts': []}
    section = ''
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        words = line.split('#')[0].split()
        if not words:
            continue
        if words[0] in rows:
            section = words[0]
        elif section and _NUMBER.match(words[0]):
            rows[section].append(words)
        else:
            values[words[0]] = ' '.join(words[1:])
    if 'obj_file' not in values or not rows['verts']:
        raise ValueError(f'{path} has no obj_file or no vertices; is it a .mhclo file?')
    try:
        bindings = np.array([_binding(words) for words in rows['verts']])
        scales = [_scale(values.get(f'{axis}_scale')) for axis in 'xyz']
        hidden = _ranges(' '.join(word for words in rows['delete_verts'] for word in words))
    except (ValueError, IndexError) as error:
        raise ValueError(f'{path} is damaged: {error}') from error
    index = bindings[:, :3].astype(int)
    if index.min() < 0 or index.max() >= NUM_BASE_VERTICES:
        raise ValueError(
            f'{path} refers to base vertex {index.max()}, but the base mesh hm08 has '
            f'{NUM_BASE_VERTICES}'
        )
    faces, face_uv, num_vertices = _triangles(path.parent / values['obj_file'])
    if num_vertices != len(bindings):
        raise ValueError(f'{path} has {len(bindings)} vertices, its .obj file {num_vertices}')
    material = path.parent / values['material'] if 'material' in values else None
    return MakeHumanGarment(
        path.stem,
        index,
        bindings[:, 3:6],
        bindings[:, 6:],
        scales,
        hidden,
        faces,
        face_uv,
        material if material and material.is_file() else None,
    )


def read_texture_name(material: Path) -> str:
    """The file name of a material's diffuse texture, without folder and suffix; '' if none."""
    found = _TEXTURE.search(material.read_text(encoding='utf-8', errors='replace'))
    return Path(found.group(1)).stem if found else ''


def _binding(words: list[str]) -> list[float]:
    """Parses one vertex line: three base vertices, three weights, three offsets."""
    if len(words) == 1:
        return [float(int(words[0]))] * 3 + [1, 0, 0] + [0, 0, 0]
    numbers = [float(word) for word in words[:9]]
    if len(numbers) != 9 or not np.isfinite(numbers).all():
        raise ValueError(f'a vertex line has {len(words)} numbers, expected 1 or 9')
    return numbers


def _scale(text: str | None) -> tuple[int, int, float] | None:
    """Parses two vertices and a distance."""
    if text is None:
        return None
    first, second, unit = text.split()[:3]
    return int(first), int(second), float(unit)


def _ranges(text: str) -> np.ndarray:
    """Parses whole numbers and ranges 'first - last'."""
    numbers: list[int] = []
    for first, last in re.findall(r'(\d+)(?:\s*-\s*(\d+))?', text):
        numbers.extend(range(int(first), int(last or first) + 1))
    return np.array(sorted(set(numbers)), int)


def _triangles(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Triangles (F, 3), texture coordinates (F, 3, 2) and number of vertices of an .obj file."""
    template = read_obj_template(path)
    corners = np.array(
        [
            (polygon[0], polygon[k], polygon[k + 1])
            for polygon in template.polygons
            for k in range(1, len(polygon) - 1)
        ]
    )  # (F, 3, 2)
    return corners[..., 0], template.uv[corners[..., 1]] * [1, -1] + [0, 1], template.num_vertices
