"""People rendered on the fly: clothed bodies in natural poses, seen by a robot's camera.

One path: poses -> viewpoints -> body model -> clothes -> rasterizer -> labels and colours ->
background, shadow, occluders -> camera. Everything follows from the seed and the batch's number,
in any process. `python -m training.datasets.synthetic --preview FILE.png` shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, get_worker_info

from decomr_core.rasterizer import Fragments, rasterize
from training.datasets import appearance
from training.datasets.backgrounds import Scene, draw_background, draw_occluder, draw_shadow
from training.datasets.photometric import degrade, soft_composite
from training.datasets.plausible_poses import PoseCheck, PoseCounts, draw_plausible
from training.datasets.pose_rules import sample_wide_poses
from training.datasets.poses import sample_poses
from training.datasets.recorded_poses import RecordedPoses
from training.datasets.root_frame import root_frame_body
from training.datasets.surface import NUM_WAVES, BodySurface
from training.datasets.tensor_batch import TensorBatch
from training.datasets.textures import shared_textures
from training.datasets.viewpoints import (
    SMALLEST_CUT,
    UPPER_SHARE,
    Framing,
    Viewpoints,
    fit_weak_perspective,
    frame_people,
    orient_poses,
    sample_viewpoints,
)
from training.iuv_target import IUV_STRIDE, iuv_target

__all__ = ['HELD_OUT_SEED', 'SyntheticBatch', 'SyntheticConfig', 'SyntheticPeople',
           'held_out_set']

HELD_OUT_SEED = 2020
"""Reserved: training refuses it, so that no training image is ever a held-out one."""
CREASE_M, DARKEST_CREASE, CREASE_REACH = 0.2, 0.45, 14
"""A point that far behind its surroundings, metres, loses that share of its light; the
surroundings are a square of that part of the image's side."""
MOST_HIDDEN = 0.45
"""Share of a person that one thing in front may hide; what would hide more is left out."""
RULES = {'usual': sample_poses, 'wide': sample_wide_poses}
"""Poses by rule, by the name in the config."""


@dataclass(frozen=True)
class SyntheticConfig:
    """How synthetic people look.

    Attributes:
        size: S, side of the images, px; a multiple of 4.
        batch_size: B; 8 is fastest on a CPU's caches.
        shape_std: standard deviation of the shape components.
        occluder_share: share of images with a thing in front of the person.
        passer_by_share: share of images with another person in the picture.
        rules: poses by rule: `usual`, the held-out set's, or `wide`, with many who sit, kneel,
            lie, carry and work as well.
        possible_only: whether poses that nobody can take are drawn again, and recorded ones left
            out (see `plausible_poses.py`).
        poses_file: npz of recorded poses (see `recorded_poses.py`); empty: poses by rule alone.
        recorded_share: share of the people whose pose was recorded, where there is a file.
        upper_share: share of the crops that frame an upper part of the person alone, as when
            somebody stands close to the camera.
        smallest_cut: the least that such a crop frames, as a share of the person's height.
    """

    size: int = 128
    batch_size: int = 8
    shape_std: float = 1.0
    occluder_share: float = 0.25
    passer_by_share: float = 0.35
    rules: str = 'usual'
    possible_only: bool = False
    poses_file: str = ''
    recorded_share: float = 0.5
    upper_share: float = UPPER_SHARE
    smallest_cut: float = SMALLEST_CUT

    def __post_init__(self) -> None:
        if self.size < 2 * IUV_STRIDE or self.size % IUV_STRIDE:
            raise ValueError(f'size is {self.size} px; take a multiple of {IUV_STRIDE}, '
                             f'{2 * IUV_STRIDE} or more')
        if self.batch_size < 1:
            raise ValueError(f'batch_size is {self.batch_size}; take 1 or more')
        if self.rules not in RULES:
            raise ValueError(f'rules are {self.rules!r}; take one of {", ".join(RULES)}')


@dataclass
class SyntheticBatch(TensorBatch):
    """B rendered people with everything known about them.

    Attributes:
        images: (B, S, S, 3) uint8 RGB.
        iuv: (B, 3, S/4, S/4) float32: share of foreground (visible, dressed) in the cell, u, v;
            u and v are valid where the share is above 0.
        mask: (B, S, S) uint8, 1 where the person is seen.
        vertices: (B, V, 3) float32, undressed body, root frame, m.
        joints: (B, 24, 3) float32, root frame, m.
        joints_2d: (B, 24, 3) float32: x and y, crop frame; 1 inside the picture, else 0.
        camera: (B, 3) float32 weak perspective (s, tx, ty) nearest to the true projection.
        pose: (B, 24, 3) float32 axis-angle, radians, body frame.
        shape: (B, 10) float32.
    """

    images: Tensor
    iuv: Tensor
    mask: Tensor
    vertices: Tensor
    joints: Tensor
    joints_2d: Tensor
    camera: Tensor
    pose: Tensor
    shape: Tensor


