"""Imports the UV map of a body from an OBJ of the same mesh, with one or many charts.

Faces are compared by their vertex indices. By default v counts from the top, as in the official
DecoMR implementation. Most other programs count it from the bottom; `is_v_flipped` converts it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decomr_core.uv.obj_template import ObjTemplate, read_obj_template
from decomr_core.uv.quality import validity
from decomr_core.uv.uv_map import UVMap

if TYPE_CHECKING:
    from decomr_core.body_models import BodyModel

__all__ = ['describe_uv_map', 'import_uv_map']

# UVs this far outside of the unit square are rounding errors of the program that wrote them.
MAX_OUTSIDE = 1e-5

Polygon = list[tuple[int, int]]


def import_uv_map(path: str | Path, body: BodyModel, is_v_flipped: bool = False) -> UVMap:
    """The UV map of a body from an OBJ with the same faces.

    Faces may come in any order, with any corner first, as triangles or as polygons that the
    body's triangles fill. Equal UVs of one vertex become one UV vertex.

    Args:
        path: the OBJ.
        body: the body of the map.
        is_v_flipped: v of the OBJ counts from the bottom.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an OBJ with UVs, has another mesh, or its UVs leave the unit
            square.
    """
    template = read_obj_template(path)
    faces = np.asarray(body.faces)
    uv_index = _uv_index_of_corners(path, template, faces, body.name)  # (F, 3)
    uv = template.uv * [1, -1] + [0, 1] if is_v_flipped else template.uv
    used = uv[np.unique(uv_index)]
    if used.min() < -MAX_OUTSIDE or used.max() > 1 + MAX_OUTSIDE:
        low, high = used.min(axis=0), used.max(axis=0)
        raise ValueError(
            f'the UVs of {path} leave the unit square: u {low[0]:.4g} to {high[0]:.4g}, v '
            f'{low[1]:.4g} to {high[1]:.4g}; pack them into one tile from 0 to 1, then import'
        )
    uv_map = _joined_corners(np.clip(uv, 0, 1).astype(np.float32), uv_index, faces, body.hash)
    if len(np.unique(uv_map.vertex_index)) == len(uv_map.vertex_index):
        raise ValueError(
            f'the UVs of {path} have no seam, but a closed mesh cannot be flattened '
            'without one; mark seams and unwrap it, or build a map: decomr uv build '
            '--body FILE --out FILE'
        )
    return uv_map


def describe_uv_map(body: BodyModel, uv_map: UVMap) -> tuple[str, dict[str, Any]]:
    """A description of a map as text and for JSON; maps of many charts are accepted."""
    found = validity(body, uv_map)
    charts = (
        'one continuous chart'
        if found.pieces == 1
        else (f'not one continuous chart: {found.pieces} pieces')
    )
    is_paired = np.isfinite(found.symmetry_error)
    symmetry = (
        f'mirror symmetry error {found.symmetry_error:.2g}'
        if is_paired
        else ('no mirror symmetry')
    )
    text = (
        f'{len(uv_map.uv)} UV vertices, {len(uv_map.faces)} faces; {charts}\n'
        f'{found.flips} degenerate or flipped triangles, {found.overlaps} crossings of '
        f'boundary edges, {symmetry}'
    )
    head, feet = _heights(body, uv_map)
    text += f'\nhead at v = {head:.2f}, feet at v = {feet:.2f}, counted from the top'
    if head > feet and found.pieces == 1:
        text += '; UPSIDE DOWN: import it again with --flip-v if the file counts v from the bottom'
    return text, {
        'head_v': head,
        'feet_v': feet,
        'uv_vertices': len(uv_map.uv),
        'faces': len(uv_map.faces),
        'pieces': found.pieces,
        'flips': found.flips,
        'overlaps': found.overlaps,
        'symmetry_error': found.symmetry_error if is_paired else None,
    }


def _heights(body: BodyModel, uv_map: UVMap) -> tuple[float, float]:
    """V of the highest and of the lowest vertex of the template."""
    height = np.asarray(body.v_template)[uv_map.vertex_index, 1]
    return float(uv_map.uv[height.argmax(), 1]), float(uv_map.uv[height.argmin(), 1])


def _uv_index_of_corners(
    path: str | Path, template: ObjTemplate, faces: np.ndarray, body_name: str
) -> np.ndarray:
    """(F, 3) the row of the template's UVs at each corner of the body's (F, 3) faces."""
    polygon_of_face = _match(template.polygons, faces)
    missing = np.flatnonzero(polygon_of_face < 0)
    unfilled = _unfilled_polygons(template.polygons, faces, polygon_of_face)
    if len(missing) or unfilled:
        size = int(faces.max()) + 1
        raise ValueError(
            f"{path} has another mesh than the body '{body_name}': {len(missing)} of the body's "
            f'{len(faces)} faces are not in it and {len(unfilled)} of its '
            f'{len(template.polygons)} polygons are not filled by faces of the body; it has '
            f'{template.num_vertices} vertices, the body {size}; export the mesh of this body '
            'without reordering its vertices, or name the right body with --body'
        )
    uv_index = [dict(polygon) for polygon in template.polygons]
    return np.array(
        [
            [uv_index[polygon][vertex] for vertex in face]
            for polygon, face in zip(polygon_of_face.tolist(), faces.tolist(), strict=True)
        ]
    )


def _match(polygons: list[Polygon], faces: np.ndarray) -> np.ndarray:
    """(F,) the polygon that contains each face, -1 for none.

    A face next to a vertex with only two edges may fit into two polygons. It gets the one with
    room for another face.
    """
    polygons_at: dict[int, set[int]] = {}
    for index, polygon in enumerate(polygons):
        for vertex, _ in polygon:
            polygons_at.setdefault(vertex, set()).add(index)
    room = [len(polygon) - 2 for polygon in polygons]
    empty: set[int] = set()
    choices = [
        set.intersection(*(polygons_at.get(vertex, empty) for vertex in face))
        for face in faces.tolist()
    ]
    chosen = np.full(len(faces), -1)
    for face in sorted(range(len(faces)), key=lambda index: len(choices[index])):
        free = [polygon for polygon in sorted(choices[face]) if room[polygon] > 0]
        if free:
            # The polygon with the least room left is the tightest fit.
            chosen[face] = min(free, key=lambda polygon: room[polygon])
            room[chosen[face]] -= 1
    return chosen


def _unfilled_polygons(
    polygons: list[Polygon], faces: np.ndarray, polygon_of_face: np.ndarray
) -> list[int]:
    """The polygons whose edges are not exactly the boundary of the faces matched to them."""
    edges_in: dict[int, Counter[frozenset[int]]] = {}
    for face, polygon_index in zip(faces.tolist(), polygon_of_face.tolist(), strict=True):
        edges_in.setdefault(polygon_index, Counter()).update(
            frozenset((face[k - 1], face[k])) for k in range(3)
        )
    unfilled = []
    for index, polygon in enumerate(polygons):
        sides = {frozenset((polygon[k - 1][0], polygon[k][0])) for k in range(len(polygon))}
        rim = {edge for edge, count in edges_in.get(index, Counter()).items() if count == 1}
        if rim != sides:
            unfilled.append(index)
    return unfilled


def _joined_corners(
    uv: np.ndarray, uv_index: np.ndarray, faces: np.ndarray, body_hash: str
) -> UVMap:
    """The map with one UV vertex per pair of vertex and UV, in the order of the template's UVs.

    Args:
        uv: (T, 2) float32 UVs.
        uv_index: (F, 3) row of `uv` at each corner.
        faces: (F, 3) the body's faces.
        body_hash: hash of the body.
    """
    # Some programs write the same vt once per corner; the first of equal ones is kept.
    _, first, same = np.unique(uv, axis=0, return_index=True, return_inverse=True)
    corners = np.stack([first[same.reshape(-1)][uv_index], faces], axis=-1).reshape(-1, 2)
    pairs, index = np.unique(corners, axis=0, return_inverse=True)
    return UVMap(uv[pairs[:, 0]], index.reshape(-1, 3), pairs[:, 1], body_hash)
