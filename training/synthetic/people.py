"""People rendered on the fly: clothed bodies in natural poses, seen by a robot's camera.

The stages are poses -> viewpoints -> body model -> clothes -> rasterizer -> labels and colours ->
background, shadow, occluders -> camera. A batch is determined by the seed and its number, in any
process. `python -m training.synthetic.preview --preview FILE.png` draws a contact sheet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from decomr_core.body_models import BodyModel
from decomr_core.body_models.joint_sets import NUM_ANNOTATED
from decomr_core.uv.uv_map import UVMap
from training.records.person_batch import PersonBatch
from training.records.root_frame import root_frame_body
from training.records.tensor_batch import TensorBatch
from training.synthetic.bodies.body_shapes import sample_shapes
from training.synthetic.bodies.plausible_poses import PoseCheck, PoseCounts, draw_plausible
from training.synthetic.bodies.pose_rules import sample_wide_poses
from training.synthetic.bodies.poses import sample_poses
from training.synthetic.bodies.recorded_poses import RecordedPoses
from training.synthetic.clothes.dressing import Dresser
from training.synthetic.clothes.wardrobe import Wardrobe
from training.synthetic.furnishing import Furnisher
from training.synthetic.painting import Bodies, Painter
from training.synthetic.scenes.compositing import Compositor, sample_light
from training.synthetic.scenes.layers import Layers
from training.synthetic.scenes.panoramas import Panorama, Panoramas, panorama_light
from training.synthetic.scenes.textures import shared_textures
from training.synthetic.scenes.viewpoints import (
    SMALLEST_CUT,
    UPPER_SHARE,
    Framing,
    Viewpoints,
    crop_points,
    fit_weak_perspective,
    frame_people,
    orient_poses,
    sample_viewpoints,
    with_lenses,
)
from training.targets.iuv_target import IUV_STRIDE, iuv_target

__all__ = [
    'HELD_OUT_SEED',
    'AssetFiles',
    'SyntheticBatch',
    'SyntheticConfig',
    'SyntheticPeople',
    'held_out_set',
    'missing_assets',
]

HELD_OUT_SEED = 2020
"""Reserved: training rejects this seed, so that the training never contains held-out images."""
RULES = {'usual': sample_poses, 'wide': sample_wide_poses}
"""Pose generators by their names in the config."""


class AssetFiles(TypedDict, total=False):
    """The fields of `SyntheticConfig` that name files of real poses, clothes and places."""

    wardrobe: str
    panoramas: str
    poses_file: str


@dataclass(frozen=True)
class SyntheticConfig:
    """Appearance of the rendered people.

    Attributes:
        size: S, side of the images, px; a multiple of 4.
        batch_size: B; 8 is fastest on a CPU because of its caches.
        shape_std: standard deviation of the shape components.
        ages_share: share of children (about 1 m and taller) and of old people.
        occluder_share: share of images with an object in front of the person.
        passer_by_share: share of images with a second person.
        is_crowded: scenes with several people, robot arms and furniture in front, low light; up
            to three quarters of a person may be hidden.
        has_furniture: render chairs, sofas, benches, beds and tables with people who sit or lie.
        has_folds: render folds in skirts, dresses and coats, and wrinkles in garments.
        distorted_share: share of images with the barrel distortion of a wide-angle lens.
        rules: pose generator: `usual`, that of the held-out set, or `wide`, with additional
            people who sit, kneel, lie, carry and work.
        possible_only: whether to resample impossible poses and to exclude impossible recorded
            ones (see `plausible_poses.py`).
        poses_file: npz of recorded poses (see `recorded_poses.py`); empty for generated poses
            only.
        recorded_share: share of people with a recorded pose, if there is a file.
        wardrobe: npz of garments (see `wardrobe.py`); empty for painted clothes only.
        dressed_share: share of people who wear garments, if there is a file.
        panoramas: folder of panoramas (see `panoramas.py`); empty for generated scenes only.
        panorama_share: share of images with a panorama and its light.
        upper_share: share of crops that show only the upper part of the person, as for people
            close to the camera.
        smallest_cut: smallest visible part in such a crop, as a share of the person's height.
    """

    size: int = 128
    batch_size: int = 8
    shape_std: float = 1.0
    ages_share: float = 0.0
    occluder_share: float = 0.25
    passer_by_share: float = 0.35
    is_crowded: bool = False
    has_furniture: bool = False
    has_folds: bool = False
    distorted_share: float = 0.0
    rules: str = 'usual'
    possible_only: bool = False
    poses_file: str = ''
    recorded_share: float = 0.5
    wardrobe: str = ''
    dressed_share: float = 0.8
    panoramas: str = ''
    panorama_share: float = 0.6
    upper_share: float = UPPER_SHARE
    smallest_cut: float = SMALLEST_CUT

    def __post_init__(self) -> None:
        if self.size < 2 * IUV_STRIDE or self.size % IUV_STRIDE:
            raise ValueError(
                f'size is {self.size} px; take a multiple of {IUV_STRIDE}, '
                f'{2 * IUV_STRIDE} or more'
            )
        if self.batch_size < 1:
            raise ValueError(f'batch_size is {self.batch_size}; take 1 or more')
        if self.rules not in RULES:
            raise ValueError(f'rules is {self.rules!r}; take one of {", ".join(RULES)}')


@dataclass
class SyntheticBatch(TensorBatch):
    """B rendered people with their complete truth.

    Attributes:
        images: (B, S, S, 3) uint8 RGB.
        iuv: (B, 3, S/4, S/4) float32: share of foreground (visible, dressed) in the cell, u, v;
            u and v are valid where the share is above 0.
        mask: (B, S, S) uint8, 1 where the person is visible.
        vertices: (B, V, 3) float32, undressed body, root frame, m.
        joints: (B, 24, 3) float32, root frame, m.
        joints_2d: (B, 24, 3) float32: x and y in the crop frame, and 1 inside the image, else 0.
        camera: (B, 3) float32 weak perspective (s, tx, ty), fitted to the true projection.
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

    def as_person_batch(self) -> PersonBatch:
        """Converts to a training batch: all weights are 1, without annotated keypoints."""
        count = len(self)
        ones = self.iuv.new_ones(count)
        return PersonBatch(
            self.images,
            self.iuv,
            ones,
            self.vertices,
            self.joints,
            ones,
            self.joints_2d,
            self.iuv.new_zeros(count, NUM_ANNOTATED, 3),
            self.iuv.new_zeros(count, NUM_ANNOTATED, 4),
        )


