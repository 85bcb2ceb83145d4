"""Cached IUV targets: rendered once per person, stored on disk, cropped per augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import annotated_regressor
from decomr_core.geometry.crop import crop_from_image_xy
from decomr_core.uv.uv_map import UVMap
from training.records.augmentation import Augmentation, crop_affine
from training.records.person_record import GENDERS, PersonRecord
from training.records.posed_bodies import PosedBodies
from training.targets.iuv_cache import (
    CACHE_MARGIN,
    CacheKey,
    IUVCache,
    crop_cached_iuv,
    record_name,
)
from training.targets.iuv_target import IUV_STRIDE, shrink_iuv
from training.targets.mesh_target import MeshTargetRenderer, pixels_in_image

__all__ = ['CachedTargets']


class CachedTargets:
    """Reads IUV targets from a cache folder; renders and stores missing ones, on one thread.

    Args:
        folder: the cache folder; created if it is missing.
        bodies: body models by gender, on the CPU.
        uv_map: the UV map of the neutral one.
        size: S, side of the crops, px.

    Raises:
        ValueError: the folder belongs to another body, UV map or size.
    """

    def __init__(
        self, folder: str | Path, bodies: Mapping[str, BodyModel], uv_map: UVMap, size: int
    ) -> None:
        self.size, self.resolution = size, round(size * CACHE_MARGIN)
        self.posed_bodies = PosedBodies(bodies)
        self.hashes = {gender: body.hash for gender, body in bodies.items()}
        neutral = self.posed_bodies.neutral
        self.cache = IUVCache(folder, CacheKey(neutral.hash, uv_map.hash, self.resolution))
        self.renderer = MeshTargetRenderer(neutral, uv_map, self.resolution, stride=1)
        regressor, is_known = annotated_regressor(neutral)
        self.regressor = torch.from_numpy(regressor)
        self.is_known = torch.from_numpy(is_known).float()

    def __call__(
        self, record: PersonRecord, image_shape: tuple[int, ...], augmentation: Augmentation
    ) -> tuple[np.ndarray, np.float32]:
        """The target of an augmented crop.

        Args:
            record: the person.
            image_shape: (H, W, ...) of the image.
            augmentation: augmentation of the crop.

        Returns:
            IUV image (3, S / 4, S / 4) float32 and its weight: 1, or 0 (with an image of zeros)
            if there is no pose, no camera can be fitted, or the person is not visible.
        """
        if record.pose is None or record.shape is None or record.keypoints_2d is None:
            return self._empty()
        body_hash = self.hashes.get(record.gender, self.hashes['neutral'])
        name = record_name(
            body_hash,
            record.pose,
            record.shape,
            record.keypoints_2d,
            np.asarray(record.center),
            np.array(record.side),
        )
        cached = self.cache.get_or_make(name, lambda: self._draw(record))
        crop = crop_cached_iuv(cached, augmentation, self.size)
        affine = crop_affine(record.center, record.side, augmentation)
        size = torch.tensor([[image_shape[1], image_shape[0]]])
        crop = crop * pixels_in_image(torch.from_numpy(affine)[None], size, self.size)
        if not crop.any():
            return self._empty()
        return shrink_iuv(crop[None])[0].numpy(), np.float32(1)

    def _draw(self, record: PersonRecord) -> np.ndarray:
        """Renders the IUV image of a square `CACHE_MARGIN` times as large as the person's."""
        vertices, _ = self.posed_bodies(
            torch.from_numpy(np.asarray(record.pose, np.float32))[None],
            torch.from_numpy(np.asarray(record.shape, np.float32))[None],
            torch.tensor([GENDERS.index(record.gender)]),
        )
        keypoints = np.array(record.keypoints_2d, np.float32)
        keypoints[:, :2] = crop_from_image_xy(
            keypoints[:, :2], record.center, record.side * CACHE_MARGIN
        )
        observed = torch.from_numpy(keypoints)[None]
        observed[..., 2] *= self.is_known
        return self.renderer(vertices, self.regressor @ vertices, observed).iuv[0].numpy()

    def _empty(self) -> tuple[np.ndarray, np.float32]:
        """A target of zeros with weight 0."""
        small = self.size // IUV_STRIDE
        return np.zeros((3, small, small), np.float32), np.float32(0)
