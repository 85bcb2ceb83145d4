"""IUV images on disk: drawn once per person, cut for every epoch's augmentation.

Drawing on the fly is the default and exact; the cache saves a third of its CPU time
(`benchmarks/mesh_targets.py`). It holds IUV images of the crop's own size, of squares
`CACHE_MARGIN` times as large as the person's and neither turned nor mirrored: what lies beyond
them is taken for background. One file per person; any number of processes may read and write.
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
"""Side of the cached square over that of the person's: the largest that augmentation takes."""
LEVELS = 65535
"""Steps of u and v on disk: each a five hundredth of a texel of the paper's location map."""
KEY_FILE = 'key.json'
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheKey:
    """What all records of a cache have in common.

    Attributes:
        body_hash: `BodyModel.hash`.
        uv_hash: `UVMap.hash`.
        resolution: r, side of the IUV images, px.
    """

    body_hash: str
    uv_hash: str
    resolution: int

    def __str__(self) -> str:
        return (f'body {self.body_hash[:12]}, UV map {self.uv_hash[:12]}, '
                f'{self.resolution} px')


class IUVCache:
    """A folder of IUV images; for DataLoader workers, each with its own copy of this object.

    Args:
        folder: made if it is missing.
        key: what the images must have been drawn with.

    Raises:
        ValueError: the folder was filled with another body, UV map or resolution.
    """

    def __init__(self, folder: str | Path, key: CacheKey) -> None:
        self.folder, self.key = Path(folder), key
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / KEY_FILE
        if not path.exists():
            write_if_missing(path, json.dumps(asdict(key), indent=2).encode())
        try:
            seen = CacheKey(**json.loads(path.read_text(encoding='utf-8')))
        except (ValueError, TypeError) as error:
            raise ValueError(f'{path} is not the key of an IUV cache ({error}); take another '
                             f'folder, or delete {self.folder}') from error
        if seen != key:
            raise ValueError(f'the IUV cache {self.folder} was made with {seen}; asked for {key}; '
                             'take another folder, or delete this one')

    def get(self, name: str) -> np.ndarray | None:
        """The IUV image (3, r, r) float32 of that name; None if it is not there or damaged."""
        path = self._path(name)
        try:
            with np.load(path, allow_pickle=False) as data:
                levels = data['iuv']
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile,
                zlib.error) as error:
            logger.warning('%s is damaged (%s); drawing it again', path, error)
            return None
        return levels.astype(np.float32) / np.float32(LEVELS)

    def put(self, name: str, iuv: np.ndarray) -> None:
        """Stores an IUV image (3, r, r), all in [0, 1], to 1 / 65535."""
        check_shape('iuv', iuv, (3, self.key.resolution, self.key.resolution))
        levels = np.rint(np.asarray(iuv) * LEVELS).astype(np.uint16)
        path = self._path(name)
        path.parent.mkdir(exist_ok=True)
        # Not synced: there are many thousands, and a damaged one is drawn again.
        with (replacing(path, has_rivals=True, is_synced=False) as part,
              part.open('wb') as handle):
            np.savez_compressed(handle, iuv=levels)

    def get_or_make(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The image of that name; made and stored if it is not there.

        Args:
            name: `record_name` of all that the image follows from.
            make: draws it, (3, r, r).

        Returns:
            (3, r, r) float32: the same numbers whether it was there or not.
        """
        found = self.get(name)
        if found is None:
            self.put(name, make())
            found = self.get(name)
        if found is None:
            raise OSError(f'{self._path(name)} cannot be read back; is the disk full?')
        return found

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self.folder / digest[:2] / f'{digest[2:34]}.npz'


def record_name(*parts: str | np.ndarray) -> str:
    """A name that changes whenever something changes that an image is drawn from.

    Args:
        parts: texts and arrays, such as the pose, the shape, the keypoints, centre and side.
    """
    digest = hashlib.sha256()
    for part in parts:
        array = np.frombuffer(part.encode(), np.uint8) if isinstance(part, str) else (
            np.ascontiguousarray(part))
        digest.update(f'{array.dtype.str}{array.shape}'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def crop_cached_iuv(iuv: np.ndarray, augmentation: Augmentation, size: int) -> torch.Tensor:
    """The IUV image of an augmented crop, from the cached one of the same person.

    The nearest pixel is taken, so that two surface points never mix.

    Args:
        iuv: (3, r, r) float32 of the square `CACHE_MARGIN` times as large as the person's.
        augmentation: what was drawn for the image.
        size: S, side of the crop, px.

    Returns:
        (3, S, S) float32: mask it where the person is hidden, then `shrink_iuv`.
    """
    resolution = iuv.shape[-1]
    check_shape('iuv', iuv, (3, resolution, resolution))
    pixels = np.array([[0.0, 0], [1, 0], [0, 1]])
    places = image_from_crop_xy((2 * pixels + 1) / size - 1, np.full(2, (resolution - 1) / 2),
                                resolution * augmentation.scale / CACHE_MARGIN,
                                augmentation.rotation)
    cached_from_pixel = np.column_stack([places[1] - places[0], places[2] - places[0], places[0]])
    crop = cv2.warpAffine(np.ascontiguousarray(iuv.transpose(1, 2, 0)), cached_from_pixel,
                          (size, size), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    cut = torch.from_numpy(crop).permute(2, 0, 1)
    return flip_iuv(cut) if augmentation.is_flipped else cut.contiguous()