class SyntheticPeople(IterableDataset):
    """An endless stream of batches; the workers of a DataLoader share its batch numbers.

    Args:
        config: appearance of the people.
        body: a body model (`decomr_core.body_models.load_body`).
        uv_map: its UV map.
        seed: determines every batch, together with its number; `HELD_OUT_SEED` is reserved for
            `held_out_set`.
        first_batch: number of the first batch, to continue a run.
        frame_scale: factor on the sides of the crops, for wider margins around the people.

    Attributes:
        pose_counts: numbers of generated and of rejected poses in this process.

    Raises:
        ValueError: the body and the UV map have different faces.
    """

    def __init__(
        self,
        config: SyntheticConfig,
        body: BodyModel,
        uv_map: UVMap,
        seed: int,
        first_batch: int = 0,
        frame_scale: float = 1.0,
    ) -> None:
        if len(body.faces) != len(uv_map.faces):
            raise ValueError(
                f'the body has {len(body.faces)} faces, but the UV map has '
                f'{len(uv_map.faces)}; make a map for this body: '
                'decomr uv build --body FILE --out FILE'
            )
        self.config, self.body, self.seed, self.first_batch = config, body, seed, first_batch
        self.frame_scale = frame_scale
        self.uv = torch.as_tensor(uv_map.uv, dtype=torch.float32)
        self.uv_faces = torch.as_tensor(uv_map.faces, dtype=torch.int64)
        self.pose_counts = PoseCounts()
        self._check = PoseCheck(body) if config.possible_only else None
        self._recorded = (
            RecordedPoses(config.poses_file, self._check) if config.poses_file else None
        )
        self._panoramas = Panoramas(config.panoramas) if config.panoramas else None
        self._painter = Painter(body, _dresser(config, body), config.dressed_share)
        self._compositor = Compositor(
            shared_textures(),
            [int(parent) for parent in body.parents],
            config.occluder_share,
            config.passer_by_share,
            config.is_crowded,
        )
        self._furnisher = (
            Furnisher(shared_textures(), body.vertex_parts.numpy())
            if config.has_furniture
            else None
        )

    def __iter__(self) -> Iterator[SyntheticBatch]:
        """Yields batches without end; worker k of n makes the batches k, k + n, ..."""
        worker = get_worker_info()
        number, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number += self.first_batch
        while True:
            yield self.batch(number)
            number += step

    @torch.no_grad()
    def batch(self, number: int, count: int | None = None) -> SyntheticBatch:
        """Renders a batch, which is determined by seed, config and number.

        Args:
            number: 0 or more.
            count: number of people; by default `config.batch_size`.
        """
        rng = np.random.default_rng([self.seed, number])
        count = self.config.batch_size if count is None else count
        # Separate random streams: switching these options leaves everything else unchanged.
        lens_rng, furniture_rng, folds_rng = (
            np.random.default_rng([self.seed, number, stream]) for stream in (1, 2, 3)
        )
        views, pose, shape = self._bodies(rng, count)
        if self.config.distorted_share:
            views = with_lenses(lens_rng, views, self.config.distorted_share)
        vertices, joints = root_frame_body(self.body, pose, shape)
        framing = frame_people(
            rng, vertices.numpy(), views, self.config.upper_share, self.config.smallest_cut
        ).widened(self.frame_scale)
        appearances = self._painter.sample_appearances(rng, count)
        lights, places = self._surroundings(rng, views)
        bodies = Bodies(vertices, joints, pose, shape)
        drawn = self._painter.draw(
            rng,
            bodies,
            appearances,
            framing,
            lights,
            self.config.size,
            folds_rng if self.config.has_folds else None,
        )
        layers = (
            Layers.without_furniture(drawn.people, drawn.silhouettes)
            if self._furnisher is None
            else self._furnisher.add(furniture_rng, drawn, bodies, views, framing, lights)
        )
        images, visible = self._compositor.compose(
            rng, layers, joints.numpy(), views, framing, lights, places
        )
        mask = torch.from_numpy(visible)
        camera = fit_weak_perspective(vertices, crop_points(vertices, framing)[..., :2])
        return SyntheticBatch(
            torch.from_numpy(images),
            iuv_target(drawn.surface, mask, self.uv, self.uv_faces),
            mask,
            vertices,
            joints,
            _visible_joints(joints, framing),
            camera,
            pose,
            shape,
        )

    @torch.no_grad()
    def vertices(self, number: int, count: int) -> Tensor:
        """Only the bodies of a batch, (count, V, 3) metres, root frame; renders nothing."""
        _, pose, shape = self._bodies(np.random.default_rng([self.seed, number]), count)
        return root_frame_body(self.body, pose, shape)[0]

    def _bodies(self, rng: np.random.Generator, count: int) -> tuple[Viewpoints, Tensor, Tensor]:
        """Samples viewpoints, poses (B, 24, 3) in radians and shapes (B, 10)."""
        views = sample_viewpoints(rng, count)
        pose = orient_poses(rng, self._poses(rng, count), views).astype(np.float32)
        shape = sample_shapes(rng, count, self.config.shape_std, self.config.ages_share)
        return views, torch.from_numpy(pose), torch.from_numpy(shape)

    def _surroundings(
        self, rng: np.random.Generator, views: Viewpoints
    ) -> tuple[list[dict[str, np.ndarray]], list[tuple[Panorama, float] | None]]:
        """Samples the light on each person, and the panorama behind with its yaw, or None."""
        lights = [sample_light(rng, up) for up in views.up]
        places: list[tuple[Panorama, float] | None] = [None] * len(lights)
        if self._panoramas is None:
            return lights, places
        for index, light in enumerate(lights):
            # The default of `appearance.shade` for the light from below.
            light['ground'] = 0.3 * light['sky']
            if rng.random() < self.config.panorama_share:
                panorama, yaw = places[index] = self._panoramas.choose(rng)
                lights[index] = panorama_light(rng, panorama, yaw, views.camera_from_world[index])
        return lights, places

    def _poses(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Samples poses (B, 24, 3), axis-angle, facing +z, from generator and recordings."""
        draw = RULES[self.config.rules]
        pose = (
            draw(rng, count)
            if self._check is None
            else draw_plausible(rng, draw, count, self._check, self.pose_counts)
        )[0]
        if self._recorded is not None:
            is_recorded = rng.random(count) < self.config.recorded_share
            pose[is_recorded] = self._recorded.sample(rng, int(is_recorded.sum()))
        return pose


def missing_assets(config: SyntheticConfig) -> list[str]:
    """The asset files that the config does not have, with their sources; one line for each."""
    known = (
        (
            'wardrobe',
            "garments (people wear painted clothes); to bake MakeHuman's (CC0): "
            'python -m tools.bake_wardrobe FOLDER --out FILE',
        ),
        (
            'panoramas',
            'real places and light; give a folder of equirectangular images, for '
            "example Poly Haven's (CC0)",
        ),
        (
            'poses_file',
            'recorded poses; to make the file: '
            'python -m training.preprocess motion FILES --out FILE',
        ),
    )
    return [
        f'data.{name} is empty, so the renderings lack {lacks}'
        for name, lacks in known
        if not getattr(config, name)
    ]


def held_out_set(
    config: SyntheticConfig,
    body: BodyModel,
    uv_map: UVMap,
    count: int = 500,
    frame_scale: float = 1.0,
    with_assets: bool = False,
) -> SyntheticBatch:
    """Renders the fixed people for evaluations, the same for the same config and body.

    The options that training may change (framing, crowds, furniture, folds, lenses, ages, rules)
    have fixed values.

    Args:
        config: config of the training, for the size of the images and, with assets, its files.
        body: a body model.
        uv_map: its UV map.
        count: number of people.
        frame_scale: factor on the sides of the crops.
        with_assets: whether to use poses, garments and panoramas of the config's files;
            otherwise all are generated.
    """
    fixed: dict[str, Any] = {
        'upper_share': UPPER_SHARE,
        'smallest_cut': SMALLEST_CUT,
        'is_crowded': False,
        'has_furniture': False,
        'has_folds': False,
        'distorted_share': 0.0,
        'ages_share': 0.0,
        'rules': 'usual',
        'possible_only': False,
    }
    if with_assets:
        config = replace(config, dressed_share=1.0, **fixed)
    else:
        config = replace(config, poses_file='', wardrobe='', panoramas='', **fixed)
    people = SyntheticPeople(config, body, uv_map, HELD_OUT_SEED, frame_scale=frame_scale)
    chunk = 8
    parts = [
        people.batch(number, min(chunk, count - number * chunk))
        for number in range(-(-count // chunk))
    ]
    return SyntheticBatch.concatenate(parts)


def _dresser(config: SyntheticConfig, body: BodyModel) -> Dresser | None:
    """The dresser for the config's wardrobe, if there is one."""
    if not config.wardrobe:
        return None
    return Dresser(Wardrobe.load(config.wardrobe, body), body, config.has_folds)


def _visible_joints(joints: Tensor, framing: Framing) -> Tensor:
    """Joints (B, 24, 3) of the root frame as crop x, y and 1 inside the image, else 0."""
    points = crop_points(joints, framing)[..., :2]
    border = joints.new_tensor(framing.border).clamp(-1, 1)[:, None]
    inside = ((points >= border[..., :2]) & (points <= border[..., 2:])).all(-1, keepdim=True)
    return torch.cat([points, inside.to(points)], dim=-1)
