"""Garments, shoes, hair and skins that fit the built-in body, in one npz file.

`tools/bake_wardrobe.py` makes the file from MakeHuman's assets (CC0), which are not part of this
repository. Each item is a mesh with the same data as the body: a template in the T-pose, shape
directions for the body's ten components, and skinning weights for its 24 joints.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decomr_core.body_models import NUM_JOINTS, NUM_SHAPES, BodyModel

__all__ = ['KINDS', 'Garment', 'Wardrobe']

KINDS = ('outfit', 'shoes', 'hair', 'hat', 'brows', 'lashes', 'eyes')
"""Kinds of items; `outfit` covers torso and legs."""
TEXTURE_SIZE = 512
"""Side of the textures, px."""
HOW_TO = (
    'make one with python -m tools.bake_wardrobe FOLDER --out FILE, where FOLDER contains '
    "MakeHuman's assets (github.com/makehumancommunity/makehuman-assets, CC0)"
)


@dataclass(frozen=True)
class Garment:
    """One item of a wardrobe.

    Attributes:
        name: name in MakeHuman.
        kind: one of `KINDS`.
        template: (G, 3) float32, T-pose, metres.
        shapedirs: (G, 3, 10) float32, metres per shape component.
        weights: (G, 24) float32 skinning weights.
        body_vertex: (G,) int64, the body vertex under each vertex.
        faces: (F, 3) int64.
        face_uv: (F, 3, 2) float32, texture coordinates of the corners, v pointing down.
        hidden: (V,) bool, body vertices that the item covers completely.
        texture: row of its texture in the wardrobe.
    """

    name: str
    kind: str
    template: Tensor
    shapedirs: Tensor
    weights: Tensor
    body_vertex: Tensor
    faces: Tensor
    face_uv: Tensor
    hidden: Tensor
    texture: int

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the item in an npz file, in compact types."""
        return {
            'template': self.template.numpy(),
            'shapedirs': self.shapedirs.half().numpy(),
            'weights': self.weights.half().numpy(),
            'body_vertex': self.body_vertex.numpy().astype(np.int32),
            'faces': self.faces.numpy().astype(np.int32),
            'face_uv': self.face_uv.numpy(),
            'hidden': np.packbits(self.hidden.numpy()),
            'texture': np.array(self.texture),
        }


