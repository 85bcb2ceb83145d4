"""An on-disk cache of IUV images: rendered once per person, cropped in every epoch.

Rendering on the fly is the default and exact; the cache saves a third of its CPU time
(`benchmarks/mesh_targets.py`). The cached images show squares `CACHE_MARGIN` times as large as the
person's, at the resolution of the crop, without rotation and mirroring. Pixels outside them count
as background. There is one file per person; several processes may read and write at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from decomr_core.base.files import replacing, write_if_missing
from decomr_core.base.structures import check_shape
from decomr_core.geometry.crop import image_from_crop_xy
from training.records.augmentation import Augmentation
from training.targets.iuv_target import flip_iuv

__all__ = ['CACHE_MARGIN', 'CacheKey', 'IUVCache', 'crop_cached_iuv', 'record_name']

CACHE_MARGIN = 1.25
"""Ratio of the cached square to the person's: the largest scale of the augmentation."""
LEVELS = 65535
"""Quantisation levels of u and v; one is 1/500 texel of the paper's location map."""
KEY_FILE = 'key.json'
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheKey:
    """The properties that all images of a cache share.

    Attributes:
        body_hash: `BodyModel.hash`.
        uv_hash: `UVMap.hash`.
        resolution: r, side of the IUV images, px.
    """

    body_hash: str
    uv_hash: str
    resolution: int

    def __str__(self) -> str:
        return f'body {self.body_hash[:12]}, UV map {self.uv_hash[:12]}, {self.resolution} px'


class IUVCache:
    """A folder of IUV images; each DataLoader worker uses its own copy of this object.

    Args:
        folder: the cache folder; created if it is missing.
        key: required properties of the images.

    Raises:
        ValueError: the folder belongs to another body, UV map or resolution.
    """

    def __init__(self, folder: str | Path, key: CacheKey) -> None:
        self.folder, self.key = Path(folder), key
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / KEY_FILE
        if not path.exists():
            write_if_missing(path, json.dumps(asdict(key), indent=2).encode())
        try:
            found = CacheKey(**json.loads(path.read_text(encoding='utf-8')))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f'{path} is not the key of an IUV cache ({error}); use another '
                f'folder, or delete {self.folder}'
            ) from error
        if found != key:
            raise ValueError(
                f'the IUV cache {self.folder} was made with {found}, but the run '
                f'needs {key}; use another folder, or delete this one'
            )

    def get(self, name: str) -> np.ndarray | None:
        """Reads the IUV image (3, r, r) float32 with a name; None if missing or damaged."""
        path = self._path(name)
        try:
            with np.load(path, allow_pickle=False) as data:
                levels = data['iuv']
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning('%s is damaged (%s); rendering it again', path, error)
            return None
        return levels.astype(np.float32) / np.float32(LEVELS)

    def put(self, name: str, iuv: np.ndarray) -> None:
        """Stores an IUV image (3, r, r) in [0, 1], quantised to 1 / 65535."""
        check_shape('iuv', iuv, (3, self.key.resolution, self.key.resolution))
        levels = np.rint(np.asarray(iuv) * LEVELS).astype(np.uint16)
        path = self._path(name)
        path.parent.mkdir(exist_ok=True)
        # Not synced: there are many thousands of files, and a damaged one is rendered again.
        with (
            replacing(path, has_other_writers=True, is_synced=False) as part,
            part.open('wb') as handle,
        ):
            np.savez_compressed(handle, iuv=levels)

    def get_or_make(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Reads the image with a name; renders and stores it first if it is missing.

        Args:
            name: `record_name` of everything that determines the image.
            make: renders the image (3, r, r).

        Returns:
            (3, r, r) float32, with the same quantisation for cached and new images.

        Raises:
            OSError: the image cannot be stored.
        """
        found = self.get(name)
        if found is None:
            self.put(name, make())
            found = self.get(name)
        if found is None:
            raise OSError(f'cannot read back {self._path(name)}; check the free disk space')
        return found

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self.folder / digest[:2] / f'{digest[2:34]}.npz'


def record_name(*parts: str | np.ndarray) -> str:
    """The hash of everything that determines an image, as its name.

    Args:
        parts: texts and arrays, such as pose, shape, keypoints, centre and side.
    """
    digest = hashlib.sha256()
    for part in parts:
        array = (
            np.frombuffer(part.encode(), np.uint8)
            if isinstance(part, str)
            else (np.ascontiguousarray(part))
        )
        digest.update(f'{array.dtype.str}{array.shape}'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def crop_cached_iuv(iuv: np.ndarray, augmentation: Augmentation, size: int) -> torch.Tensor:
    """Crops a cached IUV image for an augmentation.

    Nearest-neighbour sampling avoids the interpolation of different surface points.

    Args:
        iuv: (3, r, r) float32, the square `CACHE_MARGIN` times as large as the person's.
        augmentation: the augmentation of the image.
        size: S, side of the crop, px.

    Returns:
        (3, S, S) float32; to be masked where the person is not visible, then `shrink_iuv`.
    """
    resolution = iuv.shape[-1]
    check_shape('iuv', iuv, (3, resolution, resolution))
    pixels = np.array([[0.0, 0], [1, 0], [0, 1]])
    places = image_from_crop_xy(
        (2 * pixels + 1) / size - 1,
        np.full(2, (resolution - 1) / 2),
        resolution * augmentation.scale / CACHE_MARGIN,
        augmentation.rotation,
    )
    cached_from_pixel = np.column_stack([places[1] - places[0], places[2] - places[0], places[0]])
    crop = cv2.warpAffine(
        np.ascontiguousarray(iuv.transpose(1, 2, 0)),
        cached_from_pixel,
        (size, size),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    cropped = torch.from_numpy(crop).permute(2, 0, 1)
    return flip_iuv(cropped) if augmentation.is_flipped else cropped.contiguous()