class SyntheticPeople(IterableDataset):
    """An endless stream of batches; under a DataLoader's workers each makes its own.

    Args:
        config: how they look.
        body: a body model (`decomr_core.body_models.load_body`).
        uv_map: its chart: `uv` (N, 2) and `faces` (F, 3).
        seed: every batch follows from it and its number; `HELD_OUT_SEED` is for `held_out_set`.
        first_batch: number of the batch to begin with (to go on where a run stopped).
        frame_scale: factor of the crops' sides, to show more around the people than usual.

    Attributes:
        pose_counts: how many poses by rule were drawn, and rejected, in this process.

    Raises:
        ValueError: the body and the chart have different faces.
    """

    def __init__(self, config: SyntheticConfig, body: nn.Module, uv_map: object, seed: int,
                 first_batch: int = 0, frame_scale: float = 1.0) -> None:
        if len(body.faces) != len(uv_map.faces):
            raise ValueError(f'the body has {len(body.faces)} faces, the UV map '
                             f'{len(uv_map.faces)}; make one for this body: '
                             'decomr uv build --body FILE --out FILE')
        self.config, self.body, self.seed, self.first_batch = config, body, seed, first_batch
        self.frame_scale = frame_scale
        self.uv = torch.as_tensor(uv_map.uv, dtype=torch.float32)
        self.uv_faces = torch.as_tensor(uv_map.faces, dtype=torch.int64)
        self._surface = BodySurface(body)
        self._bank = shared_textures()
        self.pose_counts = PoseCounts()
        self._check = PoseCheck(body) if config.possible_only else None
        self._recorded = (RecordedPoses(config.poses_file, self._check) if config.poses_file
                          else None)
        self._parents = [int(parent) for parent in body.parents]

    def __iter__(self) -> Iterator[SyntheticBatch]:
        """Batches without end; worker k of n makes the numbers k, k + n, ..."""
        worker = get_worker_info()
        number, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number += self.first_batch
        while True:
            yield self.batch(number)
            number += step

    @torch.no_grad()
    def batch(self, number: int, count: int | None = None) -> SyntheticBatch:
        """The batch of that number, always the same for the same seed and config.

        Args:
            number: 0 or more.
            count: how many people; by default `config.batch_size`.
        """
        rng = np.random.default_rng([self.seed, number])
        count = self.config.batch_size if count is None else count
        views, pose, shape = self._bodies(rng, count)
        vertices, joints = root_frame_body(self.body, pose, shape)
        framing = frame_people(
            rng, vertices.numpy(), views, self.config.upper_share, self.config.smallest_cut,
        ).widened(self.frame_scale)
        outfit = appearance.sample_outfits(rng, count)
        folds, stains = (self._surface.mix_waves(_random_mixes(rng, count)) for _ in range(2))
        stand_off = appearance.offsets(self._surface.vertices, outfit, folds)
        dressed = vertices + self._surface.normals(vertices) * stand_off[..., None]
        fragments = rasterize(_crop_points(dressed, framing), self.body.faces, self.config.size,
                              cull_backfaces=True)
        lights = [_sample_light(rng, up) for up in views.up]
        people = self._color(dressed, stains, fragments, outfit, lights)
        silhouettes = (fragments.face_index >= 0).to(torch.uint8).numpy()
        images, mask = self._compose(rng, people, silhouettes, joints.numpy(), views, framing,
                                     lights)
        mask = torch.from_numpy(mask)
        camera = fit_weak_perspective(vertices, _crop_points(vertices, framing)[..., :2])
        return SyntheticBatch(
            torch.from_numpy(images), iuv_target(fragments, mask, self.uv, self.uv_faces), mask,
            vertices, joints, _visible_joints(joints, framing), camera, pose, shape)

    @torch.no_grad()
    def vertices(self, number: int, count: int) -> Tensor:
        """The bodies of that batch alone, (count, V, 3) metres, root frame, without pictures."""
        _, pose, shape = self._bodies(np.random.default_rng([self.seed, number]), count)
        return root_frame_body(self.body, pose, shape)[0]

    def _bodies(self, rng: np.random.Generator,
                count: int) -> tuple[Viewpoints, Tensor, Tensor]:
        """How people are seen, pose (B, 24, 3) radians and shape (B, 10)."""
        views = sample_viewpoints(rng, count)
        pose = orient_poses(rng, self._poses(rng, count), views).astype(np.float32)
        shape = np.clip(rng.normal(0, self.config.shape_std, (count, 10)), -2.5, 2.5)
        return views, torch.from_numpy(pose), torch.from_numpy(shape.astype(np.float32))

    def _poses(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(B, 24, 3) axis-angle, facing +z: by rule, or recorded where there are any."""
        draw = RULES[self.config.rules]
        pose = (draw(rng, count) if self._check is None else
                draw_plausible(rng, draw, count, self._check, self.pose_counts))[0]
        if self._recorded is not None:
            is_recorded = rng.random(count) < self.config.recorded_share
            pose[is_recorded] = self._recorded.sample(rng, int(is_recorded.sum()))
        return pose

    def _color(self, dressed: Tensor, stains: Tensor, fragments: Fragments,
               outfit: appearance.Outfits, lights: list[dict[str, np.ndarray]]) -> np.ndarray:
        """The lit people on black (B, S, S, 3) float32, 0 to 255."""
        shown = fragments.face_index >= 0
        image = shown.nonzero()[:, 0]
        face, weights = fragments.face_index[shown], fragments.barycentric[shown]
        corners = dressed[image[:, None], self.body.faces[face]]  # (M, 3, 3)
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = normals * normals.square().sum(1, keepdim=True).clamp_(min=1e-24).rsqrt_()
        own = {name: value.index_select(0, image) for name, value in outfit.items()}
        stain = (stains[image[:, None], self.body.faces[face]] * weights).sum(1)
        albedo, gloss = appearance.paint(self._surface.points(face, weights), own, stain)
        light = {name: torch.tensor(np.stack([item[name] for item in lights]),
                                    dtype=torch.float32).index_select(0, image)
                 for name in lights[0]}
        people = dressed.new_zeros(*shown.shape, 3)
        people[shown] = appearance.shade(albedo, gloss, normals, light) * 255
        people, masks, depths = people.numpy(), shown.to(torch.uint8).numpy(), fragments.depth
        for person, mask, depth in zip(people, masks, depths.numpy(), strict=True):
            person *= _openness(depth, mask)
        return people

    def _compose(self, rng: np.random.Generator, people: np.ndarray, silhouettes: np.ndarray,
                 joints: np.ndarray, views: Viewpoints, framing: Framing,
                 lights: list[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Puts people into scenes.

        Returns:
            images (B, S, S, 3) uint8 and where each person is seen (B, S, S) uint8.
        """
        size, count = self.config.size, len(people)
        images = np.empty((count, size, size, 3), np.uint8)
        masks = np.empty((count, size, size), np.uint8)
        for index in range(count):
            scene = Scene(framing.center[index], float(framing.half_side[index]), views.up[index],
                          float(views.height_m[index]), float(views.distance_m[index]))
            image = cv2.GaussianBlur(draw_background(rng, self._bank, scene, size), (5, 5),
                                     rng.uniform(.3, 1.1))
            if rng.random() < .75:
                draw_shadow(rng, image, joints[index] + framing.translation_m[index],
                            self._parents, scene, lights[index]['to_light'])
            other = (index + 1) % count
            mask = silhouettes[index].copy()
            in_front = rng.random() < .2
            passer_by = None
            if rng.random() < self.config.passer_by_share and count > 1:
                passer_by = _moved(rng, people[other], silhouettes[other], in_front)
            if passer_by and not in_front:
                image = soft_composite(image, *passer_by, .6)
            image = soft_composite(image, people[index], mask, float(rng.uniform(.4, .8)))
            hidden = [passer_by] if passer_by and in_front else []
            if rng.random() < self.config.occluder_share:
                hidden.append(draw_occluder(rng, self._bank, scene, size))
            for above, hides in hidden:
                if (mask * hides).sum() < MOST_HIDDEN * mask.sum():
                    image = soft_composite(image, above * hides[..., None], hides, .6)
                    mask *= 1 - hides
            image = degrade(rng, image)
            outside = _outside(framing.border[index], size)
            image[outside] = 0
            mask[outside] = 0
            images[index], masks[index] = image, mask
        return images, masks


def held_out_set(config: SyntheticConfig, body: nn.Module, uv_map: object,
                 count: int = 500, frame_scale: float = 1.0) -> SyntheticBatch:
    """The fixed people that models are measured on: the same for the same config and body.

    Their poses follow the usual rules, unchecked, and their framing is the usual one, whatever a
    training takes.
    """
    config = replace(config, poses_file='', rules='usual', possible_only=False,
                     upper_share=UPPER_SHARE, smallest_cut=SMALLEST_CUT)
    people = SyntheticPeople(config, body, uv_map, HELD_OUT_SEED, frame_scale=frame_scale)
    chunk = 8
    parts = [people.batch(number, min(chunk, count - number * chunk))
             for number in range(-(-count // chunk))]
    return SyntheticBatch.concatenate(parts)


def _crop_points(points: Tensor, framing: Framing) -> Tensor:
    """Points (B, V, 3) of the root frame, m, as crop x, y and depth in metres."""
    placed = points + points.new_tensor(framing.translation_m)[:, None]
    image = placed[..., :2] / placed[..., 2:]
    center = points.new_tensor(framing.center)[:, None]
    half = points.new_tensor(framing.half_side)[:, None, None]
    return torch.cat([(image - center) / half, placed[..., 2:]], dim=-1)


def _visible_joints(joints: Tensor, framing: Framing) -> Tensor:
    """Joints (B, 24, 3) of the root frame as crop x, y and 1 inside the picture, else 0."""
    seen = _crop_points(joints, framing)[..., :2]
    border = joints.new_tensor(framing.border).clamp(-1, 1)[:, None]
    inside = ((seen >= border[..., :2]) & (seen <= border[..., 2:])).all(-1, keepdim=True)
    return torch.cat([seen, inside.to(seen)], dim=-1)


def _random_mixes(rng: np.random.Generator, count: int) -> Tensor:
    """Weights (B, NUM_WAVES) of the surface's waves, unit variance in all."""
    mixes = rng.normal(0, 1, (count, NUM_WAVES)) * (2 / NUM_WAVES) ** .5
    return torch.from_numpy(mixes.astype(np.float32))


def _openness(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How much light each pixel gets, (S, S, 1) up to 1: less behind nearer limbs.

    Args:
        depth: (S, S) metres, inf where nobody is.
        mask: (S, S) uint8, 1 where the person is.
    """
    reach = len(mask) // CREASE_REACH
    share = cv2.blur(mask.astype(np.float32), (reach, reach))
    near = cv2.blur(np.where(mask, depth, np.float32(0)), (reach, reach))
    behind = np.where(mask, depth - near / np.maximum(share, 1e-6), 0)
    return 1 - DARKEST_CREASE * np.clip(behind / CREASE_M, 0, 1)[..., None]


def _sample_light(rng: np.random.Generator, up: np.ndarray) -> dict[str, np.ndarray]:
    """A lamp above, and the sky: what `appearance.shade` needs, for one person."""
    to_light = rng.normal(0, 1, 3)
    to_light -= (to_light @ up) * up
    to_light = to_light / max(np.linalg.norm(to_light), 1e-6) + rng.uniform(.15, 2.5) * up
    balance = rng.uniform(.15, .85)
    warm = np.array([1, 1, 1]) + rng.normal(0, .05, 3)
    return {'to_light': to_light / np.linalg.norm(to_light), 'up': up,
            'lamp': balance * 1.5 * warm, 'sky': (1 - balance) * 1.5 * (2 - warm),
            'wrap': np.array(rng.uniform(.05, .5))}


def _moved(rng: np.random.Generator, person: np.ndarray, mask: np.ndarray,
           in_front: bool) -> tuple[np.ndarray, np.ndarray]:
    """Another person's picture and mask, mirrored or not, smaller or larger, off to one side."""
    size = len(mask)
    scale = rng.uniform(.7, 1.3) if in_front else rng.uniform(.3, 1.0)
    aside = rng.choice([-1, 1]) * rng.uniform(.3, .65) * size
    flip = rng.choice([-1, 1])
    middle = (size - 1) / 2
    drop = rng.normal(0, .05) * size + (1 - scale) * rng.uniform(-.2, .4) * size
    matrix = np.array([[flip * scale, 0, middle - flip * scale * middle + aside],
                       [0, scale, middle - scale * middle + drop]])
    return (cv2.warpAffine(person, matrix, (size, size)),
            cv2.warpAffine(mask, matrix, (size, size), flags=cv2.INTER_NEAREST))


def _outside(border: np.ndarray, size: int) -> np.ndarray:
    """Pixels (S, S) bool of the crop that lie beyond the camera image."""
    centers = (2 * np.arange(size) + 1) / size - 1
    across = (centers < border[0]) | (centers > border[2])
    down = (centers < border[1]) | (centers > border[3])
    return down[:, None] | across[None, :]


if __name__ == '__main__':
    from training.datasets.preview import main

    main()