@dataclass(frozen=True)
class Wardrobe:
    """A collection of garments and skins.

    Attributes:
        garments: the items; at least one outfit.
        textures: (T, 512, 512, 4) uint8 RGBA.
        skins: (S, 512, 512, 3) uint8 RGB.
        skin_uv: (F, 3, 2) float32, coordinates of the body's corners on the skins, v pointing
            down.
        skin_names: name of each skin.
        body_hash: hash of the body that the items fit.
    """

    garments: tuple[Garment, ...]
    textures: Tensor
    skins: Tensor
    skin_uv: Tensor
    skin_names: tuple[str, ...]
    body_hash: str

    def __post_init__(self) -> None:
        """Checks that there are outfits, skins and all textures.

        Raises:
            ValueError: something is missing or out of range.
        """
        if not self.of_kind('outfit') or not len(self.skins):
            raise ValueError(f'the wardrobe has no outfit or no skin; {HOW_TO}')
        if any(not 0 <= garment.texture < len(self.textures) for garment in self.garments):
            raise ValueError(f'the wardrobe lacks textures of its garments; {HOW_TO}')

    def of_kind(self, kind: str) -> list[Garment]:
        """The items of a kind."""
        return [garment for garment in self.garments if garment.kind == kind]

    def save(self, path: str | Path) -> None:
        """Writes the npz file."""
        arrays: dict[str, Any] = {
            'names': np.array([garment.name for garment in self.garments]),
            'kinds': np.array([garment.kind for garment in self.garments]),
            'textures': self.textures.numpy(),
            'skins': self.skins.numpy(),
            'skin_uv': self.skin_uv.numpy(),
            'skin_names': np.array(self.skin_names),
            'body_hash': np.array(self.body_hash),
        }
        for index, garment in enumerate(self.garments):
            arrays |= {f'{index}_{name}': array for name, array in garment.arrays().items()}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: str | Path, body: BodyModel) -> Wardrobe:
        """Reads a wardrobe for a body.

        Args:
            path: the npz file.
            body: the body that the items must fit.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not a wardrobe, or is for another body.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f'there is no wardrobe {path}; {HOW_TO}, or leave data.wardrobe empty'
            )
        try:
            with np.load(path) as archive:
                if str(archive['body_hash']) != body.hash:
                    raise ValueError('its garments were fitted to another body')
                garments = tuple(
                    _garment(archive, index, str(name), str(kind), body.num_vertices)
                    for index, (name, kind) in enumerate(
                        zip(archive['names'], archive['kinds'], strict=True)
                    )
                )
                textures, skins = (
                    _pictures(archive[name], channels)
                    for name, channels in (('textures', 4), ('skins', 3))
                )
                skin_uv = archive['skin_uv']
                if skin_uv.shape != (len(body.faces), 3, 2) or not np.isfinite(skin_uv).all():
                    raise ValueError(
                        f'skin_uv is {skin_uv.shape} or not finite, expected '
                        f'{(len(body.faces), 3, 2)}'
                    )
                return cls(
                    garments,
                    textures,
                    skins,
                    torch.from_numpy(skin_uv.astype(np.float32)),
                    tuple(str(name) for name in archive['skin_names']),
                    body.hash,
                )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f'{path} is not a wardrobe for this body: {error}; {HOW_TO}'
            ) from error


def _garment(
    archive: np.lib.npyio.NpzFile, index: int, name: str, kind: str, num_vertices: int
) -> Garment:
    """Reads and checks the item with a number."""
    if kind not in KINDS:
        raise ValueError(f'{name} is of kind {kind!r}; known kinds are {", ".join(KINDS)}')
    get = {
        key: archive[f'{index}_{key}']
        for key in (
            'template',
            'shapedirs',
            'weights',
            'body_vertex',
            'faces',
            'face_uv',
            'hidden',
            'texture',
        )
    }
    _check_item(get, name, num_vertices)
    hidden = np.unpackbits(get['hidden'], count=num_vertices).astype(bool)
    template, shapedirs, weights, face_uv = (
        torch.from_numpy(get[key].astype(np.float32))
        for key in ('template', 'shapedirs', 'weights', 'face_uv')
    )
    return Garment(
        name,
        kind,
        template,
        shapedirs,
        weights,
        torch.from_numpy(get['body_vertex'].astype(np.int64)),
        torch.from_numpy(get['faces'].astype(np.int64)),
        face_uv,
        torch.from_numpy(hidden),
        int(get['texture']),
    )


def _check_item(arrays: dict[str, np.ndarray], name: str, num_vertices: int) -> None:
    """Checks the arrays of an item: shapes, finite values and ranges of the indices.

    Raises:
        ValueError: an array is wrong; the message names it.
    """
    count, faces = len(arrays['template']), len(arrays['faces'])
    shapes = {
        'template': (count, 3),
        'shapedirs': (count, 3, NUM_SHAPES),
        'weights': (count, NUM_JOINTS),
        'body_vertex': (count,),
        'faces': (faces, 3),
        'face_uv': (faces, 3, 2),
    }
    for key, shape in shapes.items():
        if arrays[key].shape != shape or not np.isfinite(arrays[key]).all():
            raise ValueError(
                f'{key} of {name} is {arrays[key].shape} or not finite, expected {shape}'
            )
    for key, limit in (('faces', count), ('body_vertex', num_vertices)):
        if arrays[key].min(initial=0) < 0 or arrays[key].max(initial=0) >= limit:
            raise ValueError(f'{key} of {name} has an index out of range')


def _pictures(array: np.ndarray, channels: int) -> Tensor:
    """Checks images (n, 512, 512, channels) uint8 and converts them to a tensor."""
    if array.shape[1:] != (TEXTURE_SIZE, TEXTURE_SIZE, channels) or array.dtype != np.uint8:
        raise ValueError(
            f'textures are {array.dtype} {array.shape}, expected uint8 '
            f'(n, {TEXTURE_SIZE}, {TEXTURE_SIZE}, {channels})'
        )
    return torch.from_numpy(array)
